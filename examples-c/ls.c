/*
 * ls.c - lists a directory, page by page as it comes, or says what a file is
 *
 *     ls [-R] URI
 *
 *     cc ls.c -o ls $(pkg-config --cflags --libs pdtp)
 */

#include <pdtp.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "ls: %s: %s\n", what, text);
    return 1;
}

static void print_entry(const pdtp_entry *entry)
{
    char when[32] = "-";
    int64_t mtime = pdtp_entry_mtime(entry);
    time_t seconds = (time_t)mtime;
    struct tm *utc = mtime == INT64_MIN ? NULL : gmtime(&seconds);
    const char *root = pdtp_entry_root(entry); /* NULL while the server has not hashed it. */

    if (utc) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M", utc);
    }
    printf("%12" PRIu64 "  %16s  %.12s  %s%s\n", pdtp_entry_size(entry), when, root ? root : "-           ",
           pdtp_entry_name(entry), pdtp_entry_type(entry) == PDTP_ENTRY_DIR ? "/" : "");
}

static void print_listing(const pdtp_listing *listing)
{
    size_t i;
    const pdtp_entry *entry;

    for (i = 0; (entry = pdtp_listing_entry(listing, i)) != NULL; i++) {
        print_entry(entry);
    }
}

/* Pulls events one by one, for those who prefer that to a callback. */
static int list(pdtp_client *client, pdtp_session *session, const char *uri, int depth)
{
    const pdtp_event *event;
    uint64_t op;

    if (pdtp_list_start(&op, session, uri, depth, NULL) < 0) {
        return failed(uri);
    }
    while ((event = pdtp_client_next_event(client, -1)) != NULL) {
        const pdtp_session_event *state = pdtp_event_session(event);
        const pdtp_listing_event *page = pdtp_event_listing(event);

        if (state && state->state == PDTP_SESSION_REFUSED) {
            fprintf(stderr, "ls: %s: %s\n", uri, state->message);
            return 1;
        }
        if (!page || page->op != op) {
            continue;
        }
        if (page->code < 0) {
            fprintf(stderr, "ls: %s: %s\n", uri, page->message);
            return 1;
        }
        print_listing(page->listing);
        if (page->last) {
            return 0;
        }
    }
    return failed("events");
}

/* One call that blocks. */
static int show(pdtp_session *session, const char *uri)
{
    pdtp_listing *listing;

    if (pdtp_stat(&listing, session, uri, 30000) < 0) {
        return failed(uri);
    }
    print_listing(listing);
    pdtp_listing_free(listing);
    return 0;
}

int main(int argc, char **argv)
{
    int recursive = argc == 3 && strcmp(argv[1], "-R") == 0;
    const char *uri = argv[argc - 1];
    pdtp_client *client = NULL;
    pdtp_session *session = NULL;
    char dir[8];
    int result;

    if (argc != 2 && !recursive) {
        fprintf(stderr, "usage: ls [-R] URI\n");
        return 2;
    }
    if (pdtp_uri_part(uri, "dir", dir, sizeof dir) < 0 || pdtp_client_new(&client, NULL) < 0 ||
        pdtp_session_open(&session, client, uri, NULL) < 0) {
        result = failed(uri);
    } else if (recursive || strcmp(dir, "yes") == 0) {
        result = list(client, session, uri, recursive ? PDTP_DEPTH_ALL : 1);
    } else {
        result = show(session, uri);
    }
    pdtp_session_free(session);
    pdtp_client_free(client);
    return result;
}
