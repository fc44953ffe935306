/*
 * poll_loop.c - the library inside somebody else's event loop
 *
 *     poll_loop URI FILE
 *
 * What GTK, Qt, libuv or a game do, in plain poll(): one loop waits for the keyboard, a timer, and the library's
 * descriptor. No thread, no lock; every callback is called from here. Type p to pause, r to resume, q to quit.
 *
 *     cc poll_loop.c -o poll_loop $(pkg-config --cflags --libs pdtp)
 */

#define _POSIX_C_SOURCE 200809L

#include <pdtp.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

struct window {
    pdtp_transfer *transfer;
    pdtp_progress progress;
    int open;
    int code;
};

static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "poll_loop: %s: %s\n", what, text);
    return 1;
}

/* The library has something to say. Only remembers it: drawing is the timer's job. */
static void on_event(const pdtp_event *event, void *user_data)
{
    struct window *window = user_data;
    const pdtp_progress *progress = pdtp_event_progress(event); /* NULL for other types. */
    const pdtp_done_event *done = pdtp_event_done(event);

    if (progress) {
        window->progress = *progress;
    }
    if (done) {
        window->progress = *done->progress;
        window->code = done->code;
        window->open = 0;
        if (done->code < 0) {
            fprintf(stderr, "\n%s\n", done->message);
        }
    }
}

/* A key was pressed. Nothing here waits, so the window never freezes. */
static void on_key(struct window *window, char key)
{
    if (key == 'p') {
        pdtp_transfer_pause(window->transfer);
    } else if (key == 'r') {
        pdtp_transfer_resume(window->transfer);
    } else if (key == 'q') {
        pdtp_transfer_cancel(window->transfer, PDTP_CANCEL_KEEP);
    }
}

/* The timer: draws. */
static void on_tick(const struct window *window)
{
    static const char *const names[] = {"?",      "queued",    "checking", "active",   "paused",
                                        "verifying", "done", "failed",   "cancelled"};
    int state = pdtp_transfer_state(window->transfer);
    const pdtp_progress *p = &window->progress;

    printf("\r%3d%% %-10s", p->total ? (int)(p->done * 100 / p->total) : 0,
           state > 0 && state < (int)(sizeof names / sizeof *names) ? names[state] : names[0]);
    fflush(stdout);
}

static int loop(pdtp_client *client, struct window *window)
{
    struct pollfd fds[2];

    fds[0].fd = (int)pdtp_client_event_fd(client);
    fds[0].events = POLLIN;
    fds[1].fd = STDIN_FILENO;
    fds[1].events = POLLIN;
    while (window->open) {
        int ready = poll(fds, 2, 100);
        char key;

        if (ready < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        /* A bounded number at a time, so that keys get their turn even when much is going on. */
        if (pdtp_client_dispatch(client, 32, 0) < 0) {
            return failed("dispatch");
        }
        if (ready > 0 && fds[1].revents) {
            if (read(STDIN_FILENO, &key, 1) == 1) {
                on_key(window, key);
            } else {
                fds[1].fd = -1; /* End of input: poll() ignores it from now on. */
            }
        }
        on_tick(window);
    }
    putchar('\n');
    return window->code < 0;
}

int main(int argc, char **argv)
{
    struct window window = {0};
    pdtp_client *client = NULL;
    pdtp_session *session = NULL;
    int result;

    if (argc != 3) {
        fprintf(stderr, "usage: poll_loop URI FILE\n");
        return 2;
    }
    window.open = 1;
    if (pdtp_client_new(&client, NULL) < 0 ||
        pdtp_client_set_event_callback(client, on_event, &window, NULL) < 0 ||
        pdtp_session_open(&session, client, argv[1], NULL) < 0 ||
        pdtp_download(&window.transfer, session, argv[1], argv[2], NULL) < 0) {
        result = failed(argv[1]);
    } else {
        result = loop(client, &window);
    }
    pdtp_transfer_free(window.transfer);
    pdtp_session_free(session);
    pdtp_client_free(client);
    return result;
}
