/*
 * One client, used by many threads at once, and freed while they are at it: hammer SEED ROUNDS URI DIR
 *
 * Made for ThreadSanitizer, which sees two threads that touch the same memory with nothing between them. Threads with a
 * session or something made of it go on when the client is gone; those that hold the client are stopped before.
 */
#include "check.h"

static const char *uri, *dir;
/* Transfers that were completed, and reads that brought something. */
static struct counter completed = COUNTER, read_something = COUNTER;

struct round {
    unsigned seed;
    pdtp_client *client;
    pdtp_session *session;
    /* Counts when those with the client, and when all others are to stop. */
    struct counter client_goes, end;
};

/* What one thread has. */
struct hand {
    struct round *round;
    unsigned random;
    int id;
};

static unsigned roll(struct hand *hand, unsigned sides)
{
    hand->random = hand->random * 1103515245u + 12345u;
    return (hand->random >> 16) % sides;
}

static void pause_us(unsigned microseconds)
{
    struct timespec pause = {0, 0};

    pause.tv_nsec = (long)microseconds * 1000;
    nanosleep(&pause, NULL);
}

/* Whether it may go on as it is: anything but a fault of the library. */
static int fine(int64_t code)
{
    char text[512];

    if (code == PDTP_E_PANIC || code == PDTP_E_INTERNAL || code == PDTP_E_NO_MEMORY) {
        pdtp_last_error(text, sizeof text);
        fprintf(stderr, "%s: %s\n", pdtp_error_name((int)code), text);
        abort();
    }
    return code >= 0;
}

static void on_event(const pdtp_event *event, void *user_data)
{
    CHECK(pdtp_event_type(event) > 0 && user_data != NULL);
    if (pdtp_event_data(event)) {
        fine(pdtp_event_answer(event, PDTP_DATA_CONTINUE));
    }
}

static int on_data(uint64_t offset, const void *data, size_t length, void *user_data)
{
    CHECK(data != NULL && length > 0 && user_data != NULL);
    return offset % 7 == 6 ? PDTP_DATA_PAUSE : PDTP_DATA_CONTINUE;
}

/* -------------------------------------------------------------------------------------- those who hold the client */

/* The one that drains, in both ways. */
static void *drain(void *user_data)
{
    struct hand *hand = user_data;
    struct round *round = hand->round;

    while (!counter_get(&round->client_goes)) {
        if (roll(hand, 2)) {
            fine(pdtp_client_dispatch(round->client, (int)roll(hand, 3), (int)roll(hand, 20)));
        } else {
            const pdtp_event *event = pdtp_client_next_event(round->client, (int)roll(hand, 20));

            if (event) {
                on_event(event, round);
            }
        }
    }
    return NULL;
}

