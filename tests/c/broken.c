/*
 * Deliberate bugs, to see that a sanitizer is really there: broken memory|undefined|leak|library|race|library_race
 *
 * With "library" it is the library that does the forbidden thing, as it was told to: so it must have been built with the
 * sanitizer, too.
 */
#include <pdtp.h>

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number;
static pdtp_client *client;
static pdtp_stats stats;

static void *write_number(void *user_data)
{
    number += user_data != NULL;
    return NULL;
}

/* Two threads that let the library write to the same place. */
static void *write_stats(void *user_data)
{
    (void)user_data;
    pdtp_client_stats(client, &stats, sizeof stats);
    return NULL;
}

static void twice(void *(*run)(void *))
{
    pthread_t threads[2];
    int i;

    for (i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, run, &number);
    }
    for (i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
}

int main(int argc, char **argv)
{
    const char *bug = argc == 2 ? argv[1] : "";

    if (strcmp(bug, "memory") == 0) {
        /* Read after it was freed. Volatile, since else the compiler sees it, too. */
        char *volatile small = malloc(4);

        memset(small, 0, 4);
        free(small);
        return small[argc];
    }
    if (strcmp(bug, "undefined") == 0) {
        int most = INT_MAX - 2 + argc;

        return most + argc > 0;
    }
    if (strcmp(bug, "leak") == 0) {
        int i;

        /* The last one may still be found in a register. */
        for (i = 0; i < 10; i++) {
            printf("%d\n", pdtp_config_new() != NULL);
        }
        return 0;
    }
    if (strcmp(bug, "library") == 0) {
        /* The result goes where no memory is any more. */
        pdtp_client **volatile freed = malloc(sizeof *freed);

        free(freed);
        return pdtp_client_new(freed, NULL) == 77;
    }
    if (strcmp(bug, "race") == 0) {
        twice(write_number);
        return 0;
    }
    if (strcmp(bug, "library_race") == 0) {
        if (pdtp_client_new(&client, NULL) < 0) {
            return 2;
        }
        twice(write_stats);
        pdtp_client_free(client);
        return 0;
    }
    return 2;
}
