/*
 * swarm.c - several clients download the same at once, and show who gave what to whom
 *
 *     swarm [-n N] URI OUTDIR
 *
 * Client number i downloads into OUTDIR/i. A URI that ends in "/" means a directory with all below it. All clients are
 * in this one process, each with a queue of its own; one loop serves them all.
 *
 *     cc swarm.c -o swarm $(pkg-config --cflags --libs pdtp)
 */

#define _POSIX_C_SOURCE 200809L

#include <pdtp.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_CLIENTS = 64, MAX_REASONS = 16 };

/* Why the server had what was received sent, and how much of it. The texts are the library's, and stay. */
static struct {
    const char *text;
    uint64_t bytes;
} reasons[MAX_REASONS];

struct member {
    pdtp_client *client;
    pdtp_session *session;
    char id[128]; /* By which the others know it. */
    struct given *given;
    int finished;
    int code;
    uint64_t bytes, from_origin, from_peers, from_disk;
};

/* What one client received from one other: events name the giver by its id. */
struct given {
    struct given *next;
    uint64_t bytes;
    char from[128];
};

static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "swarm: %s: %s\n", what, text);
    return 1;
}

static void count(struct member *to, const char *from, uint64_t bytes)
{
    struct given *given;

    for (given = to->given; given && strcmp(given->from, from) != 0; given = given->next) {
    }
    if (!given) {
        given = calloc(1, sizeof *given);
        if (!given) {
            return;
        }
        snprintf(given->from, sizeof given->from, "%s", from);
        given->next = to->given;
        to->given = given;
    }
    given->bytes += bytes;
}

static void count_reason(const char *text, uint64_t bytes)
{
    int i;

    for (i = 0; text && i < MAX_REASONS; i++) {
        if (!reasons[i].text || strcmp(reasons[i].text, text) == 0) {
            reasons[i].text = text;
            reasons[i].bytes += bytes;
            return;
        }
    }
}

static void on_event(const pdtp_event *event, void *user_data)
{
    struct member *member = user_data;

    switch (pdtp_event_type(event)) {
    case PDTP_EVENT_PEER: {
        const pdtp_peer_event *peer = pdtp_event_peer(event);
        if (peer->received && !peer->is_origin) {
            count(member, peer->peer, peer->bytes);
        }
        if (peer->received) {
            count_reason(peer->reason_text, peer->bytes);
        }
        break;
    }
    case PDTP_EVENT_DONE: {
        const pdtp_done_event *done = pdtp_event_done(event);
        member->finished = 1;
        member->code = done->code;
        member->bytes = done->progress->done;
        member->from_origin = done->progress->from_origin;
        member->from_peers = done->progress->from_peers;
        member->from_disk = done->progress->from_disk;
        if (done->code < 0) {
            fprintf(stderr, "swarm: %s: %s\n", done->path, done->message);
        }
        break;
    }
    default:
        break;
    }
}

static int join(struct member *member, const pdtp_config *config, const char *uri, const char *dir)
{
    pdtp_request *request = NULL;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        perror(dir);
        return 1;
    }
    if (pdtp_client_new(&member->client, config) < 0 ||
        pdtp_client_set_event_callback(member->client, on_event, member, NULL) < 0 ||
        pdtp_client_enable_event(member->client, PDTP_EVENT_PEER, 1) < 0 ||
        pdtp_session_open(&member->session, member->client, uri, NULL) < 0 ||
        pdtp_session_info(member->session, "client_id", member->id, sizeof member->id) < 0 ||
        pdtp_request_new(&request, member->session, uri) < 0 || pdtp_request_to_dir(request, dir) < 0) {
        pdtp_request_free(request);
        return failed(uri);
    }
    /* The request is used up from here on. Only events are wanted, so no handle of the transfer. */
    return pdtp_request_start(NULL, request, NULL) < 0 ? failed(uri) : 0;
}

