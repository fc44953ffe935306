/*
 * Random sequences of calls, also from callbacks and from several threads: fuzz SEED STEPS SEQUENCES URI DIR
 *
 * Whatever the order, no call may answer that something is broken inside, nothing may crash or hang, and when all handles
 * are freed, no thread and no descriptor may be left. The same seed makes the same calls (what they meet varies);
 * each sequence has the next one, and says which.
 */
#include "check.h"

#define SLOTS 6
#define KINDS 9
#define THREADS 3

static const char *uri, *dir;
/* Descriptors and threads while nothing is used. */
static int fds, tasks;

/* What one thread has. Handles are not shared between threads here: tests/c/hammer.c does that. */
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
    pdtp_reader *readers[SLOTS];
    int given, steps, id;
    unsigned one;
    struct counter destroyed;
    /* What may be answered with pdtp_decide; also written by a thread of the library. */
    uint64_t decision;
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

static const char *const paths[] = {"/file.bin", "/small",   "/empty",     "/sub/x", "/sub/", "/",
                                    "/file.bin", "/small",   "/sub/deep/y", "/sub/x", "/sub/", "/file.bin",
                                    "/nothing",  "x",        "/a/../../b", "/%zz",   "/%00",  "",
                                    "/sub",      "/sub/deep/y#root=00", "pdtp://elsewhere.example/x"};
static const char *const values[] = {"off",  "always", "downloading", "0",    "1",      "64K", "1s", "0ms",
                                     "yes",  "high",   "never",       "info", "debug", "",    "-1", "report",
                                     "line", "32",     "99999999999999999999", "\xff"};
static const char *const keys[] = {"uri", "host", "agent", "client_id", "peer_address", "protocol", "colour", ""};
static const char *const parts[] = {"uri", "host", "port", "path", "name", "root", "key", "dir", "colour", ""};
static const char key[] = "-----BEGIN PUBLIC KEY-----\n"
                          "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                          "-----END PUBLIC KEY-----\n";

/* One that there is, or nearly. Not those that name files, which would be made wherever this runs. */
static const char *option(struct world *world)
{
    const pdtp_option *one = pdtp_config_option_at(roll(world, 64));

    if (!one) {
        return roll(world, 2) ? "overwrite" : "nonsense";
    }
    return strstr(one->name, "dir") || strstr(one->name, "store") ? "grace" : one->name;
}

/* What it may be, mostly. */
static const char *value(struct world *world, const char *name)
{
    const pdtp_option *one;
    size_t i;

    for (i = roll(world, 3) ? 0 : 1000; (one = pdtp_config_option_at(i)) != NULL; i++) {
        if (strcmp(one->name, name) == 0) {
            return one->preset;
        }
    }
    return PICK(world, values);
}

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

static int on_verdict(const pdtp_verdict *verdict, void *user_data)
{
    static const int answers[] = {PDTP_ANSWER_ACCEPT, PDTP_ANSWER_REJECT, PDTP_ANSWER_DEFAULT, PDTP_ANSWER_LATER, 77};

    CHECK(user_data != NULL && verdict->size > 0);
    return answers[strlen(verdict->path) % 5];
}

/* Nothing of it may crash, and strings must be strings. */
static void look_at_listing(const pdtp_listing *listing)
{
    size_t i, n, length, attributes;
    const char *text, *name;

    fine((int)pdtp_listing_count(listing));
    pdtp_listing_complete(listing);
    CHECK(!listing || pdtp_listing_path(listing));
    if (fine(pdtp_listing_rdl(listing, &text, &length)) == 0) {
        CHECK(length > 0 && text[0] == '<');
    }
    for (i = 0; i <= pdtp_listing_count(listing); i++) {
        const pdtp_entry *entry = pdtp_listing_entry(listing, i);

        CHECK((entry != NULL) == (i < pdtp_listing_count(listing)));
        CHECK(!entry || (pdtp_entry_name(entry) && pdtp_entry_path(entry)));
        fine(pdtp_entry_type(entry));
        pdtp_entry_size(entry);
        pdtp_entry_mtime(entry);
        pdtp_entry_signed(entry);
        pdtp_entry_attr(entry, "dc.title");
        CHECK(!pdtp_entry_root(entry) || strlen(pdtp_entry_root(entry)) == 64);
        CHECK(!pdtp_entry_mime(entry) || strchr(pdtp_entry_mime(entry), '/'));
        attributes = pdtp_entry_attr_count(entry);
        for (n = 0; n < attributes; n++) {
            CHECK(pdtp_entry_attr_at(entry, n, &name) && name);
        }
        CHECK(!pdtp_entry_attr_at(entry, attributes, NULL));
    }
}

