/*
 * Random sequences of calls, also from callbacks and from several threads: fuzz SEED STEPS URI DIR
 *
 * Whatever the order, no call may answer that something is broken inside, nothing may crash or hang, and when all handles
 * are freed, no thread and no descriptor may be left. The same seed makes the same calls (what they meet varies).
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <dirent.h>
#include <unistd.h>

#define SLOTS 6
#define THREADS 3

static const char *uri, *dir;

/* What one thread has. Handles are never shared between threads here, clients and sessions are: see `hammer`. */
struct world {
    uint64_t random;
    pdtp_config *configs[SLOTS];
    pdtp_client *clients[SLOTS];
    pdtp_session *sessions[SLOTS];
    pdtp_request *requests[SLOTS];
    pdtp_transfer *transfers[SLOTS];
    pdtp_listing *listings[SLOTS];
    pdtp_share *shares[SLOTS];
    pdtp_resume *resumes[SLOTS];
    int given, steps, id;
    struct counter destroyed;
};

static unsigned roll(struct world *world, unsigned sides)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return (unsigned)(world->random >> 33) % sides;
}

/* Any code will do, but those that tell of a fault of the library. */
static int fine(int code)
{
    char text[512];

    if (code == PDTP_E_PANIC || code == PDTP_E_INTERNAL || code == PDTP_E_NO_MEMORY) {
        pdtp_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s\n", pdtp_error_name(code), text);
        abort();
    }
    return code;
}

static const char *pick(struct world *world, const char *const *words, size_t count)
{
    return words[roll(world, (unsigned)count)];
}

#define PICK(world, words) pick(world, words, sizeof(words) / sizeof *(words))

static const char *const paths[] = {"/file.bin", "/small", "/empty",    "/sub/x", "/sub/",  "/",
                                    "/nothing",  "x",      "/a/../../b", "/%zz",   "/%00",   "",
                                    "/sub",      "/sub/deep/y#root=00", "pdtp://elsewhere.example/x"};
static const char *const options[] = {"seeding", "limit_down", "limit-up", "grace",     "parallel_files", "agent",
                                      "verify",  "log_level",  "nonsense", "seed_time", "cache_bytes",    "",
                                      "dialect", "event_queue", "overwrite", "priority", "rate",          "prealloc"};
static const char *const values[] = {"off",  "always", "downloading", "0",    "1",      "64K", "1s", "0ms",
                                     "yes",  "high",   "never",       "info", "debug", "",    "-1", "report",
                                     "line", "32",     "99999999999999999999", "\xff"};

static const char *local(struct world *world)
{
    static __thread char name[4096];

    snprintf(name, sizeof name, "%s/%d-%u", dir, world->id, roll(world, 8));
    return name;
}

static void on_destroy(void *user_data)
{
    struct world *world = user_data;

    counter_add(&world->destroyed);
}

static void on_log(int level, const char *target, const char *line, void *user_data)
{
    CHECK(level > 0 && target && line && user_data);
}

static void on_wakeup(void *user_data)
{
    CHECK(user_data != NULL);
}

static int on_data(uint64_t offset, const void *data, size_t length, void *user_data)
{
    CHECK(user_data != NULL && data != NULL && length > 0);
    return offset % 3 == 1 ? PDTP_DATA_ABORT : offset % 5 == 4 ? 77 : PDTP_DATA_CONTINUE;
}

/* Everything that does not block, on handles of the event. */
static void on_event(const pdtp_event *event, void *user_data)
{
    pdtp_listing *listing = pdtp_event_take_listing(event);

    CHECK(user_data != NULL);
    CHECK(pdtp_event_type(event) > 0);
    fine((int)pdtp_listing_count(listing));
    pdtp_listing_free(listing);
    CHECK(!pdtp_event_done(event) || pdtp_event_done(event)->path);
    CHECK(!pdtp_event_share(event) || pdtp_event_share(event)->state);
    CHECK(!pdtp_event_log(event) || pdtp_event_log(event)->line);
}

static void free_one(struct world *world, unsigned kind, unsigned at)
{
    switch (kind) {
    case 0: pdtp_config_free(world->configs[at]); world->configs[at] = NULL; break;
    case 1: pdtp_client_free(world->clients[at]); world->clients[at] = NULL; break;
    case 2: pdtp_session_free(world->sessions[at]); world->sessions[at] = NULL; break;
    case 3: pdtp_request_free(world->requests[at]); world->requests[at] = NULL; break;
    case 4: pdtp_transfer_free(world->transfers[at]); world->transfers[at] = NULL; break;
    case 5: pdtp_listing_free(world->listings[at]); world->listings[at] = NULL; break;
    case 6: pdtp_share_free(world->shares[at]); world->shares[at] = NULL; break;
    default: pdtp_resume_free(world->resumes[at]); world->resumes[at] = NULL; break;
    }
}

