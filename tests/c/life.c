/*
 * The life of handles and callbacks: life TEST URI DIR
 *
 * URI is of a file that takes a few seconds at the rate that slow_client() allows.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *uri, *dir;

static const char *local(const char *name)
{
    static char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static pdtp_client *new_client(int mode, const char *limit_down)
{
    pdtp_config *config = pdtp_config_new();
    pdtp_client *client;

    CHECK_CODE(pdtp_config_set_dispatch(config, mode), 0);
    CHECK_CODE(pdtp_config_set(config, "limit_down", limit_down), 0);
    CHECK_CODE(pdtp_config_set(config, "grace", "1s"), 0);
    CHECK_CODE(pdtp_client_new(&client, config), 0);
    pdtp_config_free(config);
    return client;
}

static pdtp_client *slow_client(int mode)
{
    return new_client(mode, "256K");
}

static pdtp_client *fast_client(int mode)
{
    return new_client(mode, "0");
}

/* What the callbacks below are given. */
struct state {
    pdtp_client *client;
    pdtp_session *session;
    pdtp_transfer *transfer;
    FILE *copy;
    struct counter calls, done, destroyed, stream_ended, go_on, started;
    int after_free, code, pauses;
    uint64_t next;
};

static const struct state fresh = {NULL, NULL, NULL, NULL, COUNTER, COUNTER, COUNTER, COUNTER, COUNTER, COUNTER,
                                   0, 0, 0, 0};

static void destroy(void *user_data)
{
    struct state *state = user_data;

    counter_add(&state->destroyed);
}

static void end_stream(void *user_data)
{
    struct state *state = user_data;

    counter_add(&state->stream_ended);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;
    const pdtp_done_event *done = pdtp_event_done(event);

    CHECK(counter_get(&state->destroyed) == 0);
    counter_add(&state->calls);
    if (done) {
        CHECK(done->size == sizeof *done && done->path[0] == '/' && done->progress != NULL);
        CHECK((done->code == 0) == (done->message == NULL));
        state->code = done->code;
        counter_add(&state->done);
    }
}

static void open_session(struct state *state)
{
    CHECK_CODE(pdtp_session_open(&state->session, state->client, uri, state), 0);
}

static void start(struct state *state, const char *name)
{
    open_session(state);
    CHECK_CODE(pdtp_download(&state->transfer, state->session, uri, local(name), state), 0);
}

static void finish(struct state *state)
{
    pdtp_transfer_free(state->transfer);
    pdtp_session_free(state->session);
    pdtp_client_free(state->client);
}

/* Dispatches until `counter` is at least `least`. */
static void dispatch_until(struct state *state, struct counter *counter, int least)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;

    while (counter_get(counter) < least) {
        CHECK(time(NULL) < deadline);
        CHECK(pdtp_client_dispatch(state->client, 0, 1000) >= 0);
    }
}

static void wait_for_bytes(struct state *state)
{
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;
    pdtp_progress progress = {0};

    while (progress.done == 0) {
        CHECK(time(NULL) < deadline);
        CHECK_CODE(pdtp_transfer_wait(state->transfer, 20), PDTP_E_TIMEOUT);
        CHECK_CODE(pdtp_transfer_progress(state->transfer, &progress, sizeof progress), 0);
    }
}

/* ------------------------------------------------------------------------------------------- ends of clients */

static void on_event_free(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    (void)event;
    CHECK(!state->after_free);
    state->after_free = 1;
    pdtp_client_free(state->client);
    /* Not before this returns. */
    CHECK(counter_get(&state->destroyed) == 0);
}

static void test_free_in_event_callback(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event_free, &state, destroy), 0);
    start(&state, "a");
    CHECK_CODE(pdtp_client_dispatch(state.client, 0, PATIENCE_MS), 1);
    CHECK(counter_get(&state.destroyed) == 1);
    CHECK_CODE(pdtp_transfer_pause(state.transfer), PDTP_E_STATE);
    CHECK_CODE(pdtp_session_wait(state.session, -1), PDTP_E_STATE);
    pdtp_transfer_free(state.transfer);
    pdtp_session_free(state.session);
}

