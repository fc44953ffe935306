/*
 * A directory is watched: watch URI FILE
 *
 * URI is of the server, FILE a file that is to come into the served directory, under the name "fresh".
 */
#include "check.h"

static const pdtp_changed_event *wait_for(pdtp_client *client, int kind, const char *path)
{
    const pdtp_event *event;

    while ((event = pdtp_client_next_event(client, PATIENCE_MS)) != NULL) {
        const pdtp_changed_event *changed = pdtp_event_changed(event);

        if (changed && changed->kind == kind && strcmp(changed->path, path) == 0) {
            CHECK(pdtp_event_type(event) == PDTP_EVENT_CHANGED && pdtp_event_id(event) == changed->op);
            CHECK(pdtp_event_user_data(event) == client && changed->size == sizeof *changed);
            return changed;
        }
    }
    CHECK(!"the change was told");
    return NULL;
}

int main(int argc, char **argv)
{
    pdtp_client *client;
    pdtp_session *session;
    pdtp_listing *listing;
    const pdtp_changed_event *changed;
    uint64_t op = 0, other = 0;
    int i;
    FILE *file;

    CHECK(argc == 3);
    CHECK_CODE(pdtp_client_new(&client, NULL), 0);
    CHECK_CODE(pdtp_session_open(&session, client, argv[1], NULL), 0);
    CHECK_CODE(pdtp_watch_start(&op, session, "/", client), 0);
    CHECK_CODE(pdtp_watch_start(&other, session, "/elsewhere/", NULL), 0);
    CHECK(op != 0 && other != op);
    /* What is answered after it was said has arrived. */
    CHECK_CODE(pdtp_stat(&listing, session, "/", PATIENCE_MS), 0);
    pdtp_listing_free(listing);

    file = fopen(argv[2], "w");
    CHECK(file && fputs("content", file) >= 0 && fclose(file) == 0);
    changed = wait_for(client, PDTP_CHANGE_FILE, "/fresh");
    CHECK(changed->op == op && changed->bytes == 7 && changed->mtime > 0 && changed->code == 0);
    CHECK(changed->root && strlen(changed->root) == 64 && !changed->message);
    CHECK(remove(argv[2]) == 0);
    changed = wait_for(client, PDTP_CHANGE_REMOVED, "/fresh");
    CHECK(!changed->root && changed->bytes == 0);

    CHECK_CODE(pdtp_watch_stop(session, op), 0);
    CHECK_CODE(pdtp_watch_stop(session, op), 0);
    for (i = 1; i < 256; i++) {
        CHECK_CODE(pdtp_watch_start(NULL, session, "/many", NULL), 0);
    }
    CHECK_CODE(pdtp_watch_start(&op, session, "/more", NULL), PDTP_E_LIMIT);
    CHECK_CODE(pdtp_client_enable_event(client, PDTP_EVENT_CHANGED, 0), 0);
    pdtp_session_free(session);
    pdtp_client_free(client);
    return 0;
}
