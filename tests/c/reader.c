/*
 * Readers as C programs meet them: reader TEST URI COPY
 *
 * URI is of a file of a few MiB that takes a few seconds at the rate of slow_client(), COPY what it should be.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static const char *uri;
static unsigned char *file;
static int64_t size;

static void read_copy(const char *path)
{
    FILE *copy = fopen(path, "rb");

    CHECK(copy != NULL && fseek(copy, 0, SEEK_END) == 0);
    size = ftell(copy);
    file = malloc((size_t)size);
    CHECK(file != NULL && fseek(copy, 0, SEEK_SET) == 0);
    CHECK(fread(file, 1, (size_t)size, copy) == (size_t)size);
    fclose(copy);
}

struct end {
    pdtp_client *client;
    pdtp_session *session;
    pdtp_reader *reader;
};

static struct end begin(const char *limit_down)
{
    pdtp_config *config = pdtp_config_new();
    struct end end;

    CHECK_CODE(pdtp_config_set(config, "limit_down", limit_down), 0);
    CHECK_CODE(pdtp_config_set(config, "grace", "1s"), 0);
    CHECK_CODE(pdtp_client_new(&end.client, config), 0);
    pdtp_config_free(config);
    CHECK_CODE(pdtp_session_open(&end.session, end.client, uri, NULL), 0);
    CHECK_CODE(pdtp_reader_open(&end.reader, end.session, uri, PATIENCE_MS), 0);
    CHECK(pdtp_reader_size(end.reader) == size && pdtp_reader_tell(end.reader) == 0);
    return end;
}

static struct end slow(void)
{
    return begin("64K");
}

static void finish(struct end *end)
{
    pdtp_reader_free(end->reader);
    pdtp_session_free(end->session);
    pdtp_client_free(end->client);
}

/* Reads to the end of the file and compares. */
static void read_rest(pdtp_reader *reader)
{
    unsigned char buffer[100000];
    int64_t got, at = pdtp_reader_tell(reader);

    while ((got = pdtp_reader_read(reader, buffer, sizeof buffer)) > 0) {
        CHECK(at + got <= size && memcmp(buffer, file + at, (size_t)got) == 0);
        at += got;
        CHECK(pdtp_reader_tell(reader) == at);
    }
    CHECK(got == 0 && at == size);
    CHECK(pdtp_reader_read(reader, buffer, sizeof buffer) == 0);
}

static void test_all(void)
{
    struct end end = begin("0");

    read_rest(end.reader);
    finish(&end);
}

static void test_seek(void)
{
    struct end end = begin("0");
    unsigned char buffer[1000];
    uint64_t from = 7, to = 7;
    int64_t got;
    int i;

    CHECK_CODE(pdtp_reader_set_window(end.reader, 0), 0);
    for (i = 0; i < 50; i++) {
        int64_t at = (int64_t)((unsigned)i * 7919u * 104729u % (unsigned long)size);
        CHECK(pdtp_reader_seek(end.reader, at, PDTP_SEEK_SET) == at);
        got = pdtp_reader_read(end.reader, buffer, sizeof buffer);
        CHECK(got > 0 && memcmp(buffer, file + at, (size_t)got) == 0);
        CHECK(pdtp_reader_seek(end.reader, -got, PDTP_SEEK_CUR) == at);
        CHECK_CODE(pdtp_reader_buffered(end.reader, &from, &to), 0);
        CHECK((int64_t)from == at && (int64_t)to >= at + got);
    }
    CHECK(pdtp_reader_seek(end.reader, -10, PDTP_SEEK_END) == size - 10);
    read_rest(end.reader);
    CHECK(pdtp_reader_seek(end.reader, 0, PDTP_SEEK_END) == size);
    CHECK(pdtp_reader_read(end.reader, buffer, sizeof buffer) == 0);
    CHECK(pdtp_reader_seek(end.reader, 1000, PDTP_SEEK_END) == size + 1000);
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, sizeof buffer, 0) == 0);
    /* Nowhere: and it stays where it is. */
    CHECK(pdtp_reader_seek(end.reader, -size - 1, PDTP_SEEK_END) == PDTP_E_ARGUMENT);
    CHECK(pdtp_reader_seek(end.reader, INT64_MIN, PDTP_SEEK_SET) == PDTP_E_ARGUMENT);
    CHECK(pdtp_reader_seek(end.reader, INT64_MAX, PDTP_SEEK_CUR) == PDTP_E_ARGUMENT);
    CHECK(pdtp_reader_seek(end.reader, 0, 3) == PDTP_E_ARGUMENT);
    CHECK(pdtp_reader_seek(end.reader, 0, -1) == PDTP_E_ARGUMENT);
    CHECK(pdtp_reader_tell(end.reader) == size + 1000);
    CHECK(pdtp_reader_seek(end.reader, INT64_MAX, PDTP_SEEK_SET) == INT64_MAX);
    CHECK(pdtp_reader_read(end.reader, buffer, sizeof buffer) == 0);
    CHECK_CODE(pdtp_reader_set_window(end.reader, -1), 0);
    CHECK(pdtp_reader_seek(end.reader, 0, PDTP_SEEK_SET) == 0);
    read_rest(end.reader);
    finish(&end);
}