static void test_free_in_event_callback_of_thread(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_THREAD);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event_free, &state, destroy), 0);
    open_session(&state);
    CHECK(counter_reaches(&state.destroyed, 1));
    pdtp_session_free(state.session);
}

static int on_data_free(uint64_t offset, const void *data, size_t length, void *user_data)
{
    struct state *state = user_data;

    (void)data;
    CHECK(offset == 0 && length > 0 && !state->after_free);
    state->after_free = 1;
    pdtp_client_free(state->client);
    CHECK(counter_get(&state->stream_ended) == 0);
    return PDTP_DATA_CONTINUE;
}

static void start_stream(struct state *state, pdtp_data_callback function)
{
    pdtp_request *request;

    open_session(state);
    CHECK_CODE(pdtp_request_new(&request, state->session, uri), 0);
    CHECK_CODE(pdtp_request_to_callback(request, function, state, end_stream), 0);
    CHECK_CODE(pdtp_request_start(&state->transfer, request, state), 0);
    counter_add(&state->started);
}

static int on_data_count(uint64_t offset, const void *data, size_t length, void *user_data)
{
    struct state *state = user_data;

    (void)offset;
    (void)data;
    CHECK(length > 0 && counter_get(&state->stream_ended) == 0);
    return PDTP_DATA_CONTINUE;
}

static void test_free_in_data_callback(void)
{
    struct state state = fresh;
    time_t deadline = time(NULL) + PATIENCE_MS / 1000;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    start_stream(&state, on_data_free);
    while (!state.after_free) {
        CHECK(time(NULL) < deadline);
        CHECK(pdtp_client_dispatch(state.client, 0, PATIENCE_MS) >= 0);
    }
    CHECK(counter_get(&state.stream_ended) == 1);
    pdtp_transfer_free(state.transfer);
    pdtp_session_free(state.session);
}

static void test_free_while_downloading(void)
{
    struct state state = fresh;
    int calls, mode;

    for (mode = PDTP_DISPATCH_QUEUE; mode <= PDTP_DISPATCH_THREAD; mode++) {
        state = fresh;
        state.client = slow_client(mode);
        CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
        CHECK_CODE(pdtp_client_set_wakeup(state.client, count_destroy, &state.go_on, NULL), 0);
        start(&state, mode ? "thread" : "queue");
        wait_for_bytes(&state);
        pdtp_client_free(state.client);
        calls = counter_get(&state.calls);
        CHECK(counter_get(&state.destroyed) == 1);
        CHECK(counter_get(&state.go_on) > 0);
        CHECK_CODE(pdtp_transfer_resume(state.transfer), PDTP_E_STATE);
        CHECK(counter_get(&state.calls) == calls);
        pdtp_session_free(state.session);
        pdtp_transfer_free(state.transfer);
    }
}

static void test_free_in_any_order(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    start(&state, "a");
    pdtp_session_free(state.session);
    wait_for_bytes(&state); /* Goes on without it. */
    pdtp_transfer_free(state.transfer);
    pdtp_client_free(state.client);

    state = fresh;
    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    start(&state, "b");
    pdtp_client_free(state.client);
    pdtp_transfer_free(state.transfer);
    pdtp_session_free(state.session);
}

/* At any moment of a download, however far it has come. PDTP_ROUNDS says how often. */
static void test_free_at_random(void)
{
    const char *wanted = getenv("PDTP_ROUNDS");
    int i, rounds = wanted ? atoi(wanted) : 60;
    uint32_t random = 2463534242u;

    for (i = 0; i < rounds; i++) {
        struct state state = fresh;
        struct timespec pause = {0, 0};
        char name[32];

        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        pause.tv_nsec = (long)(random % 40) * 1000000;
        snprintf(name, sizeof name, "r%d", i % 4);
        state.client = fast_client(i % 2);
        CHECK_CODE(pdtp_client_set(state.client, "grace", i % 3 ? "0" : "100ms"), 0);
        CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
        if (i % 5 == 4) {
            start_stream(&state, on_data_count);
        } else {
            start(&state, name);
        }
        nanosleep(&pause, NULL);
        pdtp_client_free(state.client);
        CHECK(counter_get(&state.destroyed) == 1);
        CHECK(counter_get(&state.stream_ended) == (i % 5 == 4));
        CHECK(pdtp_transfer_state(state.transfer) >= PDTP_TRANSFER_DONE || i % 3);
        pdtp_transfer_free(state.transfer);
        pdtp_session_free(state.session);
    }
}

