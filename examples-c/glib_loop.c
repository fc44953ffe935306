/*
 * glib_loop.c - the library inside the main loop of GLib, as in every GTK program
 *
 *     glib_loop URI FILE
 *
 * The library's descriptor is one more source of the main loop: no thread, no lock, and every callback is called from
 * the loop, where widgets may be touched. Ctrl-C cancels; what is there stays for the next time.
 *
 *     cc glib_loop.c -o glib_loop $(pkg-config --cflags --libs pdtp glib-2.0)
 */

#include <pdtp.h>

#include <glib-unix.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>

struct window {
    GMainLoop *loop;
    pdtp_client *client;
    pdtp_transfer *transfer;
    pdtp_progress progress;
    int code;
};

static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "glib_loop: %s: %s\n", what, text);
    return 1;
}

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
        if (done->code < 0) {
            fprintf(stderr, "\n%s\n", done->message);
        }
        g_main_loop_quit(window->loop);
    }
}

/* The library has something to say. A bounded number at a time: what is left makes GLib call again. */
static gboolean on_readable(gint fd, GIOCondition condition, gpointer user_data)
{
    struct window *window = user_data;

    (void)fd;
    (void)condition;
    if (pdtp_client_dispatch(window->client, 32, 0) < 0) {
        window->code = pdtp_last_error_code();
        failed("dispatch");
        g_main_loop_quit(window->loop);
        return G_SOURCE_REMOVE;
    }
    return G_SOURCE_CONTINUE;
}

/* The timer: draws. */
static gboolean on_tick(gpointer user_data)
{
    const pdtp_progress *p = &((struct window *)user_data)->progress;

    printf("\r%3d%%", p->total ? (int)(p->done * 100 / p->total) : 0);
    fflush(stdout);
    return G_SOURCE_CONTINUE;
}

static gboolean on_interrupt(gpointer user_data)
{
    pdtp_transfer_cancel(((struct window *)user_data)->transfer, PDTP_CANCEL_KEEP);
    return G_SOURCE_CONTINUE; /* PDTP_EVENT_DONE ends the loop. */
}

int main(int argc, char **argv)
{
    struct window window = {0};
    pdtp_session *session = NULL;
    int result;

    if (argc != 3) {
        fprintf(stderr, "usage: glib_loop URI FILE\n");
        return 2;
    }
    window.loop = g_main_loop_new(NULL, FALSE);
    if (pdtp_client_new(&window.client, NULL) < 0 ||
        pdtp_client_set_event_callback(window.client, on_event, &window, NULL) < 0 ||
        pdtp_session_open(&session, window.client, argv[1], NULL) < 0 ||
        pdtp_download(&window.transfer, session, argv[1], argv[2], NULL) < 0) {
        result = failed(argv[1]);
    } else {
        guint readable = g_unix_fd_add((gint)pdtp_client_event_fd(window.client), G_IO_IN, on_readable, &window);
        guint tick = g_timeout_add(100, on_tick, &window);
        guint interrupt = g_unix_signal_add(SIGINT, on_interrupt, &window);

        g_main_loop_run(window.loop);
        g_source_remove(interrupt);
        g_source_remove(tick);
        /* Before the client, whose descriptor it is; gone already if dispatching failed. */
        if (g_main_context_find_source_by_id(NULL, readable)) {
            g_source_remove(readable);
        }
        on_tick(&window);
        printf(" %s\n", window.code < 0 ? pdtp_error_name(window.code) : "done");
        result = window.code < 0;
    }
    pdtp_transfer_free(window.transfer);
    pdtp_session_free(session);
    pdtp_client_free(window.client);
    g_main_loop_unref(window.loop);
    return result;
}