/* Everything that can be asked of an event. */
static void look_at(const pdtp_event *event, struct world *world)
{
    const pdtp_verdict *verdict = pdtp_event_verdict(event);
    pdtp_listing *listing;
    int found;

    if (!event) {
        return;
    }
    CHECK(pdtp_event_type(event) > 0);
    pdtp_event_user_data(event);
    found = !!pdtp_event_session(event) + !!pdtp_event_listing(event) + !!pdtp_event_transfer(event) +
            !!pdtp_event_done(event) + !!pdtp_event_progress(event) + !!pdtp_event_file(event) +
            !!pdtp_event_peer(event) + !!pdtp_event_notice(event) + !!pdtp_event_overflow(event) +
            !!pdtp_event_data(event) + !!pdtp_event_changed(event) + !!verdict + !!pdtp_event_share(event) +
            !!pdtp_event_log(event) + !!pdtp_event_reading(event);
    CHECK(found == 1);
    CHECK(!pdtp_event_done(event) || pdtp_event_done(event)->path);
    CHECK(!pdtp_event_share(event) || pdtp_event_share(event)->state);
    CHECK(!pdtp_event_log(event) || pdtp_event_log(event)->line);
    fine(pdtp_event_answer(event, (int)(pdtp_event_id(event) % 5)));
    if (verdict && verdict->decision) {
        __atomic_store_n(&world->decision, verdict->decision, __ATOMIC_RELAXED);
    }
    listing = pdtp_event_take_listing(event);
    look_at_listing(listing);
    CHECK(!listing || !pdtp_event_take_listing(event));
    pdtp_listing_free(listing);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    CHECK(event != NULL && user_data != NULL);
    look_at(event, user_data);
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
    case 7: pdtp_reader_free(world->readers[at]); world->readers[at] = NULL; break;
    default: pdtp_resume_free(world->resumes[at]); world->resumes[at] = NULL; break;
    }
}

/* Briefly, or not at all. */
static int wait(struct world *world)
{
    static const int milliseconds[] = {0, 0, 5, 60};

    return milliseconds[roll(world, 4)];
}

/* One of these; NULL less often than there are empty slots. */
#define ANY(world, slots) ((slots)[(world)->one = roll(world, SLOTS)] ? (slots)[(world)->one] : (slots)[roll(world, SLOTS)])

static void with_config(struct world *world, unsigned at)
{
    pdtp_config *config = ANY(world, world->configs);
    const char *name;
    char text[64];

    switch (roll(world, 13)) {
    case 0: case 1:
        free_one(world, 0, at);
        world->configs[at] = pdtp_config_new();
        fine(pdtp_config_set(world->configs[at], "grace", "0"));
        break;
    case 2: case 3:
        name = option(world);
        fine(pdtp_config_set(config, name, value(world, name)));
        break;
    case 4: fine(pdtp_config_get(config, option(world), text, roll(world, sizeof text))); break;
    case 5: fine(pdtp_config_set_dispatch(config, (int)roll(world, 3))); break;
    case 6:
        world->given++;
        fine(pdtp_config_set_log(config, (int)roll(world, 7), on_log, world, on_destroy));
        break;
    case 7: fine(pdtp_config_set_dirs(config, roll(world, 2) ? dir : NULL, roll(world, 2) ? dir : NULL)); break;
    case 8: fine(pdtp_config_set_rates(config, roll(world, 3) * 1000000, roll(world, 3) * 1000000)); break;
    case 9: fine(pdtp_config_set_seeding(config, (int)roll(world, 5) - 1)); break;
    case 10:
        world->given++;
        fine(pdtp_config_set_verify(config, (int)roll(world, 5), roll(world, 2) ? on_verdict : NULL, world, on_destroy));
        break;
    case 11: fine(pdtp_config_add_key(config, key, roll(world, 4) ? sizeof key - 1 : 30, NULL)); break;
    default: fine(pdtp_config_set_trust_store(config, roll(world, 2) ? local(world) : NULL)); break;
    }
}