static void test_new_and_free_often(void)
{
    int i;

    for (i = 0; i < 20; i++) {
        struct state state = fresh;
        state.client = slow_client(i % 2);
        CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
        if (i % 3) {
            open_session(&state);
        }
        finish(&state);
        CHECK(counter_get(&state.destroyed) == 1);
    }
}

/* ------------------------------------------------------------------------------------------- ends of transfers */

static void test_cancel_twice(void)
{
    struct state state = fresh;
    char text[256];

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
    start(&state, "a");
    wait_for_bytes(&state);
    CHECK_CODE(pdtp_transfer_cancel(state.transfer, 17), PDTP_E_ARGUMENT);
    CHECK_CODE(pdtp_transfer_cancel(state.transfer, PDTP_CANCEL_KEEP), 0);
    CHECK_CODE(pdtp_transfer_cancel(state.transfer, PDTP_CANCEL_DELETE), 0);
    CHECK_CODE(pdtp_transfer_wait(state.transfer, PATIENCE_MS), PDTP_E_CANCELLED);
    CHECK_CODE(pdtp_transfer_state(state.transfer), PDTP_TRANSFER_CANCELLED);
    CHECK_CODE(pdtp_transfer_error(state.transfer, text, sizeof text), PDTP_E_CANCELLED);
    CHECK(text[0]);
    dispatch_until(&state, &state.done, 1);
    CHECK(state.code == PDTP_E_CANCELLED);
    CHECK_CODE(pdtp_transfer_cancel(state.transfer, PDTP_CANCEL_KEEP), 0);
    while (pdtp_client_dispatch(state.client, 0, 100) > 0) {
    }
    CHECK(counter_get(&state.done) == 1);
    finish(&state);
    CHECK(counter_get(&state.destroyed) == 1);
}

static void test_pause_and_resume(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_THREAD);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
    start(&state, "a");
    wait_for_bytes(&state);
    CHECK_CODE(pdtp_transfer_pause(state.transfer), 0);
    CHECK_CODE(pdtp_transfer_pause(state.transfer), 0);
    CHECK_CODE(pdtp_transfer_wait(state.transfer, 300), PDTP_E_TIMEOUT);
    CHECK_CODE(pdtp_transfer_state(state.transfer), PDTP_TRANSFER_PAUSED);
    CHECK_CODE(pdtp_client_set(state.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
    CHECK_CODE(pdtp_transfer_wait(state.transfer, PATIENCE_MS), 0);
    CHECK(counter_reaches(&state.done, 1) && state.code == 0);
    finish(&state);
}

/* ------------------------------------------------------------------------------------------------------ streams */

static int on_data(uint64_t offset, const void *data, size_t length, void *user_data)
{
    struct state *state = user_data;

    /* On a thread of the library it may come before the handle has. */
    CHECK(counter_reaches(&state->started, 1));
    CHECK(counter_get(&state->stream_ended) == 0);
    CHECK(offset == state->next && length > 0);
    if (offset > 100000 && state->pauses < 3) {
        /* Not taken now; resumed from elsewhere (or, the first time, from right here). */
        if (state->pauses++ == 0) {
            CHECK_CODE(pdtp_transfer_resume(state->transfer), 0);
        } else {
            counter_add(&state->go_on);
        }
        return PDTP_DATA_PAUSE;
    }
    CHECK(fwrite(data, 1, length, state->copy) == length);
    state->next += length;
    return PDTP_DATA_CONTINUE;
}

static void test_stream(void)
{
    struct state state = fresh;
    int mode;

    for (mode = PDTP_DISPATCH_QUEUE; mode <= PDTP_DISPATCH_THREAD; mode++) {
        state = fresh;
        state.copy = fopen(local(mode ? "thread" : "queue"), "wb");
        CHECK(state.copy != NULL);
        state.client = fast_client(mode);
        CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, NULL), 0);
        start_stream(&state, on_data);
        if (mode == PDTP_DISPATCH_QUEUE) {
            dispatch_until(&state, &state.go_on, 1);
            CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
            dispatch_until(&state, &state.go_on, 2);
            CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
            dispatch_until(&state, &state.done, 1);
            dispatch_until(&state, &state.stream_ended, 1);
        } else {
            CHECK(counter_reaches(&state.go_on, 1));
            CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
            CHECK(counter_reaches(&state.go_on, 2));
            CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
            CHECK(counter_reaches(&state.done, 1));
            CHECK(counter_reaches(&state.stream_ended, 1));
        }
        CHECK_CODE(state.code, 0);
        CHECK_CODE(fclose(state.copy), 0);
        finish(&state);
        CHECK(counter_get(&state.stream_ended) == 1 && counter_get(&state.done) == 1);
    }
}

