/*
 * What the functions do when they are used as the header says: use TEST URI DIR
 *
 * URI is of the file /file.bin, of 3 MB; DIR is empty.
 */
#define _POSIX_C_SOURCE 200809L
#define _XOPEN_SOURCE 600
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>
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