static void with_client(struct world *world, unsigned at)
{
    pdtp_client *client = ANY(world, world->clients);
    pdtp_stats stats;
    pdtp_cache_info cache;
    const char *name;
    char *string;

    switch (roll(world, 16)) {
    case 0: case 1:
        if (world->clients[at] && roll(world, 4)) {
            break;
        }
        free_one(world, 1, at);
        fine(pdtp_client_new(&world->clients[at], roll(world, 2) ? ANY(world, world->configs) : NULL));
        fine(pdtp_client_set(world->clients[at], "grace", "0"));
        break;
    case 2:
        name = option(world);
        fine(pdtp_client_set(client, name, value(world, name)));
        break;
    case 3: fine(pdtp_client_stats(client, &stats, roll(world, sizeof stats + 1))); break;
    case 4:
        world->given++;
        fine(pdtp_client_set_event_callback(client, roll(world, 4) ? on_event : NULL, world, on_destroy));
        break;
    case 5:
        world->given++;
        fine(pdtp_client_set_wakeup(client, roll(world, 2) ? on_wakeup : NULL, world, on_destroy));
        break;
    case 6: fine(pdtp_client_enable_event(client, (int)roll(world, 24), (int)roll(world, 2))); break;
    case 7: fine(pdtp_client_interrupt(client)); break;
    case 8: case 9: fine(pdtp_client_dispatch(client, (int)roll(world, 4) - 1, wait(world))); break;
    case 10: case 11: look_at(pdtp_client_next_event(client, wait(world)), world); break;
    case 12:
        fine(pdtp_decide(client, __atomic_load_n(&world->decision, __ATOMIC_RELAXED), (int)roll(world, 5)));
        break;
    case 13: fine(pdtp_client_event_fd(client)); break;
    case 14:
        fine(pdtp_cache_stats(client, &cache, sizeof cache));
        fine(pdtp_cache_purge(client, roll(world, 2) * 1000));
        break;
    default:
        fine(pdtp_metrics(&string, client));
        pdtp_string_free(string);
        break;
    }
}

static void with_session(struct world *world, unsigned at)
{
    pdtp_session *session = ANY(world, world->sessions);
    uint64_t number = 0;
    char text[64];

    switch (roll(world, 14)) {
    case 0: case 1: case 2:
        if (world->sessions[at] && pdtp_session_state(world->sessions[at]) != PDTP_SESSION_CLOSED && roll(world, 4)) {
            break;
        }
        free_one(world, 2, at);
        fine(pdtp_session_open(&world->sessions[at], ANY(world, world->clients),
                               roll(world, 8) ? uri : "pdtp://127.0.0.1:1/", world));
        break;
    case 3: fine(pdtp_session_wait(session, wait(world))); break;
    case 4: fine(pdtp_session_state(session)); break;
    case 5:
        CHECK((pdtp_session_id(session) == 0) == (session == NULL));
        fine(pdtp_session_info(session, PICK(world, keys), text, sizeof text));
        fine(pdtp_session_error(session, text, roll(world, sizeof text)));
        break;
    case 6: fine(pdtp_session_reconnect(session)); break;
    case 7: case 8:
        free_one(world, 5, at);
        fine(pdtp_list(&world->listings[at], session, PICK(world, paths),
                       ((int)roll(world, 4) - 1) | (roll(world, 2) ? PDTP_LIST_RICH : 0), wait(world)));
        look_at_listing(world->listings[at]);
        break;
    case 9: fine(pdtp_list_start(&number, session, PICK(world, paths), 1, world)); break;
    case 10:
        free_one(world, 5, at);
        fine(pdtp_stat(&world->listings[at], session, PICK(world, paths), wait(world)));
        look_at_listing(world->listings[at]);
        break;
    case 11: fine(pdtp_stat_start(&number, session, PICK(world, paths), world)); break;
    case 12:
        fine(pdtp_watch_start(&number, session, PICK(world, paths), world));
        if (roll(world, 2)) {
            fine(pdtp_watch_stop(session, number));
        }
        break;
    default: fine(pdtp_cache_pin(session, PICK(world, paths), (int)roll(world, 2))); break;
    }
}