static int on_data_abort(uint64_t offset, const void *data, size_t length, void *user_data)
{
    (void)data;
    (void)length;
    (void)user_data;
    return offset > 100000 ? PDTP_DATA_ABORT : PDTP_DATA_CONTINUE;
}

static int on_data_pause(uint64_t offset, const void *data, size_t length, void *user_data)
{
    struct state *state = user_data;

    (void)offset;
    (void)data;
    (void)length;
    counter_add(&state->go_on);
    return PDTP_DATA_PAUSE;
}

static void test_stream_abort(void)
{
    struct state state = fresh;

    state.client = fast_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, NULL), 0);
    start_stream(&state, on_data_abort);
    dispatch_until(&state, &state.done, 1);
    CHECK_CODE(state.code, PDTP_E_CANCELLED);
    finish(&state);
    CHECK(counter_get(&state.stream_ended) == 1);

    /* Cancelled while paused. */
    state = fresh;
    state.client = fast_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, NULL), 0);
    start_stream(&state, on_data_pause);
    dispatch_until(&state, &state.go_on, 1);
    CHECK_CODE(pdtp_transfer_cancel(state.transfer, PDTP_CANCEL_KEEP), 0);
    dispatch_until(&state, &state.done, 1);
    CHECK_CODE(state.code, PDTP_E_CANCELLED);
    finish(&state);
    CHECK(counter_get(&state.stream_ended) == 1);

    /* Nobody ever dispatches: the engine waits for an answer when the client is freed. */
    state = fresh;
    state.client = fast_client(PDTP_DISPATCH_QUEUE);
    start_stream(&state, on_data_pause);
    CHECK_CODE(pdtp_transfer_wait(state.transfer, 300), PDTP_E_TIMEOUT);
    finish(&state);
    CHECK(counter_get(&state.stream_ended) == 1);
}

/* ---------------------------------------------------------------------------------------------------- callbacks */

static void on_event_block(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    (void)event;
    if (counter_get(&state->calls) == 0) {
        counter_add(&state->calls);
        CHECK(counter_reaches(&state->go_on, 1));
    }
}

/* A callback that does not return for long holds up callbacks, and nothing else. */
static void test_callback_that_blocks(void)
{
    struct state state = fresh;

    state.client = fast_client(PDTP_DISPATCH_THREAD);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event_block, &state, destroy), 0);
    start(&state, "a");
    CHECK(counter_reaches(&state.calls, 1));
    CHECK_CODE(pdtp_transfer_wait(state.transfer, PATIENCE_MS), 0);
    CHECK(counter_get(&state.go_on) == 0);
    counter_add(&state.go_on);
    finish(&state);
    CHECK(counter_get(&state.destroyed) == 1);
}