static void test_timeout(void)
{
    struct end end = slow();
    char buffer[100];

    CHECK(pdtp_reader_seek(end.reader, size - 10, PDTP_SEEK_SET) == size - 10);
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, sizeof buffer, 0) == PDTP_E_AGAIN);
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, sizeof buffer, 1) == PDTP_E_AGAIN);
    CHECK(pdtp_reader_tell(end.reader) == size - 10);
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, 0, 0) == 0);
    /* To have asked is enough. */
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, sizeof buffer, PATIENCE_MS) == 10);
    CHECK(memcmp(buffer, file + size - 10, 10) == 0);
    finish(&end);
}

static void *read_for_ever(void *user_data)
{
    pdtp_reader *reader = user_data;
    static char buffer[1 << 20];
    int64_t got;

    while ((got = pdtp_reader_read(reader, buffer, sizeof buffer)) > 0) {
    }
    CHECK(got == PDTP_E_CANCELLED);
    CHECK(pdtp_last_error_code() == PDTP_E_CANCELLED);
    return NULL;
}

static void test_cancel(void)
{
    struct end end = slow();
    pthread_t thread;
    char buffer[10];

    CHECK(pthread_create(&thread, NULL, read_for_ever, end.reader) == 0);
    CHECK_CODE(pdtp_reader_cancel(end.reader), 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pdtp_reader_read(end.reader, buffer, sizeof buffer) == PDTP_E_CANCELLED);
    CHECK_CODE(pdtp_reader_cancel(end.reader), 0);
    CHECK(pdtp_reader_size(end.reader) == size);
    finish(&end);
}

static void *free_client(void *user_data)
{
    pdtp_client_free(user_data);
    return NULL;
}

/* In whatever order they are freed, with a thread in the middle of a read. */
static void test_free_client_first(void)
{
    struct end end = slow();
    static char buffer[1 << 20];
    pthread_t thread;
    int64_t got;

    CHECK(pthread_create(&thread, NULL, free_client, end.client) == 0);
    while ((got = pdtp_reader_read(end.reader, buffer, sizeof buffer)) > 0) {
    }
    CHECK(got == PDTP_E_STATE);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pdtp_reader_read_timeout(end.reader, buffer, sizeof buffer, 0) == PDTP_E_STATE);
    CHECK(pdtp_reader_seek(end.reader, 0, PDTP_SEEK_SET) == PDTP_E_STATE);
    CHECK_CODE(pdtp_reader_set_window(end.reader, 5), PDTP_E_STATE);
    end.client = NULL;
    finish(&end);
}

static struct counter interrupted = COUNTER;

static void *read_interrupted(void *user_data)
{
    char buffer[10];

    CHECK(pdtp_reader_read(user_data, buffer, sizeof buffer) == PDTP_E_INTERRUPTED);
    counter_add(&interrupted);
    return NULL;
}