static void with_transfer(struct world *world, unsigned at)
{
    pdtp_session *session = ANY(world, world->sessions);
    pdtp_request **request = &world->requests[roll(world, 2) ? at : roll(world, SLOTS)];
    pdtp_transfer *transfer = ANY(world, world->transfers);
    pdtp_progress progress;
    const char *name;
    char text[64];

    switch (roll(world, 16)) {
    case 0: case 1: case 2:
        free_one(world, 3, at);
        fine(pdtp_request_new(&world->requests[at], session, PICK(world, paths)));
        break;
    case 3:
        name = option(world);
        fine(pdtp_request_set(*request, name, value(world, name)));
        break;
    case 4: fine(pdtp_request_to_file(*request, local(world))); break;
    case 5: fine(pdtp_request_to_dir(*request, local(world))); break;
    case 6: fine(pdtp_request_to_events(*request)); break;
    case 7:
        world->given++;
        fine(pdtp_request_to_callback(*request, on_data, world, on_destroy));
        break;
    case 8: case 9:
        free_one(world, 4, at);
        if (*request) {
            fine(pdtp_request_start(&world->transfers[at], *request, world));
            *request = NULL;
        }
        break;
    case 10: case 11:
        free_one(world, 4, at);
        fine(pdtp_download(&world->transfers[at], session, PICK(world, paths), local(world), world));
        break;
    case 12: fine(pdtp_transfer_wait(transfer, wait(world))); break;
    case 13: fine(roll(world, 2) ? pdtp_transfer_pause(transfer) : pdtp_transfer_resume(transfer)); break;
    case 14: fine(pdtp_transfer_cancel(transfer, (int)roll(world, 3))); break;
    default:
        CHECK((pdtp_transfer_id(transfer) == 0) == (transfer == NULL));
        fine(pdtp_transfer_state(transfer));
        fine(pdtp_transfer_error(transfer, text, roll(world, sizeof text)));
        fine(pdtp_transfer_progress(transfer, &progress, sizeof progress));
        fine(pdtp_transfer_set_rate(transfer, roll(world, 3) * 100000));
        fine(pdtp_transfer_set_priority(transfer, (int)roll(world, 4) - 1));
        break;
    }
}

static void with_reader(struct world *world, unsigned at)
{
    pdtp_reader *reader = ANY(world, world->readers);
    char bytes[4096];
    uint64_t from = 0, to = 0;
    int code;

    switch (roll(world, 12)) {
    case 0: case 1: case 2:
        free_one(world, 7, at);
        fine(pdtp_reader_open(&world->readers[at], ANY(world, world->sessions), PICK(world, paths),
                              wait(world)));
        break;
    case 3: case 4: fine((int)pdtp_reader_read_timeout(reader, bytes, roll(world, sizeof bytes), wait(world))); break;
    case 5:
        /* It would wait where there is nothing. */
        code = fine(pdtp_reader_buffered(reader, &from, &to));
        if (code != 0 || to > from) {
            fine((int)pdtp_reader_read(reader, bytes, sizeof bytes));
        }
        break;
    case 6: case 7:
        fine((int)pdtp_reader_seek(reader, (int64_t)roll(world, 4000000) - 1000, (int)roll(world, 4)));
        break;
    case 8: fine((int)pdtp_reader_tell(reader)); break;
    case 9: fine((int)pdtp_reader_size(reader)); break;
    case 10: fine(pdtp_reader_set_window(reader, (int64_t)roll(world, 4) * 500000 - 1)); break;
    default:
        if (roll(world, 3) == 0) {
            fine(pdtp_reader_cancel(reader));
        }
        break;
    }
}