static void on_event_reenter(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;
    pdtp_listing *listing;
    pdtp_stats stats;
    uint64_t op;

    (void)event;
    CHECK_CODE(pdtp_session_wait(state->session, 0), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_list(&listing, state->session, "/", 1, 0), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_stat(&listing, state->session, "/", 0), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_transfer_wait(state->transfer, 0), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_cache_purge(state->client, 0), PDTP_E_REENTRANT);
    CHECK_CODE(pdtp_client_dispatch(state->client, 0, 0), PDTP_E_REENTRANT);
    CHECK(!pdtp_client_next_event(state->client, 0) && pdtp_last_error_code() == PDTP_E_REENTRANT);
    /* What does not block is fine. */
    CHECK_CODE(pdtp_client_stats(state->client, &stats, sizeof stats), 0);
    CHECK_CODE(pdtp_stat_start(&op, state->session, "/", NULL), 0);
    CHECK(pdtp_transfer_state(state->transfer) > 0);
    /* The function replaces itself: not destroyed under its feet. */
    CHECK_CODE(pdtp_client_set_event_callback(state->client, on_event, state, NULL), 0);
    CHECK(counter_get(&state->destroyed) == 0);
}

static void destroy_calling(void *user_data)
{
    struct state *state = user_data;
    pdtp_stats stats;

    CHECK_CODE(pdtp_client_stats(state->client, &stats, sizeof stats), PDTP_E_REENTRANT);
    pdtp_listing_free(NULL);
    counter_add(&state->go_on);
}

static void test_reentrant(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event_reenter, &state, destroy_calling), 0);
    start(&state, "a");
    CHECK_CODE(pdtp_client_dispatch(state.client, 1, PATIENCE_MS), 1);
    CHECK(counter_get(&state.go_on) == 1);
    dispatch_until(&state, &state.calls, 1);
    finish(&state);
}

static void on_wakeup(void *user_data)
{
    struct state *state = user_data;
    pdtp_stats stats;

    CHECK(counter_get(&state->destroyed) == 0);
    CHECK_CODE(pdtp_client_stats(state->client, &stats, sizeof stats), PDTP_E_REENTRANT);
    counter_add(&state->calls);
}

static void test_wakeup(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_wakeup(state.client, on_wakeup, &state, destroy), 0);
    open_session(&state);
    CHECK(counter_reaches(&state.calls, 1));
    CHECK(pdtp_client_next_event(state.client, 0) != NULL);
    CHECK_CODE(pdtp_client_set_wakeup(state.client, NULL, NULL, NULL), 0);
    CHECK(counter_get(&state.destroyed) == 1);
    finish(&state);
    CHECK(counter_get(&state.destroyed) == 1);
}

/* In THREAD mode all callbacks are on one thread, which is none of the application's. */
static pthread_t callback_thread;

static void on_event_thread(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    if (counter_get(&state->calls) > 0) {
        CHECK(pthread_equal(callback_thread, pthread_self()));
    }
    callback_thread = pthread_self();
    on_event(event, user_data);
}

static void test_thread_mode(void)
{
    struct state state = fresh;

    state.client = fast_client(PDTP_DISPATCH_THREAD);
    CHECK_CODE(pdtp_client_dispatch(state.client, 0, 0), PDTP_E_STATE);
    CHECK(!pdtp_client_next_event(state.client, 0) && pdtp_last_error_code() == PDTP_E_STATE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event_thread, &state, destroy), 0);
    start(&state, "a");
    CHECK(counter_reaches(&state.done, 1));
    CHECK_CODE(state.code, 0);
    CHECK(!pthread_equal(callback_thread, pthread_self()));
    finish(&state);
    CHECK(counter_get(&state.destroyed) == 1);
}