/* Until all are finished. Those who are go on giving to the others. */
static int run(struct member *members, int n)
{
    struct pollfd fds[MAX_CLIENTS];
    int i, left;

    for (i = 0; i < n; i++) {
        fds[i].fd = (int)pdtp_client_event_fd(members[i].client);
        fds[i].events = POLLIN;
    }
    do {
        if (poll(fds, (nfds_t)n, -1) < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        for (i = 0, left = 0; i < n; i++) {
            if (pdtp_client_dispatch(members[i].client, 0, 0) < 0) {
                return failed("dispatch");
            }
            left += !members[i].finished;
        }
    } while (left > 0);
    return 0;
}

static uint64_t between(const struct member *to, const struct member *from)
{
    const struct given *given;

    for (given = to->given; given; given = given->next) {
        if (strcmp(given->from, from->id) == 0) {
            return given->bytes;
        }
    }
    return 0;
}

static void print_table(const struct member *members, int n)
{
    const double mib = 1024.0 * 1024.0;
    double origin = 0, peers = 0, size = 0;
    int i, j;

    printf("MiB received by (row) from (column)\n\n%8s %9s", "", "origin");
    for (j = 0; j < n; j++) {
        printf(" %9d", j + 1);
    }
    printf(" %9s %9s\n", "others", "sum");
    for (i = 0; i < n; i++) {
        const struct member *to = &members[i];
        double known = 0;

        printf("%8d %9.1f", i + 1, (double)to->from_origin / mib);
        for (j = 0; j < n; j++) {
            double bytes = (double)between(to, &members[j]);
            known += bytes;
            if (i == j) {
                printf(" %9s", "-");
            } else {
                printf(" %9.1f", bytes / mib);
            }
        }
        printf(" %9.1f %9.1f\n", ((double)to->from_peers > known ? (double)to->from_peers - known : 0) / mib,
               (double)(to->from_origin + to->from_peers) / mib);
        origin += (double)to->from_origin;
        peers += (double)to->from_peers;
        if ((double)to->bytes > size) {
            size = (double)to->bytes;
        }
    }
    printf("\n%d clients, %.1f MiB each: %.1f MiB from the origin, %.1f MiB from each other\n", n, size / mib,
           origin / mib, peers / mib);
    if (size > 0) {
        printf("origin bytes / file bytes: %.2f\n", origin / size);
    }
    for (i = 0; i < MAX_REASONS && reasons[i].text; i++) {
        printf("%9.1f MiB because %s\n", (double)reasons[i].bytes / mib, reasons[i].text);
    }
}

int main(int argc, char **argv)
{
    static struct member members[MAX_CLIENTS];
    pdtp_config *config;
    int n = 4, at = 1, result = 0, started = 0, i;

    if (argc == 5 && strcmp(argv[1], "-n") == 0) {
        n = atoi(argv[2]);
        at = 3;
    }
    if (argc != at + 2 || n < 1 || n > MAX_CLIENTS) {
        fprintf(stderr, "usage: swarm [-n N] URI OUTDIR      (N from 1 to %d)\n", MAX_CLIENTS);
        return 2;
    }
    if (mkdir(argv[at + 1], 0777) != 0 && errno != EEXIST) {
        perror(argv[at + 1]);
        return 1;
    }

    config = pdtp_config_new();
    pdtp_config_set(config, "agent", "swarm.c");
    pdtp_config_set_seeding(config, PDTP_SEEDING_ALWAYS);
    for (i = 0; i < n && result == 0; i++) {
        char dir[4096];
        snprintf(dir, sizeof dir, "%s/%d", argv[at + 1], i + 1);
        result = join(&members[i], config, argv[at], dir);
        started = i + 1;
    }
    pdtp_config_free(config);

    if (result == 0) {
        result = run(members, n);
    }
    for (i = 0; i < n; i++) {
        result |= members[i].code < 0;
    }
    if (result == 0) {
        print_table(members, n);
    }
    for (i = 0; i < started; i++) {
        struct given *given, *next;

        pdtp_session_free(members[i].session);
        pdtp_client_free(members[i].client);
        for (given = members[i].given; given; given = next) {
            next = given->next;
            free(given);
        }
    }
    return result;
}