static void step(struct world *world)
{
    unsigned at = roll(world, SLOTS), op = roll(world, 44);
    pdtp_config **config = &world->configs[roll(world, SLOTS)];
    pdtp_client **client = &world->clients[roll(world, SLOTS)];
    pdtp_session **session = &world->sessions[roll(world, SLOTS)];
    pdtp_request **request = &world->requests[roll(world, SLOTS)];
    pdtp_transfer **transfer = &world->transfers[roll(world, SLOTS)];
    pdtp_share **share = &world->shares[roll(world, SLOTS)];
    int wait = (int)roll(world, 4) * 5;
    pdtp_progress progress;
    pdtp_stats stats;
    pdtp_cache_info cache;
    char text[64], *string;
    const pdtp_unfinished *unfinished;
    uint64_t number;

    switch (op) {
    case 0:
        free_one(world, 0, at);
        world->configs[at] = pdtp_config_new();
        fine(pdtp_config_set(world->configs[at], "grace", "0"));
        break;
    case 1: fine(pdtp_config_set(*config, PICK(world, options), PICK(world, values))); break;
    case 2: fine(pdtp_config_get(*config, PICK(world, options), text, roll(world, sizeof text))); break;
    case 3: fine(pdtp_config_set_dispatch(*config, (int)roll(world, 3))); break;
    case 4:
        world->given++;
        fine(pdtp_config_set_log(*config, (int)roll(world, 7), on_log, world, on_destroy));
        break;
    case 5: fine(pdtp_config_set_dirs(*config, roll(world, 2) ? dir : NULL, roll(world, 2) ? dir : NULL)); break;
    case 6: case 7:
        free_one(world, 1, at);
        fine(pdtp_client_new(&world->clients[at], *config));
        break;
    case 8: fine(pdtp_client_set(*client, PICK(world, options), PICK(world, values))); break;
    case 9: fine(pdtp_client_stats(*client, &stats, roll(world, sizeof stats + 1))); break;
    case 10:
        world->given++;
        fine(pdtp_client_set_event_callback(*client, roll(world, 4) ? on_event : NULL, world, on_destroy));
        break;
    case 11:
        world->given++;
        fine(pdtp_client_set_wakeup(*client, roll(world, 2) ? on_wakeup : NULL, world, on_destroy));
        break;
    case 12: fine(pdtp_client_enable_event(*client, (int)roll(world, 18), (int)roll(world, 2))); break;
    case 13: fine(pdtp_client_interrupt(*client)); break;
    case 14: case 15: fine(pdtp_client_dispatch(*client, (int)roll(world, 4) - 1, wait)); break;
    case 16: fine(pdtp_event_type(pdtp_client_next_event(*client, wait))); break;
    case 17: case 18:
        free_one(world, 2, at);
        fine(pdtp_session_open(&world->sessions[at], *client, roll(world, 8) ? uri : "pdtp://127.0.0.1:1/", world));
        break;
    case 19: fine(pdtp_session_wait(*session, wait)); break;
    case 20:
        fine(pdtp_session_info(*session, "agent", text, sizeof text));
        fine(pdtp_session_error(*session, text, roll(world, sizeof text)));
        break;
    case 21: fine(pdtp_session_reconnect(*session)); break;
    case 22:
        free_one(world, 5, at);
        fine(pdtp_list(&world->listings[at], *session, PICK(world, paths), (int)roll(world, 4) - 1, wait));
        break;
    case 23: fine(pdtp_list_start(&number, *session, PICK(world, paths), 1, world)); break;
    case 24:
        free_one(world, 5, at);
        fine(pdtp_stat(&world->listings[at], *session, PICK(world, paths), wait));
        break;
    case 25: fine(pdtp_watch_start(&number, *session, PICK(world, paths), world)); break;
    case 26: case 27:
        free_one(world, 3, at);
        fine(pdtp_request_new(&world->requests[at], *session, PICK(world, paths)));
        break;
    case 28: fine(pdtp_request_set(*request, PICK(world, options), PICK(world, values))); break;
    case 29: fine(pdtp_request_to_file(*request, local(world))); break;
    case 30: fine(pdtp_request_to_dir(*request, local(world))); break;
    case 31:
        world->given++;
        fine(pdtp_request_to_callback(*request, on_data, world, on_destroy));
        break;
    case 32:
        free_one(world, 4, at);
        if (*request) {
            fine(pdtp_request_start(&world->transfers[at], *request, world));
            *request = NULL;
        }
        break;
    case 33: case 34:
        free_one(world, 4, at);
        fine(pdtp_download(&world->transfers[at], *session, PICK(world, paths), local(world), world));
        break;
    case 35: fine(pdtp_transfer_wait(*transfer, wait)); break;
    case 36: fine(roll(world, 2) ? pdtp_transfer_pause(*transfer) : pdtp_transfer_resume(*transfer)); break;
    case 37: fine(pdtp_transfer_cancel(*transfer, (int)roll(world, 3))); break;
    case 38:
        fine(pdtp_transfer_progress(*transfer, &progress, sizeof progress));
        fine(pdtp_transfer_set_rate(*transfer, roll(world, 3) * 100000));
        fine(pdtp_transfer_set_priority(*transfer, (int)roll(world, 4) - 1));
        break;
    case 39:
        free_one(world, 6, at);
        fine(pdtp_share_add(&world->shares[at], *session, PICK(world, paths), local(world), world));
        break;
    case 40:
        fine(pdtp_share_state(*share));
        fine(pdtp_share_error(*share, text, sizeof text));
        fine(pdtp_cache_stats(*client, &cache, sizeof cache));
        fine(pdtp_cache_pin(*session, PICK(world, paths), (int)roll(world, 2)));
        break;
    case 41:
        fine(pdtp_cache_purge(*client, roll(world, 2) * 1000));
        fine(pdtp_metrics(&string, *client));
        pdtp_string_free(string);
        break;
    case 42:
        free_one(world, 7, at);
        fine(pdtp_resume_list(&world->resumes[at], *client));
        unfinished = pdtp_resume_at(world->resumes[at], roll(world, 4));
        if (unfinished) {
            fine(roll(world, 2) ? pdtp_resume_start(NULL, *client, unfinished->id, world)
                                : pdtp_resume_forget(*client, unfinished->id, (int)roll(world, 2)));
        }
        break;
    default: free_one(world, roll(world, 8), at); break;
    }
}