static void test_destroy_once(void)
{
    struct state state = fresh;
    struct counter one = COUNTER, two = COUNTER, three = COUNTER, four = COUNTER, five = COUNTER;
    pdtp_request *request;
    pdtp_transfer *transfer;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    open_session(&state);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &one, count_destroy), 0);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &two, count_destroy), 0);
    CHECK(counter_get(&one) == 1 && counter_get(&two) == 0);

    CHECK_CODE(pdtp_request_new(&request, state.session, uri), 0);
    CHECK_CODE(pdtp_request_to_callback(request, on_data_pause, &three, count_destroy), 0);
    CHECK_CODE(pdtp_request_to_callback(request, on_data_pause, &four, count_destroy), 0);
    CHECK(counter_get(&three) == 1 && counter_get(&four) == 0);
    CHECK_CODE(pdtp_request_to_file(request, local("x")), 0);
    CHECK(counter_get(&four) == 1);
    CHECK_CODE(pdtp_request_to_callback(request, on_data_pause, &five, count_destroy), 0);
    pdtp_request_free(request);
    CHECK(counter_get(&five) == 1);

    /* A start that fails. */
    CHECK_CODE(pdtp_request_new(&request, state.session, uri), 0);
    CHECK_CODE(pdtp_request_to_callback(request, on_data_pause, &state, destroy), 0);
    pdtp_client_free(state.client);
    CHECK(counter_get(&two) == 1 && counter_get(&state.destroyed) == 0);
    CHECK_CODE(pdtp_request_start(&transfer, request, NULL), PDTP_E_STATE);
    CHECK(counter_get(&state.destroyed) == 1 && transfer == NULL);
    pdtp_session_free(state.session);
    CHECK(counter_get(&one) == 1 && counter_get(&three) == 1 && counter_get(&four) == 1);
}

/* ------------------------------------------------------------------------------------------------------- threads */

static void *interrupt_later(void *user_data)
{
    struct state *state = user_data;
    struct timespec pause = {0, 200000000};

    CHECK(counter_reaches(&state->go_on, 1));
    nanosleep(&pause, NULL);
    CHECK_CODE(pdtp_client_interrupt(state->client), 0);
    return NULL;
}

static void test_interrupt(void)
{
    int i;

    for (i = 0; i < 4; i++) {
        struct state state = fresh;
        pthread_t thread;

        state.client = slow_client(PDTP_DISPATCH_QUEUE);
        open_session(&state);
        CHECK_CODE(pdtp_session_wait(state.session, PATIENCE_MS), 0);
        if (i == 3) {
            CHECK_CODE(pdtp_download(&state.transfer, state.session, uri, local("a"), NULL), 0);
        }
        while (pdtp_client_next_event(state.client, 300)) {
            if (i == 3) {
                break; /* The transfer makes events for as long as it lasts. */
            }
        }
        CHECK(pthread_create(&thread, NULL, interrupt_later, &state) == 0);
        counter_add(&state.go_on);
        if (i == 0) {
            CHECK(!pdtp_client_next_event(state.client, -1) && pdtp_last_error_code() == PDTP_E_AGAIN);
        } else if (i == 1) {
            CHECK_CODE(pdtp_client_dispatch(state.client, 0, -1), 0);
        } else if (i == 2) {
            CHECK(!pdtp_client_next_event(state.client, PATIENCE_MS));
        } else {
            CHECK_CODE(pdtp_transfer_wait(state.transfer, -1), PDTP_E_INTERRUPTED);
        }
        pthread_join(thread, NULL);
        finish(&state);
    }
}

static void interrupt_at_once(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    (void)event;
    counter_add(&state->go_on);
    CHECK_CODE(pdtp_client_interrupt(state->client), 0);
}

/* What comes while a dispatch hands something over ends the next one: who drains until 0 sees it. */
static void test_interrupt_in_callback(void)
{
    struct state state = fresh;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, interrupt_at_once, &state, NULL), 0);
    open_session(&state);
    CHECK_CODE(pdtp_session_wait(state.session, PATIENCE_MS), 0);
    CHECK(pdtp_client_dispatch(state.client, 0, PATIENCE_MS) > 0);
    CHECK(counter_get(&state.go_on) > 0);
    while (pdtp_client_dispatch(state.client, 0, -1) > 0) {
    }
    CHECK_CODE(pdtp_client_set_event_callback(state.client, NULL, NULL, NULL), 0);
    finish(&state);
}

