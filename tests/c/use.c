/*
 * What the functions do when they are used as the header says: use TEST URI DIR
 *
 * URI is of the file /file.bin, of 3 MB; DIR is empty.
 */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 600
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *uri, *dir;

static const char *local(const char *name)
{
    static char paths[4][4096];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

/* A client, its session, and what its events have said. */
struct app {
    pdtp_config *config;
    pdtp_client *client;
    pdtp_session *session;
    int done, code;
};

static pdtp_config *config_with(const char *name, const char *value)
{
    pdtp_config *config = pdtp_config_new();

    CHECK_CODE(pdtp_config_set(config, "grace", "1s"), 0);
    if (name) {
        CHECK_CODE(pdtp_config_set(config, name, value), 0);
    }
    return config;
}

static struct app app_with(pdtp_config *config)
{
    struct app app = {NULL, NULL, NULL, 0, 0};

    CHECK_CODE(pdtp_client_new(&app.client, config), 0);
    pdtp_config_free(config);
    CHECK_CODE(pdtp_session_open(&app.session, app.client, uri, NULL), 0);
    return app;
}

static void end(struct app *app)
{
    pdtp_session_free(app->session);
    pdtp_client_free(app->client);
}

static pdtp_transfer *start_with(struct app *app, const char *path, const char *name, const char *option,
                                 const char *value)
{
    pdtp_request *request;
    pdtp_transfer *transfer;

    CHECK_CODE(pdtp_request_new(&request, app->session, path), 0);
    CHECK_CODE(pdtp_request_to_file(request, local(name)), 0);
    if (option) {
        CHECK_CODE(pdtp_request_set(request, option, value), 0);
    }
    CHECK_CODE(pdtp_request_start(&transfer, request, NULL), 0);
    return transfer;
}

static void pause_ms(long ms)
{
    struct timespec time = {0, ms * 1000000};

    nanosleep(&time, NULL);
}

static void wait_for_bytes(pdtp_transfer *transfer)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    pdtp_progress progress = {0};

    while (progress.done == 0) {
        CHECK(time(NULL) < deadline);
        pause_ms(5);
        CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    }
}

/* Somebody sends: at a low rate it takes long until a piece is complete. */
static void wait_for_giver(pdtp_transfer *transfer)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    pdtp_progress progress = {0};

    while (progress.givers == 0) {
        CHECK(time(NULL) < deadline);
        pause_ms(5);
        CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    }
}

#define wait_for_state(transfer, state) wait_for_state_at(transfer, state, __LINE__)

static void wait_for_state_at(pdtp_transfer *transfer, int state, int line)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;

    while (pdtp_transfer_state(transfer) != state) {
        if (time(NULL) >= deadline) {
            fprintf(stderr, "line %d: state is %d, not %d\n", line, pdtp_transfer_state(transfer), state);
        }
        CHECK(time(NULL) < deadline);
        pause_ms(5);
    }
}

/* ------------------------------------------------------------------------------------------- limits, priorities */

/* 3 MB at 16K a second would take three minutes: that it ends shows that the new limit holds at once. */
static void test_rates(void)
{
    static const char *const lifts[] = {"limit_down", "limit-down", NULL};
    struct app app;
    pdtp_transfer *transfer;
    pdtp_progress progress;
    int i;

    for (i = 0; i < 3; i++) {
        char name[2] = {0};
        name[0] = (char)('a' + i);
        app = app_with(config_with(lifts[i], "16K"));
        transfer = start_with(&app, uri, name, lifts[i] ? NULL : "rate", "16K");
        wait_for_giver(transfer);
        CHECK_CODE(pdtp_transfer_wait(transfer, 300), PDTP_E_TIMEOUT);
        CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
        CHECK(progress.done < 1000000);
        if (lifts[i]) {
            CHECK_CODE(pdtp_client_set(app.client, lifts[i], "0"), 0);
        } else {
            CHECK_CODE(pdtp_transfer_set_rate(transfer, 0), 0);
        }
        CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
        pdtp_transfer_free(transfer);
        end(&app);
    }
    /* And the other way round: a transfer is slowed down while it runs. */
    app = app_with(config_with("limit_down", "512K"));
    transfer = start_with(&app, uri, "slow", NULL, NULL);
    wait_for_bytes(transfer);
    CHECK_CODE(pdtp_transfer_set_rate(transfer, 1), 0);
    CHECK_CODE(pdtp_client_set(app.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, 1000), PDTP_E_TIMEOUT);
    CHECK_CODE(pdtp_transfer_set_rate(transfer, 0), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_set_rate(transfer, 5), 0);
    pdtp_transfer_free(transfer);
    end(&app);
}