static void *run(void *user_data)
{
    struct world *world = user_data;
    unsigned left = 8 * SLOTS, at;

    for (; world->steps > 0; world->steps--) {
        step(world);
    }
    /* In any order. */
    for (; left > 0; left--) {
        free_one(world, roll(world, 8), roll(world, SLOTS));
    }
    for (left = 0; left < 8; left++) {
        for (at = 0; at < SLOTS; at++) {
            free_one(world, left, at);
        }
    }
    return NULL;
}

static int entries(const char *path)
{
    DIR *open = opendir(path);
    int count = 0;

    CHECK(open != NULL);
    while (readdir(open)) {
        count++;
    }
    closedir(open);
    return count;
}

/* Once the last one is gone there are as many as before. */
static void returns_to(const char *path, int count)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    struct timespec pause = {0, 10000000};

    while (entries(path) > count) {
        if (time(NULL) >= deadline) {
            fprintf(stderr, "%s: %d, and %d at first\n", path, entries(path), count);
        }
        CHECK(time(NULL) < deadline);
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    static struct world worlds[THREADS];
    pthread_t threads[THREADS];
    pdtp_client *warm;
    int i, fds, tasks;

    CHECK(argc == 5);
    uri = argv[3];
    dir = argv[4];
    /* What the library needs once is not left behind. */
    CHECK_CODE(pdtp_client_new(&warm, NULL), 0);
    pdtp_client_free(warm);
    fds = entries("/proc/self/fd");
    tasks = entries("/proc/self/task");
    for (i = 0; i < THREADS; i++) {
        static const struct counter counter = COUNTER;
        worlds[i].destroyed = counter;
        worlds[i].random = strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15u + 0x1234567u + (uint64_t)i * 7919u;
        worlds[i].steps = atoi(argv[2]);
        worlds[i].id = i;
        CHECK(pthread_create(&threads[i], NULL, run, &worlds[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    returns_to("/proc/self/task", tasks);
    returns_to("/proc/self/fd", fds);
    for (i = 0; i < THREADS; i++) {
        if (counter_get(&worlds[i].destroyed) != worlds[i].given) {
            fprintf(stderr, "%d destroyed of %d\n", counter_get(&worlds[i].destroyed), worlds[i].given);
            return 1;
        }
    }
    return 0;
}