static void *hammer(void *user_data)
{
    struct state *state = user_data;
    pdtp_progress progress;
    pdtp_stats stats;
    pdtp_listing *listing;
    char text[64];
    int i;

    for (i = 0; i < 200; i++) {
        CHECK_CODE(pdtp_transfer_progress(state->transfer, &progress, sizeof progress), 0);
        CHECK_CODE(pdtp_client_stats(state->client, &stats, sizeof stats), 0);
        CHECK(pdtp_session_info(state->session, "agent", text, sizeof text) >= 0);
        CHECK(pdtp_transfer_state(state->transfer) > 0 && pdtp_session_state(state->session) > 0);
        CHECK_CODE(pdtp_client_set(state->client, "limit_up", i % 2 ? "0" : "1M"), 0);
        CHECK_CODE(pdtp_client_enable_event(state->client, PDTP_EVENT_PEER, i % 2), 0);
        CHECK_CODE(pdtp_client_set_event_callback(state->client, on_event, state, NULL), 0);
        CHECK_CODE(i % 2 ? pdtp_transfer_pause(state->transfer) : pdtp_transfer_resume(state->transfer), 0);
        if (i % 20 == 0) {
            int code = pdtp_list(&listing, state->session, "/", 1, PATIENCE_MS);
            CHECK(code == 0 || code == PDTP_E_INTERRUPTED);
            pdtp_listing_free(listing);
        }
        CHECK_CODE(pdtp_client_interrupt(state->client), 0);
    }
    counter_add(&state->go_on);
    return NULL;
}

