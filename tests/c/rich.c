/*
 * Rich listings: rich URI
 *
 * URI is of a directory with one file "song", whose sidecar says title "T & T" and creators "A" and "B", and with the
 * sidecar itself.
 */
#include "check.h"

static const pdtp_entry *entry_of(const pdtp_listing *listing, const char *name)
{
    const pdtp_entry *entry;
    size_t i;

    for (i = 0; (entry = pdtp_listing_entry(listing, i)) != NULL; i++) {
        if (strcmp(pdtp_entry_name(entry), name) == 0) {
            return entry;
        }
    }
    CHECK(!"the entry is there");
    return NULL;
}

static void check_song(const pdtp_listing *listing)
{
    const pdtp_entry *song = entry_of(listing, "song");
    const char *name = NULL, *value, *text = NULL;
    size_t i, length = 0, creators = 0;

    CHECK(strcmp(pdtp_entry_attr(song, "dc.title"), "T & T") == 0);
    CHECK(strcmp(pdtp_entry_attr(song, "dc.creator"), "A") == 0);
    CHECK(pdtp_entry_attr(song, "dc.rights") == NULL && pdtp_entry_attr(song, "nonsense") == NULL);
    CHECK(pdtp_entry_attr(song, NULL) == NULL);
    CHECK(pdtp_entry_attr_count(song) == 3);
    for (i = 0; (value = pdtp_entry_attr_at(song, i, &name)) != NULL; i++) {
        creators += strcmp(name, "dc.creator") == 0 && strcmp(value, creators ? "B" : "A") == 0;
    }
    CHECK(i == 3 && creators == 2 && name == NULL);
    CHECK(pdtp_entry_attr_at(song, 0, NULL) != NULL);

    CHECK_CODE(pdtp_listing_rdl(listing, &text, &length), 0);
    CHECK(length > 100 && memcmp(text, "<?xml", 5) == 0 && memcmp(text + length - 11, "</listing>\n", 11) == 0);
    CHECK_CODE(pdtp_listing_rdl(listing, NULL, &length), PDTP_E_NULL);
    CHECK_CODE(pdtp_listing_rdl(listing, &text, NULL), PDTP_E_NULL);
}

int main(int argc, char **argv)
{
    pdtp_client *client;
    pdtp_session *session;
    pdtp_listing *listing;
    const pdtp_event *event;
    const char *text = "x";
    size_t length = 1;
    uint64_t op = 0;
    int pages = 0;

    CHECK(argc == 2);
    CHECK_CODE(pdtp_client_new(&client, NULL), 0);
    CHECK_CODE(pdtp_session_open(&session, client, argv[1], NULL), 0);

    CHECK_CODE(pdtp_stat(&listing, session, "/song", PATIENCE_MS), 0);
    check_song(listing);
    pdtp_listing_free(listing);

    CHECK_CODE(pdtp_list(&listing, session, "/", 1 | PDTP_LIST_RICH, PATIENCE_MS), 0);
    CHECK(pdtp_listing_count(listing) == 2 && pdtp_listing_complete(listing));
    check_song(listing);
    pdtp_listing_free(listing);

    CHECK_CODE(pdtp_list(&listing, session, "/", PDTP_DEPTH_ALL | PDTP_LIST_RICH, PATIENCE_MS), 0);
    check_song(listing);
    pdtp_listing_free(listing);

    /* Not asked for, not there. */
    CHECK_CODE(pdtp_list(&listing, session, "/", 1, PATIENCE_MS), 0);
    CHECK(pdtp_entry_attr(entry_of(listing, "song"), "dc.title") == NULL);
    CHECK(pdtp_entry_attr_count(entry_of(listing, "song")) == 0);
    CHECK_CODE(pdtp_listing_rdl(listing, &text, &length), PDTP_E_STATE);
    CHECK(text == NULL && length == 0);
    pdtp_listing_free(listing);

    CHECK_CODE(pdtp_list_start(&op, session, "/", 1 | PDTP_LIST_RICH, NULL), 0);
    while (!pages && (event = pdtp_client_next_event(client, PATIENCE_MS)) != NULL) {
        const pdtp_listing_event *page = pdtp_event_listing(event);

        if (page && page->op == op) {
            check_song(page->listing);
            pages++;
        }
    }
    CHECK(pages == 1);

    pdtp_session_free(session);
    pdtp_client_free(client);
    return 0;
}
