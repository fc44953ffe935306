/*
 * stream.c - plays a file into a pipe while it comes, from anywhere in it
 *
 *     stream [-s OFFSET] [-n BYTES] URI | mpv -
 *
 * OFFSET counts from the start of the file, a negative one from its end; BYTES is how many to play. No byte is
 * written that was not verified. Players that seek by themselves use the same four functions as their callbacks:
 * read, seek, size and cancel of mpv's stream_cb, or of FFmpeg's AVIOContext.
 *
 *     cc stream.c -o stream $(pkg-config --cflags --libs pdtp)
 */

#include <pdtp.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long the server may take to say what the file is: it may have to hash it first. */
#define OPEN_TIMEOUT_MS 60000
/* After that a player would show that it waits. */
#define PATIENCE_MS 1000

/* Ctrl-C: the one function of the library that a signal handler may call. */
static pdtp_client *client;
static volatile sig_atomic_t stopped;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stopped = 1;
    pdtp_client_interrupt(client);
}

static int complain(const char *what)
{
    char text[1024];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "stream: %s: %s (%s)\n", what, text, pdtp_error_name(pdtp_last_error_code()));
    return 1;
}

/* From where the reader is, up to `left` bytes. */
static int play(pdtp_reader *reader, int64_t left)
{
    static char buffer[64 * 1024];
    int waiting = 0;

    while (left > 0 && !stopped) {
        size_t want = left < (int64_t)sizeof buffer ? (size_t)left : sizeof buffer;
        int64_t got = pdtp_reader_read_timeout(reader, buffer, want, PATIENCE_MS);

        if (got == PDTP_E_AGAIN) {
            fprintf(stderr, "stream: buffering at byte %lld\n", (long long)pdtp_reader_tell(reader));
            waiting = 1;
            continue;
        }
        if (got == PDTP_E_INTERRUPTED) {
            continue;
        }
        if (got < 0) {
            return complain("reading");
        }
        if (got == 0) {
            break; /* the end of the file */
        }
        if (waiting) {
            uint64_t from, to;
            pdtp_reader_buffered(reader, &from, &to);
            fprintf(stderr, "stream: goes on, %llu bytes ahead\n", (unsigned long long)(to - from));
            waiting = 0;
        }
        if (fwrite(buffer, 1, (size_t)got, stdout) != (size_t)got || fflush(stdout) != 0) {
            fprintf(stderr, "stream: the player takes no more\n");
            return 1;
        }
        left -= got;
    }
    return stopped ? 130 : 0;
}

int main(int argc, char **argv)
{
    const char *uri = NULL;
    long long offset = 0, bytes = INT64_MAX;
    pdtp_session *session = NULL;
    pdtp_reader *reader = NULL;
    int result = 1, i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-s") == 0 && i + 1 < argc) {
            offset = atoll(argv[++i]);
        } else if (strcmp(argv[i], "-n") == 0 && i + 1 < argc) {
            bytes = atoll(argv[++i]);
        } else {
            uri = argv[i];
        }
    }
    if (!uri || bytes < 0) {
        fprintf(stderr, "usage: stream [-s OFFSET] [-n BYTES] pdtp://HOST/FILE | PLAYER\n");
        return 2;
    }
    if (pdtp_client_new(&client, NULL) < 0) {
        return complain("starting");
    }
    signal(SIGINT, on_signal);
    if (pdtp_session_open(&session, client, uri, NULL) < 0
        || pdtp_session_wait(session, OPEN_TIMEOUT_MS) < 0
        || pdtp_reader_open(&reader, session, uri, OPEN_TIMEOUT_MS) < 0) {
        result = complain(uri);
    } else if (pdtp_reader_seek(reader, offset, offset < 0 ? PDTP_SEEK_END : PDTP_SEEK_SET) < 0) {
        result = complain("seeking");
    } else {
        result = play(reader, bytes);
    }
    pdtp_reader_free(reader);
    pdtp_session_free(session);
    signal(SIGINT, SIG_DFL);
    pdtp_client_free(client);
    return result;
}