static void test_threads(void)
{
    struct state state = fresh;
    pthread_t threads[6];
    size_t i;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, NULL), 0);
    start(&state, "a");
    for (i = 0; i < 6; i++) {
        CHECK(pthread_create(&threads[i], NULL, hammer, &state) == 0);
    }
    dispatch_until(&state, &state.go_on, 6);
    for (i = 0; i < 6; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK_CODE(pdtp_client_set(state.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_resume(state.transfer), 0);
    dispatch_until(&state, &state.done, 1);
    CHECK_CODE(state.code, 0);
    finish(&state);
}

static void *drain(void *user_data)
{
    struct state *state = user_data;

    counter_add(&state->go_on);
    /* The other thread looks in now and then, and then it is this one that is turned away. */
    while (pdtp_client_dispatch(state->client, 1, PATIENCE_MS) == PDTP_E_STATE) {
    }
    return NULL;
}

static void test_one_drains(void)
{
    struct state state = fresh;
    pthread_t thread;
    int code;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK(pthread_create(&thread, NULL, drain, &state) == 0);
    CHECK(counter_reaches(&state.go_on, 1));
    /* Until the other one has begun there is simply nothing to handle. */
    while ((code = pdtp_client_dispatch(state.client, 0, 0)) == 0) {
    }
    CHECK_CODE(code, PDTP_E_STATE);
    CHECK_CODE(pdtp_client_interrupt(state.client), 0);
    pthread_join(thread, NULL);
    finish(&state);
}

static void test_fork(void)
{
    struct state state = fresh;
    int status;
    pid_t child;

    state.client = slow_client(PDTP_DISPATCH_QUEUE);
    CHECK_CODE(pdtp_client_set_event_callback(state.client, on_event, &state, destroy), 0);
    start(&state, "a");
    wait_for_bytes(&state);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pdtp_stats stats;
        CHECK_CODE(pdtp_client_stats(state.client, &stats, sizeof stats), PDTP_E_FORKED);
        CHECK_CODE(pdtp_client_dispatch(state.client, 0, 0), PDTP_E_FORKED);
        CHECK(!pdtp_client_next_event(state.client, 0) && pdtp_last_error_code() == PDTP_E_FORKED);
        CHECK_CODE(pdtp_client_interrupt(state.client), PDTP_E_FORKED);
        CHECK_CODE(pdtp_session_wait(state.session, -1), PDTP_E_FORKED);
        CHECK_CODE(pdtp_transfer_cancel(state.transfer, PDTP_CANCEL_KEEP), PDTP_E_FORKED);
        finish(&state);
        CHECK(counter_get(&state.destroyed) == 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent's download is as it was. */
    CHECK_CODE(pdtp_client_set(state.client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_wait(state.transfer, PATIENCE_MS), 0);
    finish(&state);
    CHECK(counter_get(&state.destroyed) == 1);
}

/* ------------------------------------------------------------------------------------------------------ listings */

static void test_listings(void)
{
    struct state state = fresh;
    pdtp_listing *listing, *taken = NULL;
    const pdtp_entry *entry;
    const pdtp_event *event;
    char path[256];
    uint64_t op = 0;
    size_t i, found = 0;

    state.client = fast_client(PDTP_DISPATCH_QUEUE);
    open_session(&state);
    CHECK(pdtp_uri_part(uri, "path", path, sizeof path) > 0);

    CHECK_CODE(pdtp_stat(&listing, state.session, path, PATIENCE_MS), 0);
    CHECK(pdtp_listing_count(listing) == 1 && !pdtp_listing_entry(listing, 1));
    entry = pdtp_listing_entry(listing, 0);
    CHECK(strcmp(pdtp_entry_path(entry), path) == 0 && strcmp(pdtp_entry_name(entry), path + 1) == 0);
    CHECK(pdtp_entry_type(entry) == PDTP_ENTRY_FILE && pdtp_entry_size(entry) > 0);
    CHECK(pdtp_entry_root(entry) && strlen(pdtp_entry_root(entry)) == 64);
    CHECK(pdtp_entry_mtime(entry) > 0 && pdtp_entry_signed(entry) == 0);
    pdtp_listing_free(listing);

    CHECK_CODE(pdtp_list(&listing, state.session, "/", 1, PATIENCE_MS), 0);
    CHECK(pdtp_listing_complete(listing) == 1 && strcmp(pdtp_listing_path(listing), "/") == 0);
    for (i = 0; (entry = pdtp_listing_entry(listing, i)) != NULL; i++) {
        found += strcmp(pdtp_entry_path(entry), path) == 0;
    }
    CHECK(found == 1 && i == pdtp_listing_count(listing));
    pdtp_listing_free(listing);

    CHECK_CODE(pdtp_list(&listing, state.session, "/no/such/directory", 1, PATIENCE_MS), PDTP_E_NOT_FOUND);
    CHECK(listing == NULL);
    CHECK_CODE(pdtp_stat(&listing, state.session, "/no/such/file", PATIENCE_MS), PDTP_E_NOT_FOUND);

    CHECK_CODE(pdtp_list_start(&op, state.session, "/", 1, &state), 0);
    while ((event = pdtp_client_next_event(state.client, PATIENCE_MS)) != NULL && !taken) {
        const pdtp_listing_event *page = pdtp_event_listing(event);
        if (page) {
            CHECK(page->op == op && pdtp_event_id(event) == op && pdtp_event_user_data(event) == &state);
            CHECK(pdtp_event_type(event) == PDTP_EVENT_LISTING && page->code == 0 && page->last);
            CHECK(!pdtp_event_done(event) && !pdtp_event_session(event));
            taken = pdtp_event_take_listing(event);
            CHECK(taken == page->listing && !pdtp_event_take_listing(event));
            break;
        }
        CHECK(pdtp_event_take_listing(event) == NULL);
    }
    pdtp_client_next_event(state.client, 0);
    CHECK(pdtp_listing_count(taken) == i);
    finish(&state);
    CHECK(pdtp_listing_count(taken) == i);
    pdtp_listing_free(taken);
}

#define TEST(name) {#name, test_##name}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(free_in_event_callback),
    TEST(free_in_event_callback_of_thread),
    TEST(free_in_data_callback),
    TEST(free_while_downloading),
    TEST(free_in_any_order),
    TEST(free_at_random),
    TEST(new_and_free_often),
    TEST(cancel_twice),
    TEST(pause_and_resume),
    TEST(stream),
    TEST(stream_abort),
    TEST(callback_that_blocks),
    TEST(reentrant),
    TEST(wakeup),
    TEST(thread_mode),
    TEST(destroy_once),
    TEST(interrupt),
    TEST(interrupt_in_callback),
    TEST(threads),
    TEST(one_drains),
    TEST(fork),
    TEST(listings),
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
