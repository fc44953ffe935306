/*
 * Bytes of a download as events: data TEST URI COPY
 *
 * URI is of a file of a few MiB, COPY what it should be.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static const char *uri;
static unsigned char *file;
static uint64_t size;

static void read_copy(const char *path)
{
    FILE *copy = fopen(path, "rb");

    CHECK(copy != NULL && fseek(copy, 0, SEEK_END) == 0);
    size = (uint64_t)ftell(copy);
    file = malloc(size);
    CHECK(file != NULL && fseek(copy, 0, SEEK_SET) == 0);
    CHECK(fread(file, 1, size, copy) == size);
    fclose(copy);
}

struct end {
    pdtp_client *client;
    pdtp_session *session;
    pdtp_transfer *transfer;
    uint64_t next;
    int pauses, done, code;
};

/* Of the whole file, or of a range of it. */
static struct end begin(const char *range)
{
    struct end end = {NULL, NULL, NULL, 0, 0, 0, 0};
    pdtp_request *request;

    CHECK_CODE(pdtp_client_new(&end.client, NULL), 0);
    CHECK_CODE(pdtp_session_open(&end.session, end.client, uri, NULL), 0);
    CHECK_CODE(pdtp_request_new(&request, end.session, uri), 0);
    CHECK_CODE(pdtp_request_set(request, "range", "7-3"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "deadline-rate", "fast"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "range", range), 0);
    CHECK_CODE(pdtp_request_set(request, "deadline_rate", "500K"), 0);
    CHECK_CODE(pdtp_request_to_events(request), 0);
    CHECK_CODE(pdtp_request_start(&end.transfer, request, &size), 0);
    return end;
}

static void finish(struct end *end)
{
    pdtp_transfer_free(end->transfer);
    pdtp_session_free(end->session);
    pdtp_client_free(end->client);
}

/* Whatever comes; bytes are compared with those of the file. */
static void look_at(struct end *end, const pdtp_event *event)
{
    const pdtp_data_event *data = pdtp_event_data(event);
    const pdtp_done_event *done = pdtp_event_done(event);

    if (done) {
        end->done++;
        end->code = done->code;
        CHECK_CODE(pdtp_event_answer(event, PDTP_DATA_CONTINUE), PDTP_E_ARGUMENT);
    }
    if (!data) {
        return;
    }
    CHECK(pdtp_event_type(event) == PDTP_EVENT_DATA && data->size == sizeof *data);
    CHECK(data->transfer == pdtp_transfer_id(end->transfer) && pdtp_event_id(event) == data->transfer);
    CHECK(pdtp_event_user_data(event) == &size);
    CHECK(data->offset == end->next && data->length > 0 && data->offset + data->length <= size);
    CHECK(memcmp(data->data, file + data->offset, data->length) == 0);
    if (data->offset > 100000 && end->pauses < 4) {
        /* Not taken now: the same bytes come again. Resumed before the event ends, or after that. */
        CHECK_CODE(pdtp_event_answer(event, PDTP_DATA_PAUSE), 0);
        if (end->pauses++ % 2 == 0) {
            CHECK_CODE(pdtp_transfer_resume(end->transfer), 0);
        }
        return;
    }
    end->next += data->length;
}

static void pull(struct end *end)
{
    int resumed = 0;

    while (!end->done) {
        const pdtp_event *event = pdtp_client_next_event(end->client, 100);
        if (event) {
            look_at(end, event);
        } else if (end->pauses > resumed) {
            resumed = end->pauses;
            CHECK_CODE(pdtp_transfer_resume(end->transfer), 0);
        }
    }
}

static void test_pulled(void)
{
    struct end end = begin("");

    pull(&end);
    CHECK(end.code == 0 && end.next == size && end.pauses == 4);
    finish(&end);
}

static void test_range(void)
{
    struct end end = begin("12345-99999");
    pdtp_progress progress;
    pdtp_request *request;

    end.next = 12345;
    pull(&end);
    CHECK(end.code == 0 && end.next == 100000);
    CHECK_CODE(pdtp_transfer_progress(end.transfer, &progress, sizeof progress), 0);
    CHECK(progress.done == progress.total && progress.total < size);
    finish(&end);

    end = begin("999999999-");
    pull(&end);
    CHECK(end.code == PDTP_E_ARGUMENT && end.next == 0);
    /* A part of a file is no file. */
    CHECK_CODE(pdtp_request_new(&request, end.session, uri), 0);
    CHECK_CODE(pdtp_request_set(request, "range", "0-9"), 0);
    CHECK_CODE(pdtp_request_to_file(request, "nothing"), 0);
    CHECK_CODE(pdtp_request_start(NULL, request, NULL), PDTP_E_ARGUMENT);
    finish(&end);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    look_at(user_data, event);
}

static void test_dispatched(void)
{
    struct end end = begin("");
    int resumed = 0;

    CHECK_CODE(pdtp_client_set_event_callback(end.client, on_event, &end, NULL), 0);
    while (!end.done) {
        if (pdtp_client_dispatch(end.client, 0, 100) == 0 && end.pauses > resumed) {
            resumed = end.pauses;
            CHECK_CODE(pdtp_transfer_resume(end.transfer), 0);
        }
    }
    CHECK(end.code == 0 && end.next == size && end.pauses == 4);
    finish(&end);
}

/* Until there are bytes. */
static const pdtp_event *next_data(struct end *end)
{
    const pdtp_event *event;

    do {
        event = pdtp_client_next_event(end->client, PATIENCE_MS);
        CHECK(event != NULL);
    } while (!pdtp_event_data(event));
    return event;
}

static void test_aborted(void)
{
    struct end end = begin("");

    CHECK_CODE(pdtp_event_answer(next_data(&end), PDTP_DATA_ABORT), 0);
    while (!end.done) {
        const pdtp_event *event = pdtp_client_next_event(end.client, PATIENCE_MS);
        CHECK(event != NULL && !pdtp_event_data(event));
        look_at(&end, event);
    }
    CHECK(end.code == PDTP_E_CANCELLED);
    finish(&end);
}

/* Bytes that the application still has in hand keep nobody. */
static void test_freed(void)
{
    struct end end = begin("");
    struct timespec begun, now;

    next_data(&end);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    pdtp_client_free(end.client);
    clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(now.tv_sec - begun.tv_sec < PATIENCE_MS / 1000);
    end.client = NULL;
    finish(&end);
    /* Cancelled, with an event in hand. */
    end = begin("");
    next_data(&end);
    CHECK_CODE(pdtp_transfer_cancel(end.transfer, PDTP_CANCEL_DELETE), 0);
    while (!end.done) {
        const pdtp_event *event = pdtp_client_next_event(end.client, PATIENCE_MS);
        CHECK(event != NULL && !pdtp_event_data(event));
        look_at(&end, event);
    }
    CHECK(end.code == PDTP_E_CANCELLED);
    finish(&end);
}

#define TEST(name) {#name, test_##name}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(pulled),
    TEST(range),
    TEST(dispatched),
    TEST(aborted),
    TEST(freed),
};

int main(int argc, char **argv)
{
    size_t i;

    if (argc == 4) {
        uri = argv[2];
        read_copy(argv[3]);
        for (i = 0; i < sizeof tests / sizeof tests[0]; i++) {
            if (strcmp(tests[i].name, argv[1]) == 0) {
                tests[i].run();
                free(file);
                return 0;
            }
        }
    }
    fprintf(stderr, "usage: data TEST URI COPY\n");
    return 2;
}