static void with_others(struct world *world, unsigned at)
{
    pdtp_client *client = ANY(world, world->clients);
    pdtp_session *session = ANY(world, world->sessions);
    pdtp_share *share = ANY(world, world->shares);
    const pdtp_unfinished *unfinished;
    char text[64];

    switch (roll(world, 6)) {
    case 0: case 1:
        free_one(world, 6, at);
        fine(pdtp_share_add(&world->shares[at], session, PICK(world, paths), local(world), world));
        break;
    case 2:
        CHECK((pdtp_share_id(share) == 0) == (share == NULL));
        fine(pdtp_share_state(share));
        fine(pdtp_share_error(share, text, sizeof text));
        break;
    case 3:
        free_one(world, 8, at);
        fine(pdtp_resume_list(&world->resumes[at], client));
        unfinished = pdtp_resume_at(world->resumes[at], roll(world, 4));
        CHECK(!unfinished || pdtp_resume_count(world->resumes[at]) > 0);
        if (unfinished) {
            fine(roll(world, 2) ? pdtp_resume_start(NULL, client, unfinished->id, world)
                                : pdtp_resume_forget(client, unfinished->id, (int)roll(world, 2)));
        }
        break;
    case 4:
        fine(pdtp_uri_part(roll(world, 2) ? uri : PICK(world, paths), PICK(world, parts), text, sizeof text));
        fine(pdtp_uri_format(text, roll(world, sizeof text), roll(world, 2) ? "::1" : PICK(world, values),
                             (uint16_t)roll(world, 65536), PICK(world, paths)));
        fine(pdtp_fingerprint(roll(world, 2) ? key : PICK(world, values), text, roll(world, sizeof text)));
        break;
    default:
        CHECK(pdtp_version_string()[0] && pdtp_version_number() > 0 && pdtp_abi_version() > 0);
        pdtp_has_feature(PICK(world, values));
        CHECK(pdtp_error_name((int)roll(world, 100) - 50)[0] && pdtp_strerror((int)roll(world, 100) - 50)[0]);
        CHECK(pdtp_last_error_code() <= 0 && pdtp_last_error(text, roll(world, sizeof text)) >= 0);
        break;
    }
}

static void step(struct world *world)
{
    unsigned at = roll(world, SLOTS), kind = roll(world, 24);

    switch (kind) {
    case 0: case 1: case 2: with_config(world, at); break;
    case 3: case 4: case 5: case 6: with_client(world, at); break;
    case 7: case 8: case 9: case 10: with_session(world, at); break;
    case 11: case 12: case 13: case 14: case 15: with_transfer(world, at); break;
    case 16: case 17: case 18: case 19: with_reader(world, at); break;
    case 20: case 21: case 22: with_others(world, at); break;
    default: free_one(world, roll(world, KINDS), at); break;
    }
}

static void *run(void *user_data)
{
    struct world *world = user_data;
    unsigned left = KINDS * SLOTS, at;

    for (; world->steps > 0; world->steps--) {
        step(world);
    }
    /* In any order. */
    for (; left > 0; left--) {
        free_one(world, roll(world, KINDS), roll(world, SLOTS));
    }
    for (left = 0; left < KINDS; left++) {
        for (at = 0; at < SLOTS; at++) {
            free_one(world, left, at);
        }
    }
    return NULL;
}

/* One sequence for each thread. */
static void play(uint64_t seed, int steps)
{
    static const struct counter counter = COUNTER;
    static struct world worlds[THREADS];
    pthread_t threads[THREADS];
    int i;

    for (i = 0; i < THREADS; i++) {
        memset(&worlds[i], 0, sizeof worlds[i]);
        worlds[i].destroyed = counter;
        worlds[i].random = seed * 0x9e3779b97f4a7c15u + 0x1234567u + (uint64_t)i * 7919u;
        worlds[i].steps = steps;
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
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    pdtp_client *warm;
    uint64_t seed, end;

    CHECK(argc == 6);
    uri = argv[4];
    dir = argv[5];
    /* What the library needs once is not left behind. */
    CHECK_CODE(pdtp_client_new(&warm, NULL), 0);
    pdtp_client_free(warm);
    fds = entries("/proc/self/fd");
    tasks = entries("/proc/self/task");
    seed = strtoull(argv[1], NULL, 10);
    for (end = seed + strtoull(argv[3], NULL, 10); seed < end; seed++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        play(seed, atoi(argv[2]));
    }
    return 0;
}