/* Looks at everything, changes what can be changed, and wakes the others. */
static void *look(void *user_data)
{
    struct hand *hand = user_data;
    struct round *round = hand->round;
    pdtp_stats stats;
    pdtp_cache_info cache;
    pdtp_resume *unfinished;
    char *text;
    static const char *const rates[] = {"0", "20M", "4M"};

    while (!counter_get(&round->client_goes)) {
        switch (roll(hand, 8)) {
        case 0: fine(pdtp_client_stats(round->client, &stats, sizeof stats)); break;
        case 1:
            if (fine(pdtp_metrics(&text, round->client))) {
                CHECK(strstr(text, "pdtp_client_"));
                pdtp_string_free(text);
            }
            break;
        case 2: fine(pdtp_client_set(round->client, "limit_down", rates[roll(hand, 3)])); break;
        case 3: fine(pdtp_cache_stats(round->client, &cache, sizeof cache)); break;
        case 4: fine(pdtp_cache_purge(round->client, roll(hand, 4) * 1000000)); break;
        case 5: fine(pdtp_client_interrupt(round->client)); break;
        case 6:
            if (fine(pdtp_resume_list(&unfinished, round->client))) {
                pdtp_resume_free(unfinished);
            }
            break;
        default: fine(pdtp_client_enable_event(round->client, PDTP_EVENT_PEER, (int)roll(hand, 2))); break;
        }
        pause_us(roll(hand, 2000));
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------ those who hold the session */

static const char *const paths[] = {"/file.bin", "/small", "/sub/x", "/sub/deep/y", "/empty", "/nothing"};

struct shared_transfer {
    pdtp_transfer *transfer;
    struct hand hand;
    struct counter done;
};

/* Another thread has something to say about the same transfer. */
static void *interfere(void *user_data)
{
    struct shared_transfer *shared = user_data;
    struct hand *hand = &shared->hand;
    pdtp_progress progress;
    char text[80];

    while (!counter_get(&shared->done)) {
        switch (roll(hand, 8)) {
        case 0: fine(pdtp_transfer_pause(shared->transfer)); break;
        case 1: case 2: fine(pdtp_transfer_resume(shared->transfer)); break;
        case 3: fine(pdtp_transfer_set_rate(shared->transfer, roll(hand, 2) * 5000000)); break;
        case 4: fine(pdtp_transfer_set_priority(shared->transfer, (int)roll(hand, 3) - 1)); break;
        case 5: fine(pdtp_transfer_error(shared->transfer, text, sizeof text)); break;
        case 6: fine(pdtp_transfer_progress(shared->transfer, &progress, sizeof progress)); break;
        default:
            if (roll(hand, 6) == 0) {
                fine(pdtp_transfer_cancel(shared->transfer, (int)roll(hand, 2)));
            }
            break;
        }
        pause_us(roll(hand, 1500));
    }
    return NULL;
}

static void *download(void *user_data)
{
    struct hand *hand = user_data;
    struct round *round = hand->round;
    pdtp_request *request;
    char name[4096];

    while (!counter_get(&round->end)) {
        struct shared_transfer shared = {NULL, {NULL, 0, 0}, COUNTER};
        const char *path = paths[roll(hand, 6)];
        pthread_t other;

        snprintf(name, sizeof name, "%s/%d-%u", dir, hand->id, roll(hand, 3));
        if (roll(hand, 2)) {
            fine(pdtp_download(&shared.transfer, round->session, path, name, round));
        } else if (fine(pdtp_request_new(&request, round->session, path))) {
            fine(roll(hand, 2) ? pdtp_request_to_callback(request, on_data, round, NULL)
                               : pdtp_request_to_events(request));
            fine(pdtp_request_start(&shared.transfer, request, round));
        }
        if (shared.transfer) {
            shared.hand = *hand;
            CHECK(pthread_create(&other, NULL, interfere, &shared) == 0);
            if (fine(pdtp_transfer_wait(shared.transfer, (int)roll(hand, 300)))) {
                counter_add(&completed);
            }
            counter_add(&shared.done);
            CHECK(pthread_join(other, NULL) == 0);
            fine(pdtp_transfer_state(shared.transfer));
        }
        pdtp_transfer_free(shared.transfer);
        pause_us(roll(hand, 500));
    }
    return NULL;
}

struct shared_reader {
    pdtp_reader *reader;
    struct hand hand;
    struct counter done;
};

/* Seeks under the hands of the one who reads, and now and then ends it. */
static void *jump(void *user_data)
{
    struct shared_reader *shared = user_data;
    struct hand *hand = &shared->hand;
    uint64_t from, to;

    while (!counter_get(&shared->done)) {
        switch (roll(hand, 5)) {
        case 0: fine(pdtp_reader_seek(shared->reader, (int64_t)roll(hand, 3000000), PDTP_SEEK_SET)); break;
        case 1: fine(pdtp_reader_set_window(shared->reader, (int64_t)roll(hand, 4) * 300000)); break;
        case 2: fine(pdtp_reader_buffered(shared->reader, &from, &to)); break;
        case 3: fine(pdtp_reader_tell(shared->reader)); break;
        default:
            if (roll(hand, 10) == 0) {
                fine(pdtp_reader_cancel(shared->reader));
            }
            break;
        }
        pause_us(roll(hand, 1500));
    }
    return NULL;
}

static void *read_it(void *user_data)
{
    struct hand *hand = user_data;
    struct round *round = hand->round;
    char bytes[20000];

    while (!counter_get(&round->end)) {
        struct shared_reader shared = {NULL, {NULL, 0, 0}, COUNTER};
        pthread_t other;
        int i;

        if (!fine(pdtp_reader_open(&shared.reader, round->session, paths[roll(hand, 4)], 300))) {
            pause_us(roll(hand, 500));
            continue;
        }
        shared.hand = *hand;
        CHECK(pthread_create(&other, NULL, jump, &shared) == 0);
        for (i = 0; i < 50 && !counter_get(&round->end); i++) {
            int64_t got = pdtp_reader_read_timeout(shared.reader, bytes, sizeof bytes, (int)roll(hand, 10));

            if (fine(got) && got > 0) {
                counter_add(&read_something);
            }
        }
        /* Somebody always ends it. */
        if (roll(hand, 2)) {
            fine(pdtp_reader_cancel(shared.reader));
            CHECK(pdtp_reader_read(shared.reader, bytes, sizeof bytes) < 0);
        }
        counter_add(&shared.done);
        CHECK(pthread_join(other, NULL) == 0);
        pdtp_reader_free(shared.reader);
    }
    return NULL;
}

static void *list(void *user_data)
{
    struct hand *hand = user_data;
    struct round *round = hand->round;
    pdtp_listing *listing;
    pdtp_share *share;
    uint64_t op;
    char text[4200];

    while (!counter_get(&round->end)) {
        switch (roll(hand, 8)) {
        case 0:
            if (fine(pdtp_list(&listing, round->session, "/", 1 | PDTP_LIST_RICH, 200))) {
                CHECK(pdtp_entry_name(pdtp_listing_entry(listing, 0)));
                pdtp_listing_free(listing);
            }
            break;
        case 1:
            if (fine(pdtp_stat(&listing, round->session, "/small", 200))) {
                pdtp_listing_free(listing);
            }
            break;
        case 2: fine(pdtp_list_start(NULL, round->session, "/", 1, round)); break;
        case 3:
            if (fine(pdtp_watch_start(&op, round->session, "/", round))) {
                fine(pdtp_watch_stop(round->session, op));
            }
            break;
        case 4:
            fine(pdtp_session_state(round->session));
            fine(pdtp_session_info(round->session, "agent", text, sizeof text));
            fine(pdtp_session_error(round->session, text, sizeof text));
            break;
        case 5:
            if (roll(hand, 10) == 0) {
                fine(pdtp_session_reconnect(round->session));
            }
            break;
        case 6: fine(pdtp_cache_pin(round->session, "/small", (int)roll(hand, 2))); break;
        default:
            snprintf(text, sizeof text, "%s/shared", dir);
            if (fine(pdtp_share_add(&share, round->session, "/small", text, round))) {
                fine(pdtp_share_state(share));
                pdtp_share_free(share);
            }
            break;
        }
        pause_us(roll(hand, 1000));
    }
    return NULL;
}

/* ------------------------------------------------------------------------------------------------------------------ */

static pdtp_client *client_of(struct round *round)
{
    pdtp_config *config = pdtp_config_new();
    pdtp_client *client;

    CHECK_CODE(pdtp_config_set(config, "grace", "0"), 0);
    CHECK_CODE(pdtp_config_set(config, "seeding", "always"), 0);
    CHECK_CODE(pdtp_config_set_dirs(config, dir, dir), 0);
    /* On a thread of the library, or on the one that drains. */
    CHECK_CODE(pdtp_config_set_dispatch(config, round->seed % 3 == 0 ? PDTP_DISPATCH_THREAD : PDTP_DISPATCH_QUEUE), 0);
    CHECK_CODE(pdtp_client_new(&client, config), 0);
    pdtp_config_free(config);
    CHECK_CODE(pdtp_client_set_event_callback(client, on_event, round, NULL), 0);
    return client;
}

#define HANDS 9

static void play(unsigned seed)
{
    static void *(*const with_client[])(void *) = {look, look, drain};
    static void *(*const with_session[])(void *) = {download, download, read_it, read_it, list, list};
    struct round round = {0, NULL, NULL, COUNTER, COUNTER};
    struct hand hands[HANDS], own;
    pthread_t threads[HANDS];
    int i, count = 0, holders = seed % 3 == 0 ? 2 : 3, session_goes_first;

    round.seed = seed;
    round.client = client_of(&round);
    CHECK_CODE(pdtp_session_open(&round.session, round.client, uri, &round), 0);
    for (i = 0; i < holders + 6; i++) {
        hands[i].round = &round;
        hands[i].random = seed * 31u + (unsigned)i;
        hands[i].id = i;
        CHECK(pthread_create(&threads[count++], NULL, i < holders ? with_client[i] : with_session[i - holders],
                             &hands[i]) == 0);
    }
    own = hands[0];
    own.random = seed;
    pause_us(roll(&own, 30000) * 20);
    counter_add(&round.client_goes);
    for (i = 0; i < holders; i++) {
        pthread_join(threads[i], NULL);
    }
    session_goes_first = (int)roll(&own, 2);
    if (!session_goes_first) {
        pdtp_client_free(round.client);
        pause_us(roll(&own, 20000));
    }
    counter_add(&round.end);
    for (i = holders; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    pdtp_session_free(round.session);
    if (session_goes_first) {
        pdtp_client_free(round.client);
    }
}

int main(int argc, char **argv)
{
    unsigned seed;
    int rounds, tasks, fds, i;
    pdtp_client *warm;

    CHECK(argc == 5);
    uri = argv[3];
    dir = argv[4];
    seed = (unsigned)strtoul(argv[1], NULL, 10);
    rounds = atoi(argv[2]);
    /* What the library needs once is not left behind. */
    CHECK_CODE(pdtp_client_new(&warm, NULL), 0);
    pdtp_client_free(warm);
    tasks = entries("/proc/self/task");
    fds = entries("/proc/self/fd");
    /* On a busy machine a round may be over before anything is done. */
    for (i = 0; i < rounds || (i < 20 * rounds && (!counter_get(&completed) || !counter_get(&read_something))); i++) {
        play(seed + (unsigned)i);
    }
    returns_to("/proc/self/task", tasks);
    returns_to("/proc/self/fd", fds);
    printf("%d transfers were completed, %d reads brought something\n", counter_get(&completed),
           counter_get(&read_something));
    /* Threads that get nothing done hammer nothing. */
    CHECK(counter_get(&completed) > 0 && counter_get(&read_something) > 0);
    return 0;
}