static void test_interrupt(void)
{
    struct end end = begin("1");
    struct timespec pause = {0, 1000000};
    pthread_t thread;

    CHECK(pdtp_reader_seek(end.reader, size - 10, PDTP_SEEK_SET) == size - 10);
    CHECK(pthread_create(&thread, NULL, read_interrupted, end.reader) == 0);
    /* It may not be waiting yet. */
    while (counter_get(&interrupted) == 0) {
        CHECK_CODE(pdtp_client_interrupt(end.client), 0);
        nanosleep(&pause, NULL);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    finish(&end);
}

struct inside {
    pdtp_reader *reader;
    pdtp_session *session;
    int calls;
};

static void on_event(const pdtp_event *event, void *user_data)
{
    struct inside *inside = user_data;
    pdtp_reader *other;
    char byte;

    if (pdtp_event_type(event) == PDTP_EVENT_SESSION && inside->calls++ == 0) {
        CHECK(pdtp_reader_read(inside->reader, &byte, 1) == PDTP_E_REENTRANT);
        CHECK(pdtp_reader_read_timeout(inside->reader, &byte, 1, 1) == PDTP_E_REENTRANT);
        CHECK_CODE(pdtp_reader_open(&other, inside->session, uri, 1000), PDTP_E_REENTRANT);
        CHECK(other == NULL);
        /* What does not block is fine. */
        CHECK(pdtp_reader_seek(inside->reader, size, PDTP_SEEK_SET) == size);
        CHECK(pdtp_reader_read_timeout(inside->reader, &byte, 1, 0) == 0);
        CHECK_CODE(pdtp_reader_cancel(inside->reader), 0);
        pdtp_reader_free(inside->reader);
    }
}

static void test_reentrant(void)
{
    struct end end = begin("0");
    struct inside inside = {NULL, NULL, 0};

    inside.reader = end.reader;
    inside.session = end.session;
    CHECK_CODE(pdtp_client_set_event_callback(end.client, on_event, &inside, NULL), 0);
    while (inside.calls == 0) {
        CHECK(pdtp_client_dispatch(end.client, 0, PATIENCE_MS) > 0);
    }
    end.reader = NULL;
    finish(&end);
}

static void test_fork(void)
{
    struct end end = begin("0");
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        char byte;
        CHECK(pdtp_reader_read(end.reader, &byte, 1) == PDTP_E_FORKED);
        CHECK(pdtp_reader_seek(end.reader, 0, PDTP_SEEK_SET) == PDTP_E_FORKED);
        CHECK(pdtp_reader_size(end.reader) == PDTP_E_FORKED);
        CHECK_CODE(pdtp_reader_cancel(end.reader), PDTP_E_FORKED);
        pdtp_reader_free(end.reader);
        _exit(0);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    read_rest(end.reader);
    finish(&end);
}

static void *read_all(void *user_data)
{
    struct end *end = user_data;
    pdtp_reader *reader;

    CHECK_CODE(pdtp_reader_open(&reader, end->session, uri, PATIENCE_MS), 0);
    read_rest(reader);
    CHECK(pdtp_reader_seek(reader, size / 3, PDTP_SEEK_SET) == size / 3);
    read_rest(reader);
    pdtp_reader_free(reader);
    return NULL;
}

static void test_threads(void)
{
    struct end end = begin("0");
    struct timespec pause = {0, 1000000};
    pthread_t threads[8];
    pdtp_stats stats;
    int i, tries = 0;

    for (i = 0; i < 8; i++) {
        CHECK(pthread_create(&threads[i], NULL, read_all, &end) == 0);
    }
    for (i = 0; i < 8; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    /* What has come may be read a moment before it is counted. */
    do {
        nanosleep(&pause, NULL);
        CHECK_CODE(pdtp_client_stats(end.client, &stats, sizeof stats), 0);
    } while ((int64_t)(stats.from_origin + stats.from_peers) < size && tries++ < PATIENCE_MS);
    CHECK((int64_t)(stats.from_origin + stats.from_peers) == size);
    finish(&end);
}

static void test_nonsense(void)
{
    struct end end = begin("0");
    pdtp_reader *reader = end.reader;
    char byte;

    CHECK(pdtp_reader_read(reader, NULL, 1) == PDTP_E_NULL);
    CHECK(pdtp_reader_read(reader, NULL, 0) == 0);
    CHECK(pdtp_reader_read((pdtp_reader *)end.session, &byte, 1) == PDTP_E_ARGUMENT);
    CHECK_CODE(pdtp_reader_buffered(reader, NULL, NULL), 0);
    CHECK_CODE(pdtp_reader_open(NULL, end.session, uri, 0), PDTP_E_NULL);
    CHECK_CODE(pdtp_reader_open(&reader, end.session, "/nowhere", PATIENCE_MS), PDTP_E_NOT_FOUND);
    CHECK(reader == NULL);
    CHECK_CODE(pdtp_reader_open(&reader, end.session, "/", PATIENCE_MS), PDTP_E_ARGUMENT);
    CHECK_CODE(pdtp_reader_open(&reader, end.session, "pdtp://elsewhere/x", 0), PDTP_E_ARGUMENT);
    CHECK(reader == NULL);
    finish(&end);
}

#define TEST(name) {#name, test_##name}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(all),
    TEST(seek),
    TEST(timeout),
    TEST(cancel),
    TEST(free_client_first),
    TEST(interrupt),
    TEST(reentrant),
    TEST(fork),
    TEST(threads),
    TEST(nonsense),
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
    fprintf(stderr, "usage: reader TEST URI COPY\n");
    return 2;
}
