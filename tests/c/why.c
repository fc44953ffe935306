/*
 * Events say why something comes, and why nothing does: why URI FULL DIR
 *
 * URI is of a file that two clients download at once. Of the directory of FULL the server lets one client download at a
 * time. Prints what the two have heard, each once: "came REASON because TEXT", "waits NUMBER because TEXT".
 */
#include "check.h"

enum { MOST = 32 };

static char said[MOST][256];
static int count;

static void say(const char *line)
{
    int i;

    for (i = 0; i < count; i++) {
        if (strcmp(said[i], line) == 0) {
            return;
        }
    }
    CHECK(count < MOST);
    snprintf(said[count++], sizeof said[0], "%s", line);
    puts(line);
}

static int seen(const char *start)
{
    int i;

    for (i = 0; i < count; i++) {
        if (strncmp(said[i], start, strlen(start)) == 0) {
            return 1;
        }
    }
    return 0;
}

struct member {
    pdtp_client *client;
    pdtp_session *session;
    int done;
};

static struct member member_of(const char *uri)
{
    struct member member = {NULL, NULL, 0};

    CHECK_CODE(pdtp_client_new(&member.client, NULL), 0);
    CHECK_CODE(pdtp_client_enable_event(member.client, PDTP_EVENT_PEER, 1), 0);
    CHECK_CODE(pdtp_client_enable_event(member.client, PDTP_EVENT_PROGRESS, 1), 0);
    CHECK_CODE(pdtp_session_open(&member.session, member.client, uri, NULL), 0);
    return member;
}

static void start(struct member *member, const char *uri, const char *dir, const char *name)
{
    char path[4096];
    pdtp_request *request;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    member->done = 0;
    CHECK_CODE(pdtp_request_new(&request, member->session, uri), 0);
    CHECK_CODE(pdtp_request_to_file(request, path), 0);
    CHECK_CODE(pdtp_request_start(NULL, request, NULL), 0);
}

static void look(struct member *member)
{
    const pdtp_event *event = pdtp_client_next_event(member->client, 20);
    const pdtp_peer_event *peer = pdtp_event_peer(event);
    const pdtp_progress *progress = pdtp_event_progress(event);
    char line[256];

    if (peer) {
        CHECK(peer->size == sizeof *peer);
        /* Who was dialled to give is not told why. */
        CHECK((peer->reason != NULL) == (peer->reason_text != NULL));
        CHECK(peer->reason || !peer->received);
        if (peer->received) {
            snprintf(line, sizeof line, "came %s because %s", peer->reason, peer->reason_text);
            say(line);
        }
    }
    if (progress) {
        CHECK((progress->waiting == PDTP_WAIT_NONE) == (progress->waiting_text == NULL));
        if (progress->waiting_text) {
            snprintf(line, sizeof line, "waits %d because %s", progress->waiting, progress->waiting_text);
            say(line);
        }
    }
    if (pdtp_event_type(event) == PDTP_EVENT_DONE) {
        CHECK_CODE(pdtp_event_done(event)->code, 0);
        member->done = 1;
    }
}

int main(int argc, char **argv)
{
    struct member one, other;
    char line[64];

    CHECK(argc == 4);
    one = member_of(argv[1]);
    other = member_of(argv[1]);
    start(&one, argv[1], argv[3], "one");
    start(&other, argv[1], argv[3], "other");
    while (!one.done || !other.done) {
        look(&one);
        look(&other);
    }

    snprintf(line, sizeof line, "waits %d", PDTP_WAIT_FULL);
    CHECK(!seen(line));
    start(&other, argv[2], argv[3], "full other");
    start(&one, argv[2], argv[3], "full one");
    while (!one.done || !other.done) {
        look(&one);
        look(&other);
    }
    CHECK(seen(line));

    pdtp_session_free(one.session);
    pdtp_session_free(other.session);
    pdtp_client_free(one.client);
    pdtp_client_free(other.client);
    return 0;
}
