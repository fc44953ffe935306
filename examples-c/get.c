/*
 * get.c - downloads a file or a directory, with a line of progress
 *
 *     get URI [FILE|DIR]
 *
 * A URI that ends in "/" means a directory with all below it. Run it again after an interruption: it goes on with
 * what is there.
 *
 *     cc get.c -o get $(pkg-config --cflags --libs pdtp)
 */

#include <pdtp.h>

#include <signal.h>
#include <stdio.h>
#include <string.h>

/* What the event callback knows: passed as user_data, no globals needed. */
struct state {
    int finished;
    int code; /* of the download: 0, or PDTP_E_* */
};

/* Ctrl-C: the one function of the library that a signal handler may call. */
static pdtp_client *client;
static volatile sig_atomic_t stopped;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stopped = 1;
    pdtp_client_interrupt(client);
}

static void print_progress(const pdtp_progress *p)
{
    const double mib = 1024.0 * 1024.0;

    fprintf(stderr, "\r%8.1f of %.1f MiB, %6.1f MiB/s, %.1f from peers  ", (double)p->done / mib,
            (double)p->total / mib, (double)p->rate / mib, (double)p->from_peers / mib);
    if (p->waiting_text) {
        fprintf(stderr, "(%s)", p->waiting_text);
    }
    fflush(stderr);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    switch (pdtp_event_type(event)) {
    case PDTP_EVENT_SESSION: {
        const pdtp_session_event *session = pdtp_event_session(event);
        if (session->state == PDTP_SESSION_LOST) {
            fprintf(stderr, "\n%s; trying again\n", session->message);
        }
        break;
    }
    case PDTP_EVENT_PROGRESS:
        print_progress(pdtp_event_progress(event));
        break;
    case PDTP_EVENT_DONE: {
        /* Comes exactly once for each transfer, whatever happens. */
        const pdtp_done_event *done = pdtp_event_done(event);
        print_progress(done->progress);
        fputc('\n', stderr);
        if (done->code < 0) {
            fprintf(stderr, "%s: %s (%s)\n", done->path, done->message, pdtp_error_name(done->code));
        }
        state->code = done->code;
        state->finished = 1;
        break;
    }
    default: /* Later versions may have more types. */
        break;
    }
}

/* Says why the last call on this thread failed. */
static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "get: %s: %s\n", what, text);
    return 1;
}

static int download(const char *uri, const char *local, struct state *state)
{
    pdtp_session *session = NULL;
    pdtp_transfer *transfer = NULL;
    int result = 1;

    if (pdtp_client_set_event_callback(client, on_event, state, NULL) < 0 ||
        pdtp_session_open(&session, client, uri, NULL) < 0 ||
        pdtp_download(&transfer, session, uri, local, NULL) < 0) {
        result = failed(uri);
        goto end;
    }
    while (!state->finished) {
        if (stopped) {
            /* What was verified stays on disk; PDTP_EVENT_DONE follows with PDTP_E_CANCELLED. */
            pdtp_transfer_cancel(transfer, PDTP_CANCEL_KEEP);
        }
        if (pdtp_client_dispatch(client, 0, -1) < 0) {
            result = failed("dispatch");
            goto end;
        }
    }
    result = state->code < 0;
end:
    pdtp_transfer_free(transfer); /* NULL is fine. */
    pdtp_session_free(session);
    return result;
}

int main(int argc, char **argv)
{
    struct state state = {0, 0};
    char name[1024];
    const char *local = argc > 2 ? argv[2] : name;
    int result;

    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: get URI [FILE|DIR]\n");
        return 2;
    }
    /* The last component of the path: safe as a local name. */
    if (pdtp_uri_part(argv[1], "name", name, sizeof name) < 0) {
        return failed(argv[1]);
    }
    if (name[0] == '\0') {
        strcpy(name, "."); /* The whole server. */
    }
    if (pdtp_client_new(&client, NULL) < 0) {
        return failed("client");
    }
    signal(SIGINT, on_signal);
    result = download(argv[1], local, &state);
    signal(SIGINT, SIG_DFL);
    pdtp_client_free(client);
    return result;
}