static void test_priorities(void)
{
    struct app app = app_with(config_with("limit_down", "128K"));
    pdtp_transfer *low, *high;

    low = start_with(&app, uri, "low", "priority", "low");
    wait_for_bytes(low);
    high = start_with(&app, "/sub/x", "high", "priority", "high");
    wait_for_state(high, PDTP_TRANSFER_ACTIVE);
    wait_for_state(low, PDTP_TRANSFER_QUEUED);
    /* Changed while they run. */
    CHECK_CODE(pdtp_transfer_set_priority(high, PDTP_PRIORITY_LOW), 0);
    wait_for_state(low, PDTP_TRANSFER_ACTIVE);
    CHECK_CODE(pdtp_transfer_set_priority(high, PDTP_PRIORITY_NORMAL), 0);
    wait_for_state(low, PDTP_TRANSFER_QUEUED);
    /* One that is paused holds nobody back. */
    CHECK_CODE(pdtp_transfer_pause(high), 0);
    wait_for_state(low, PDTP_TRANSFER_ACTIVE);
    CHECK_CODE(pdtp_transfer_resume(high), 0);
    wait_for_state(low, PDTP_TRANSFER_QUEUED);
    CHECK_CODE(pdtp_client_set(app.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_wait(high, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_wait(low, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_set_priority(low, PDTP_PRIORITY_HIGH), 0);
    pdtp_transfer_free(low);
    pdtp_transfer_free(high);
    end(&app);
}

static long long allocated(const char *name)
{
    struct stat found;

    CHECK(stat(local(name), &found) == 0);
    return (long long)found.st_blocks * 512;
}

static void test_prealloc(void)
{
    struct app app = app_with(config_with("limit_down", "128K"));
    pdtp_transfer *sparse, *full;
    int probe = open(local("probe"), O_RDWR | O_CREAT, 0600);
    int can_do = probe >= 0 && posix_fallocate(probe, 0, 3000000) == 0;

    sparse = start_with(&app, uri, "sparse", "prealloc", "no");
    wait_for_bytes(sparse);
    CHECK(allocated("sparse.part") < 3000000);
    CHECK_CODE(pdtp_transfer_cancel(sparse, PDTP_CANCEL_DELETE), 0);
    CHECK_CODE(pdtp_transfer_wait(sparse, PATIENCE_MS), PDTP_E_CANCELLED);
    full = start_with(&app, uri, "full", "prealloc", "yes");
    wait_for_bytes(full);
    CHECK(!can_do || allocated("full.part") >= 3000000);
    CHECK_CODE(pdtp_client_set(app.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_wait(full, PATIENCE_MS), 0);
    close(probe);
    pdtp_transfer_free(sparse);
    pdtp_transfer_free(full);
    end(&app);
}

/* ----------------------------------------------------------------------------------------- what is to be known */

static void test_session_info(void)
{
    static const char *const known[] = {"uri",      "host",          "port",    "client_id",
                                        "agent",    "version",       "address",
                                        "limit_outstanding", "limit_files", "limit_ranges"};
    struct app app = app_with(config_with(NULL, NULL));
    char text[512];
    size_t i;

    CHECK_CODE(pdtp_session_wait(app.session, PATIENCE_MS), 0);
    for (i = 0; i < sizeof known / sizeof *known; i++) {
        CHECK(pdtp_session_info(app.session, known[i], text, sizeof text) > 0);
        CHECK(text[0] != 0);
    }
    CHECK(pdtp_session_info(app.session, "agent", text, sizeof text) > 0);
    CHECK(strncmp(text, "pdtpd/", 6) == 0);
    CHECK(pdtp_session_info(app.session, "notice", text, sizeof text) >= 0);
    CHECK_CODE(pdtp_session_info(app.session, "limit_file", text, sizeof text), PDTP_E_OPTION);
    CHECK(pdtp_last_error(text, sizeof text) > 0 && strstr(text, "limit_files"));
    end(&app);
}

static void test_options(void)
{
    pdtp_config *config = config_with(NULL, NULL);
    struct app app;
    const pdtp_option *option;
    pdtp_request *request;
    char value[256], text[256];
    size_t i;

    /* Each can be read, and set to what was read; each that may change later does. */
    CHECK_CODE(pdtp_client_new(&app.client, config), 0);
    for (i = 0; (option = pdtp_config_option_at(i)) != NULL; i++) {
        CHECK(option->size == sizeof *option && option->help[0] && option->kind > 0);
        CHECK(pdtp_config_get(config, option->name, value, sizeof value) >= 0);
        CHECK_CODE(pdtp_config_set(config, option->name, option->preset), 0);
        CHECK_CODE(pdtp_client_set(app.client, option->name, option->preset), option->runtime ? 0 : PDTP_E_STATE);
    }
    CHECK(i > 10);
    CHECK_CODE(pdtp_config_set(config, "limit-dwon", "1"), PDTP_E_OPTION);
    CHECK(pdtp_last_error(text, sizeof text) > 0 && strstr(text, "limit_down"));
    pdtp_config_free(config);
    CHECK_CODE(pdtp_session_open(&app.session, app.client, uri, NULL), 0);
    CHECK_CODE(pdtp_request_new(&request, app.session, uri), 0);
    CHECK_CODE(pdtp_request_set(request, "expect-root", ""), 0);
    CHECK_CODE(pdtp_request_set(request, "preallocate", "yes"), PDTP_E_OPTION);
    CHECK(pdtp_last_error(text, sizeof text) > 0 && strstr(text, "prealloc"));
    pdtp_request_free(request);
    end(&app);
}

static void test_metrics(void)
{
    struct app app = app_with(config_with(NULL, NULL));
    pdtp_transfer *transfer = start_with(&app, uri, "a", NULL, NULL);
    char *text = NULL;

    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_metrics(&text, app.client), 0);
    CHECK(strstr(text, "# TYPE pdtp_client_received_bytes_total counter\n"));
    CHECK(strstr(text, "pdtp_client_received_bytes_total{from=\"origin\"} 3000000\n"));
    pdtp_string_free(text);
    pdtp_transfer_free(transfer);
    end(&app);
}

/* ---------------------------------------------------------------------------------------------------------- log */

struct log {
    struct app *app;
    int lines, transfer_lines, events, destroyed, transfer_wait;
};

static void on_log(int level, const char *target, const char *line, void *user_data)
{
    struct log *log = user_data;
    pdtp_stats stats;

    CHECK(level >= PDTP_LOG_ERROR && level <= PDTP_LOG_INFO);
    CHECK(strncmp(target, "pdtp::", 6) == 0 && line[0] != 0 && !strchr(line, '\n'));
    log->lines++;
    log->transfer_lines += strstr(line, "transfer") != NULL;
    /* What might log is not for here. */
    CHECK_CODE(pdtp_client_stats(log->app->client, &stats, sizeof stats), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_client_set(log->app->client, "grace", "1s"), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_session_wait(log->app->session, 0), PDTP_E_REENTRANT);
    pdtp_listing_free(NULL);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    struct log *log = user_data;
    const pdtp_log_event *line = pdtp_event_log(event);

    if (line) {
        CHECK(pdtp_event_type(event) == PDTP_EVENT_LOG && line->size == sizeof *line);
        CHECK(line->level >= PDTP_LOG_ERROR && line->target[0] && line->line[0]);
        log->events++;
    }
}

static void on_log_destroy(void *user_data)
{
    struct log *log = user_data;

    log->destroyed++;
}

static void drain(struct app *app)
{
    while (pdtp_client_dispatch(app->client, 0, 100) > 0) {
    }
}

static void test_log(void)
{
    pdtp_config *config = config_with(NULL, NULL);
    struct app app = {NULL, NULL, NULL, 0, 0};
    struct log log = {NULL, 0, 0, 0, 0, 0};
    pdtp_transfer *transfer;
    int lines;

    log.app = &app;
    CHECK_CODE(pdtp_config_set_log(config, PDTP_LOG_INFO, on_log, &log, on_log_destroy), 0);
    app = app_with(config);
    CHECK_CODE(pdtp_client_set_event_callback(app.client, on_event, &log, NULL), 0);
    transfer = start_with(&app, uri, "a", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    drain(&app);
    CHECK(log.lines > 0 && log.transfer_lines >= 2 && log.events == 0);
    pdtp_transfer_free(transfer);

    /* As events as well. */
    CHECK_CODE(pdtp_client_enable_event(app.client, PDTP_EVENT_LOG, 1), 0);
    lines = log.lines;
    transfer = start_with(&app, uri, "b", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    drain(&app);
    CHECK(log.events > 0 && log.events == log.lines - lines);
    pdtp_transfer_free(transfer);

    /* And not at all. */
    CHECK_CODE(pdtp_client_enable_event(app.client, PDTP_EVENT_LOG, 0), 0);
    CHECK_CODE(pdtp_client_set(app.client, "log_level", "off"), 0);
    drain(&app);
    lines = log.lines;
    transfer = start_with(&app, uri, "c", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    drain(&app);
    CHECK(log.lines == lines && log.destroyed == 0);
    pdtp_transfer_free(transfer);
    end(&app);
    CHECK(log.destroyed == 1);
}

/* Nobody drains: lines are dropped, what matters is not, and it is told what was dropped. */
static void test_overflow(void)
{
    pdtp_config *config = config_with("event_queue", "16");
    struct app app;
    const pdtp_event *event;
    const pdtp_overflow_event *overflow = NULL;
    pdtp_stats stats;
    uint32_t types = 0;
    uint64_t count = 0;
    int i, done = 0;

    CHECK_CODE(pdtp_config_set(config, "log_level", "debug"), 0);
    app = app_with(config);
    CHECK_CODE(pdtp_client_enable_event(app.client, PDTP_EVENT_LOG, 1), 0);
    for (i = 0; i < 30; i++) {
        char name[16];
        pdtp_transfer *transfer;
        snprintf(name, sizeof name, "f%d", i);
        transfer = start_with(&app, "/small", name, NULL, NULL);
        CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
        pdtp_transfer_free(transfer);
    }
    while ((event = pdtp_client_next_event(app.client, 0)) != NULL) {
        done += pdtp_event_done(event) != NULL;
        overflow = pdtp_event_overflow(event);
        if (overflow) {
            count += overflow->count;
            types |= overflow->types;
        }
    }
    CHECK(done == 30);
    CHECK(count > 0 && types == 1u << (PDTP_EVENT_LOG - 1));
    CHECK_CODE(pdtp_client_stats(app.client, &stats, sizeof stats), 0);
    CHECK(stats.dropped_events == count);
    end(&app);
}

/* ----------------------------------------------------------------------------------------------------- to others */

/* What a file takes that another client downloads now: bytes from peers. */
static uint64_t bytes_from_peers(const char *path, const char *name)
{
    struct app app = app_with(config_with("seeding", "off"));
    pdtp_transfer *transfer = start_with(&app, path, name, NULL, NULL);
    pdtp_progress progress;

    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    pdtp_transfer_free(transfer);
    end(&app);
    return progress.from_peers;
}

static void write_file(const char *name, size_t length)
{
    FILE *file = fopen(local(name), "wb");
    size_t i;

    CHECK(file != NULL);
    for (i = 0; i < length; i++) {
        CHECK(fputc((int)(i & 0x7f), file) != EOF);
    }
    CHECK(fclose(file) == 0);
}

/* The code that a share ends with. */
static int share_ends(struct app *app, const char *path, const char *name)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    pdtp_share *share;
    char text[512];
    int told = 0, code;

    CHECK_CODE(pdtp_share_add(&share, app->session, path, local(name), &told), 0);
    while (!told) {
        const pdtp_event *event = pdtp_client_next_event(app->client, 1000);
        const pdtp_share_event *seen = pdtp_event_share(event);
        CHECK(time(NULL) < deadline);
        if (seen && seen->state == PDTP_SHARE_FAILED) {
            CHECK(seen->size == sizeof *seen && seen->share == pdtp_share_id(share) && seen->message[0]);
            CHECK(pdtp_event_id(event) == seen->share && pdtp_event_user_data(event) == &told);
            told = seen->code;
        }
    }
    code = pdtp_share_error(share, text, sizeof text);
    CHECK(code == told && text[0] && pdtp_share_state(share) == PDTP_SHARE_FAILED);
    pdtp_share_free(share);
    return code;
}

static void wait_until_offered(pdtp_share *share)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    char text[512];

    while (pdtp_share_state(share) != PDTP_SHARE_OFFERED) {
        CHECK(time(NULL) < deadline);
        CHECK_CODE(pdtp_share_error(share, text, sizeof text), 0);
        pause_ms(5);
    }
}

static void test_share(void)
{
    struct app app;
    pdtp_share *share;
    pdtp_cache_info cache;
    pdtp_stats stats;
    struct stat before, after;

    CHECK(bytes_from_peers(uri, "mine") == 0);
    CHECK(stat(local("mine"), &before) == 0);
    app = app_with(config_with(NULL, NULL));
    CHECK_CODE(pdtp_share_add(&share, app.session, uri, local("mine"), NULL), 0);
    wait_until_offered(share);
    CHECK(pdtp_share_error(share, NULL, 0) == 0);
    CHECK_CODE(pdtp_cache_stats(app.client, &cache, sizeof cache), 0);
    CHECK(cache.shares == 1 && cache.files == 0);
    /* Others get it from here, though the server has it as well. */
    CHECK(bytes_from_peers(uri, "theirs") > 0);
    CHECK_CODE(pdtp_client_stats(app.client, &stats, sizeof stats), 0);
    CHECK(stats.uploaded > 0);
    /* Neither copied nor touched. */
    CHECK(stat(local("mine"), &after) == 0 && after.st_mtime == before.st_mtime);
    CHECK(stat(local("mine.part"), &after) != 0);
    pdtp_share_free(share);
    do {
        pause_ms(5);
        CHECK_CODE(pdtp_cache_stats(app.client, &cache, sizeof cache), 0);
    } while (cache.shares > 0);
    CHECK(bytes_from_peers(uri, "theirs too") == 0);

    /* What is not the file of the server is never offered. */
    write_file("wrong", 3000000);
    write_file("short", 17);
    CHECK_CODE(share_ends(&app, uri, "wrong"), PDTP_E_HASH);
    CHECK_CODE(share_ends(&app, uri, "short"), PDTP_E_HASH);
    CHECK_CODE(share_ends(&app, uri, "missing"), PDTP_E_IO);
    CHECK(stat(local("missing.part"), &after) != 0);
    CHECK_CODE(share_ends(&app, "/sub", "short"), PDTP_E_ARGUMENT);
    CHECK_CODE(share_ends(&app, "/nothing", "short"), PDTP_E_NOT_FOUND);

    /* Off is off. */
    CHECK_CODE(pdtp_share_add(&share, app.session, uri, local("mine"), NULL), 0);
    wait_until_offered(share);
    CHECK_CODE(pdtp_client_set(app.client, "seeding", "off"), 0);
    while (pdtp_share_state(share) != PDTP_SHARE_FAILED) {
        pause_ms(5);
    }
    CHECK_CODE(pdtp_share_error(share, NULL, 0), PDTP_E_STATE);
    pdtp_share_free(share);
    CHECK_CODE(pdtp_share_add(&share, app.session, uri, local("mine"), NULL), PDTP_E_STATE);
    CHECK(share == NULL);
    end(&app);
}

/* A download of the same file by the same client comes between, and the share goes on. */
static void test_share_and_download(void)
{
    struct app app;
    pdtp_share *share;
    pdtp_transfer *transfer;
    pdtp_progress progress;

    CHECK(bytes_from_peers(uri, "mine") == 0);
    app = app_with(config_with("seeding", "downloading"));
    CHECK_CODE(pdtp_share_add(&share, app.session, uri, local("mine"), NULL), 0);
    wait_until_offered(share);
    transfer = start_with(&app, uri, "copy", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    CHECK(progress.from_disk == 3000000);
    pdtp_transfer_free(transfer);
    wait_until_offered(share);
    CHECK(bytes_from_peers(uri, "theirs") > 0);
    pdtp_session_free(app.session);
    app.session = NULL;
    CHECK(pdtp_share_state(share) == PDTP_SHARE_OFFERED);
    pdtp_client_free(app.client);
    CHECK(pdtp_share_state(share) == PDTP_SHARE_ENDED);
    pdtp_share_free(share);
}

/* What its client leaves no time to end has ended all the same. */
static void test_no_grace(void)
{
    pdtp_config *config;
    struct app app;
    pdtp_share *share;
    pdtp_transfer *transfer;
    int i;

    CHECK(bytes_from_peers(uri, "mine") == 0);
    for (i = 0; i < 150; i++) {
        config = config_with("grace", "0s");
        CHECK_CODE(pdtp_config_set(config, "limit_down", "128K"), 0);
        app = app_with(config);
        CHECK_CODE(pdtp_share_add(&share, app.session, uri, local("mine"), NULL), 0);
        transfer = start_with(&app, "/sub/x", "slow", NULL, NULL);
        if (i % 2 == 0) {
            wait_until_offered(share);
            wait_for_bytes(transfer);
        }
        end(&app);
        CHECK(pdtp_share_state(share) == PDTP_SHARE_ENDED);
        CHECK_CODE(pdtp_share_error(share, NULL, 0), 0);
        CHECK_CODE(pdtp_transfer_wait(transfer, 0), PDTP_E_CANCELLED);
        CHECK(pdtp_transfer_state(transfer) == PDTP_TRANSFER_CANCELLED);
        pdtp_share_free(share);
        pdtp_transfer_free(transfer);
    }
    /* What came is there to go on with. */
    app = app_with(config_with(NULL, NULL));
    transfer = start_with(&app, "/sub/x", "slow", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    pdtp_transfer_free(transfer);
    end(&app);
}

static pdtp_cache_info cache_of(struct app *app)
{
    pdtp_cache_info cache;

    CHECK_CODE(pdtp_cache_stats(app->client, &cache, sizeof cache), 0);
    return cache;
}

static void wait_for_files(struct app *app, uint64_t files)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;

    while (cache_of(app).files != files) {
        CHECK(time(NULL) < deadline);
        pause_ms(5);
    }
}

static void get(struct app *app, const char *path, const char *name)
{
    pdtp_transfer *transfer = start_with(app, path, name, NULL, NULL);

    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    pdtp_transfer_free(transfer);
}

static void test_cache(void)
{
    struct app app = app_with(config_with("seeding", "always"));
    struct stat found;
    char *text;

    get(&app, uri, "a");
    get(&app, "/sub/x", "b");
    get(&app, "/small", "c");
    CHECK(cache_of(&app).files == 3 && cache_of(&app).bytes == 3900300);
    CHECK(cache_of(&app).temporary_bytes == 0 && cache_of(&app).given_up == 0);
    CHECK(bytes_from_peers(uri, "theirs") > 0);
    CHECK_CODE(pdtp_metrics(&text, app.client), 0);
    CHECK(strstr(text, "pdtp_client_offered_bytes 3900300\n"));
    pdtp_string_free(text);

    /* /file.bin was used last, so the others go first; but one of them is pinned. */
    CHECK_CODE(pdtp_cache_pin(app.session, "/small", 1), 0);
    CHECK(cache_of(&app).pinned_bytes == 300);
    CHECK_CODE(pdtp_cache_purge(app.client, 3000300), 0);
    CHECK(cache_of(&app).files == 2 && cache_of(&app).bytes == 3000300);
    CHECK_CODE(pdtp_client_set(app.client, "seed_bytes", "1M"), 0);
    wait_for_files(&app, 1);
    CHECK(cache_of(&app).bytes == 300 && cache_of(&app).given_up == 2);
    /* The server knows, and sends nobody here; the file is where it was. */
    CHECK(bytes_from_peers(uri, "theirs too") == 0);
    CHECK(stat(local("a"), &found) == 0 && found.st_size == 3000000);
    CHECK_CODE(pdtp_cache_purge(app.client, 0), 0);
    CHECK(cache_of(&app).files == 1);
    CHECK_CODE(pdtp_cache_pin(app.session, "/small", 0), 0);
    CHECK_CODE(pdtp_cache_purge(app.client, 0), 0);
    CHECK(cache_of(&app).files == 0 && cache_of(&app).bytes == 0);

    /* Within the bound, and for a while only. */
    CHECK_CODE(pdtp_client_set(app.client, "seed_time", "200ms"), 0);
    get(&app, "/sub/deep/y", "d");
    wait_for_files(&app, 0);
    CHECK(cache_of(&app).given_up == 4);
    end(&app);
}

static int take(uint64_t offset, const void *data, size_t length, void *user_data)
{
    uint64_t *taken = user_data;

    (void)data;
    CHECK(offset == *taken);
    *taken += length;
    return PDTP_DATA_CONTINUE;
}

/* Streams a file; how much of it was there already. */
static uint64_t stream(struct app *app, const char *path)
{
    pdtp_request *request;
    pdtp_transfer *transfer;
    pdtp_progress progress;
    uint64_t taken = 0;

    CHECK_CODE(pdtp_request_new(&request, app->session, path), 0);
    CHECK_CODE(pdtp_request_to_callback(request, take, &taken, NULL), 0);
    CHECK_CODE(pdtp_request_start(&transfer, request, NULL), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    CHECK(taken == progress.total);
    pdtp_transfer_free(transfer);
    return progress.from_disk;
}

static void test_streams_are_cached(void)
{
    pdtp_config *config = config_with("seeding", "always");
    struct app app;

    CHECK_CODE(pdtp_config_set_dispatch(config, PDTP_DISPATCH_THREAD), 0);
    CHECK_CODE(pdtp_config_set_dirs(config, dir, NULL), 0);
    app = app_with(config);
    CHECK(stream(&app, "/sub/x") == 0);
    wait_for_files(&app, 1);
    CHECK(cache_of(&app).temporary_bytes == 900000);
    CHECK(stream(&app, "/sub/x") == 900000);
    CHECK(cache_of(&app).files == 1);
    CHECK(bytes_from_peers("/sub/x", "theirs") > 0);
    /* The oldest make room. */
    CHECK_CODE(pdtp_client_set(app.client, "cache_bytes", "3000000"), 0);
    CHECK(stream(&app, uri) == 0);
    CHECK(cache_of(&app).files == 1 && cache_of(&app).temporary_bytes == 3000000);
    CHECK_CODE(pdtp_client_set(app.client, "cache_bytes", "0"), 0);
    wait_for_files(&app, 0);
    CHECK(stream(&app, uri) == 0);
    CHECK(cache_of(&app).files == 0);
    end(&app);
}

/* ------------------------------------------------------------------------------------------ unfinished downloads */

static struct app app_with_state(const char *limit_down)
{
    pdtp_config *config = config_with("limit_down", limit_down);

    CHECK_CODE(pdtp_config_set_dirs(config, NULL, local("state")), 0);
    return app_with(config);
}

static pdtp_resume *unfinished(struct app *app, size_t count)
{
    pdtp_resume *list;

    CHECK_CODE(pdtp_resume_list(&list, app->client), 0);
    CHECK(pdtp_resume_count(list) == count && pdtp_resume_at(list, count) == NULL);
    return list;
}

static void test_resume(void)
{
    struct app app = app_with_state("512K");
    pdtp_transfer *transfer;
    pdtp_progress progress;
    pdtp_resume *list;
    const pdtp_unfinished *one;
    struct stat found;
    char id[32], text[512];
    pid_t child;

    /* A run that is killed in the middle. */
    pdtp_resume_free(unfinished(&app, 0));
    end(&app);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        app = app_with_state("512K");
        wait_for_bytes(start_with(&app, uri, "killed", "priority", "low"));
        raise(SIGKILL);
    }
    CHECK(waitpid(child, NULL, 0) == child);

    /* Another run finds it, with all that is needed, and no session. */
    app = app_with_state("512K");
    pdtp_session_free(app.session);
    app.session = NULL;
    list = unfinished(&app, 1);
    one = pdtp_resume_at(list, 0);
    CHECK(one->size == sizeof *one && strlen(one->id) < sizeof id && strcmp(one->uri, uri) == 0);
    CHECK(strcmp(one->local, local("killed")) == 0 && !one->into_dir && !one->active);
    CHECK(one->started > 1600000000 && one->total == 3000000);
    strcpy(id, one->id);
    pdtp_resume_free(list);
    CHECK_CODE(pdtp_resume_start(&transfer, app.client, id, &app), 0);
    wait_for_bytes(transfer);
    list = unfinished(&app, 1);
    CHECK(pdtp_resume_at(list, 0)->active == 1);
    pdtp_resume_free(list);
    CHECK_CODE(pdtp_resume_start(NULL, app.client, id, NULL), PDTP_E_LOCKED);
    CHECK_CODE(pdtp_resume_forget(app.client, id, PDTP_CANCEL_KEEP), PDTP_E_LOCKED);

    /* The client ends first: it stays on the list. */
    pdtp_client_free(app.client);
    CHECK(pdtp_transfer_state(transfer) == PDTP_TRANSFER_CANCELLED);
    pdtp_transfer_free(transfer);
    app = app_with_state("0");
    pdtp_resume_free(unfinished(&app, 1));
    CHECK_CODE(pdtp_resume_start(&transfer, app.client, id, NULL), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_transfer_progress(transfer, &progress, sizeof progress), 0);
    CHECK(progress.from_disk > 0 && progress.from_disk + progress.from_origin == 3000000);
    pdtp_transfer_free(transfer);
    CHECK(stat(local("killed"), &found) == 0 && found.st_size == 3000000);
    pdtp_resume_free(unfinished(&app, 0));
    CHECK_CODE(pdtp_resume_start(&transfer, app.client, id, NULL), PDTP_E_NOT_FOUND);
    CHECK_CODE(pdtp_resume_start(&transfer, app.client, "../../../etc/pass", NULL), PDTP_E_NOT_FOUND);

    /* What cannot be mended by another try is not listed, nor what is complete, nor what was thrown away. */
    transfer = start_with(&app, "/nothing", "nothing", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), PDTP_E_NOT_FOUND);
    pdtp_transfer_free(transfer);
    get(&app, "/small", "small");
    CHECK_CODE(pdtp_client_set(app.client, "limit_down", "512K"), 0);
    transfer = start_with(&app, uri, "deleted", NULL, NULL);
    wait_for_bytes(transfer);
    CHECK_CODE(pdtp_transfer_cancel(transfer, PDTP_CANCEL_DELETE), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), PDTP_E_CANCELLED);
    pdtp_transfer_free(transfer);
    pdtp_resume_free(unfinished(&app, 0));

    /* Forgotten, and what is there of it deleted. */
    transfer = start_with(&app, uri, "kept", NULL, NULL);
    wait_for_bytes(transfer);
    CHECK_CODE(pdtp_transfer_cancel(transfer, PDTP_CANCEL_KEEP), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), PDTP_E_CANCELLED);
    pdtp_transfer_free(transfer);
    list = unfinished(&app, 1);
    CHECK(pdtp_resume_at(list, 0)->done > 0 && stat(local("kept.part"), &found) == 0);
    CHECK_CODE(pdtp_resume_forget(app.client, pdtp_resume_at(list, 0)->id, PDTP_CANCEL_DELETE), 0);
    pdtp_resume_free(list);
    CHECK(stat(local("kept.part"), &found) != 0);
    pdtp_resume_free(unfinished(&app, 0));
    end(&app);

    /* A state directory that cannot be one is told at once. */
    write_file("state of matter", 3);
    {
        pdtp_config *config = config_with("state_dir", local("state of matter"));
        app = app_with(config);
    }
    transfer = start_with(&app, uri, "never", NULL, NULL);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), PDTP_E_EXISTS);
    CHECK(pdtp_transfer_error(transfer, text, sizeof text) == PDTP_E_EXISTS && strstr(text, "state of matter"));
    pdtp_transfer_free(transfer);
    end(&app);
}

#define TEST(name) {#name, test_##name}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(rates),
    TEST(priorities),
    TEST(prealloc),
    TEST(session_info),
    TEST(options),
    TEST(metrics),
    TEST(log),
    TEST(overflow),
    TEST(share),
    TEST(share_and_download),
    TEST(no_grace),
    TEST(cache),
    TEST(streams_are_cached),
    TEST(resume),
};

int main(int argc, char **argv)
{
    size_t i;

    CHECK(argc == 4);
    uri = argv[2];
    dir = argv[3];
    for (i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, argv[1]) == 0) {
            tests[i].run();
            return 0;
        }
    }
    fprintf(stderr, "no test %s\n", argv[1]);
    return 2;
}
