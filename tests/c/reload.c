/*
 * The library is loaded, used and let go, 200 times: reload LIBRARY URI
 *
 * Linked with nothing. What it leaves behind - threads, descriptors, memory - must not grow. It is used on a thread of its
 * own, which ends before: what is local to a thread may not be forgotten either.
 */
#define _GNU_SOURCE

#include <pdtp.h>

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMES 200
#define WARM_UP 20
/* For each time; the heap is not the same to the byte. */
#define BYTES_LEFT 64

static const char *uri;
static void *library;

static void failed(const char *what, const char *why)
{
    fprintf(stderr, "reload: %s: %s\n", what, why);
    exit(1);
}

/* ISO C knows no way from an object's pointer to a function's; POSIX says that it works. */
static void find(void *function, const char *name)
{
    void *found = dlsym(library, name);

    if (!found) {
        failed(name, "not there");
    }
    memcpy(function, &found, sizeof found);
}

static int entries(const char *directory)
{
    DIR *dir = opendir(directory);
    int count = 0;

    if (!dir) {
        failed(directory, "cannot be read");
    }
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

static void *use(void *data)
{
    int (*client_new)(pdtp_client **, const pdtp_config *);
    void (*client_free)(pdtp_client *);
    int (*session_open)(pdtp_session **, pdtp_client *, const char *, void *);
    void (*session_free)(pdtp_session *);
    int (*stat_it)(pdtp_listing **, pdtp_session *, const char *, int);
    void (*listing_free)(pdtp_listing *);
    pdtp_client *client = NULL;
    pdtp_session *session = NULL;
    pdtp_listing *listing = NULL;

    (void)data;
    find(&client_new, "pdtp_client_new");
    find(&client_free, "pdtp_client_free");
    find(&session_open, "pdtp_session_open");
    find(&session_free, "pdtp_session_free");
    find(&stat_it, "pdtp_stat");
    find(&listing_free, "pdtp_listing_free");
    if (client_new(&client, NULL) < 0 || session_open(&session, client, uri, NULL) < 0 ||
        stat_it(&listing, session, "/", 60000) < 0) {
        failed(uri, "cannot be used");
    }
    listing_free(listing);
    session_free(session);
    client_free(client);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = 0, descriptors = 0, unloaded = 0, i;
    size_t bytes = 0, left;

    if (argc != 3) {
        return 2;
    }
    uri = argv[2];
    for (i = 0; i < TIMES; i++) {
        pthread_t thread;

        library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            failed(argv[1], dlerror());
        }
        if (pthread_create(&thread, NULL, use, NULL) != 0 || pthread_join(thread, NULL) != 0) {
            failed("thread", "cannot be made");
        }
        dlclose(library);
        library = dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD);
        if (library) {
            dlclose(library);
        } else {
            unloaded++;
        }
        if (i == WARM_UP) {
            threads = entries("/proc/self/task");
            descriptors = entries("/proc/self/fd");
            bytes = mallinfo2().uordblks;
        }
    }
    left = mallinfo2().uordblks > bytes ? mallinfo2().uordblks - bytes : 0;
    printf("unloaded %d times of %d; threads %d, then %d; descriptors %d, then %d; heap grew by %zu bytes\n", unloaded,
           TIMES, threads, entries("/proc/self/task"), descriptors, entries("/proc/self/fd"), left);
    if (entries("/proc/self/task") != threads || entries("/proc/self/fd") != descriptors) {
        failed("threads or descriptors", "left behind");
    }
    if (left > (size_t)(TIMES - WARM_UP) * BYTES_LEFT) {
        failed("memory", "left behind");
    }
    return 0;
}
