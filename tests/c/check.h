/* What the C tests share: a check that says where it failed, and waits with a deadline. */
#ifndef CHECK_H
#define CHECK_H

/* Before the first header of the system, so include this first. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <pdtp.h>

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 60000

#define CHECK(condition) check((condition) != 0, #condition, __FILE__, __LINE__)
#define CHECK_CODE(call, expected) check_code((call), (expected), #call, __FILE__, __LINE__)

static inline void check(int good, const char *what, const char *file, int line)
{
    char text[512];

    if (!good) {
        pdtp_last_error(text, sizeof text);
        fprintf(stderr, "%s:%d: %s does not hold (last error: %s)\n", file, line, what, text);
        exit(1);
    }
}

static inline void check_code(int code, int expected, const char *what, const char *file, int line)
{
    char text[512];

    if (code != expected) {
        pdtp_last_error(text, sizeof text);
        fprintf(stderr, "%s:%d: %s is %d %s, not %s (last error: %s)\n", file, line, what, code,
                pdtp_error_name(code), pdtp_error_name(expected), text);
        exit(1);
    }
}

/* Entries of a directory: of /proc/self/task and /proc/self/fd, threads and descriptors. */
static inline int entries(const char *path)
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
static inline void returns_to(const char *path, int count)
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

/* A number that threads wait for. */
struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int value;
};

#define COUNTER {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}

static inline void counter_add(struct counter *counter)
{
    pthread_mutex_lock(&counter->lock);
    counter->value++;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

static inline int counter_get(struct counter *counter)
{
    int value;

    pthread_mutex_lock(&counter->lock);
    value = counter->value;
    pthread_mutex_unlock(&counter->lock);
    return value;
}

/* Waits until the number is at least that; 0 if it takes too long. */
static inline int counter_reaches(struct counter *counter, int least)
{
    struct timespec deadline;
    int reached, late = 0;

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += PATIENCE_MS / 1000;
    pthread_mutex_lock(&counter->lock);
    while (counter->value < least && !late) {
        late = pthread_cond_timedwait(&counter->changed, &counter->lock, &deadline) != 0;
    }
    reached = counter->value >= least;
    pthread_mutex_unlock(&counter->lock);
    return reached;
}

/* A destroy function that counts. */
static inline void count_destroy(void *user_data)
{
    counter_add(user_data);
}

#endif
