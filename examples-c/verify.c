/*
 * verify.c - downloads a file, and asks in the terminal what to think of its signature
 *
 *     verify [-a] [-k KEY.pem] [-t TRUST] URI FILE
 *
 * -a asks about everything, also about what is good; -k trusts a key (or whom a certificate certifies); -t names the
 * file in which accepted keys are remembered. What is not answered with "y" is not downloaded.
 *
 *     cc verify.c -o verify $(pkg-config --cflags --libs pdtp)
 */

#include <pdtp.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct state {
    pdtp_client *client;
    int ask_all;
    int finished;
    int code; /* of the download: 0, or PDTP_E_* */
};

static const char *status_name(int status)
{
    switch (status) {
    case PDTP_VERDICT_GOOD:
        return "GOOD";
    case PDTP_VERDICT_UNSIGNED:
        return "UNSIGNED";
    case PDTP_VERDICT_UNKNOWN_KEY:
        return "UNKNOWN KEY";
    case PDTP_VERDICT_ROLLBACK:
        return "OLD VERSION";
    case PDTP_VERDICT_EXPIRED:
        return "EXPIRED";
    case PDTP_VERDICT_KEY_CHANGED:
        return "*** KEY HAS CHANGED ***";
    case PDTP_VERDICT_BAD:
        return "*** BAD SIGNATURE ***";
    default: /* Later versions may have more; treat them as bad. */
        return "?";
    }
}

static void print_verdict(const pdtp_verdict *verdict)
{
    printf("%s: %s%s %s\n", status_name(verdict->status), verdict->server, verdict->path, verdict->reason);
    if (verdict->key) {
        printf("  key:    %s %s\n", verdict->algorithm, verdict->key);
    }
    if (verdict->signer) {
        /* Of somebody who is not trusted it is only what he calls himself. */
        printf("  signer: %s\n", verdict->signer);
    }
    if (verdict->since >= 0) {
        printf("  known since %" PRId64 " (Unix time)\n", verdict->since);
    }
}

/* Asked about each file before a byte of it is downloaded. What is clear is answered here; the rest later. */
static int on_verdict(const pdtp_verdict *verdict, void *user_data)
{
    const struct state *state = user_data;

    print_verdict(verdict);
    if (!state->ask_all &&
        (verdict->status == PDTP_VERDICT_GOOD || (verdict->status == PDTP_VERDICT_UNSIGNED && !verdict->expected))) {
        return PDTP_ANSWER_DEFAULT;
    }
    /* A program with windows opens a dialog now, and goes on; PDTP_EVENT_DECISION has the number for pdtp_decide. */
    return PDTP_ANSWER_LATER;
}

/* What a dialog would do when a button is pressed. */
static void decide(struct state *state, uint64_t decision)
{
    char line[16];
    int answer = PDTP_ANSWER_REJECT;

    printf("Download it? [y/N] ");
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y')) {
        answer = PDTP_ANSWER_ACCEPT;
    }
    pdtp_decide(state->client, decision, answer);
}

static void on_event(const pdtp_event *event, void *user_data)
{
    struct state *state = user_data;

    switch (pdtp_event_type(event)) {
    case PDTP_EVENT_DECISION:
        decide(state, pdtp_event_verdict(event)->decision);
        break;
    case PDTP_EVENT_DONE: {
        const pdtp_done_event *done = pdtp_event_done(event);
        if (done->code < 0) {
            fprintf(stderr, "verify: %s (%s)\n", done->message, pdtp_error_name(done->code));
        }
        state->code = done->code;
        state->finished = 1;
        break;
    }
    default: /* Later versions may have more types. */
        break;
    }
}

static int failed(const char *what)
{
    char text[512];

    pdtp_last_error(text, sizeof text);
    fprintf(stderr, "verify: %s: %s\n", what, text);
    return 1;
}

static int add_key(pdtp_config *config, const char *name)
{
    char pem[24 * 1024];
    size_t length = 0;
    FILE *file = fopen(name, "rb");

    if (!file) {
        fprintf(stderr, "verify: cannot open %s\n", name);
        return 1;
    }
    length = fread(pem, 1, sizeof pem, file);
    fclose(file);
    return pdtp_config_add_key(config, pem, length, name) < 0 ? failed(name) : 0;
}

static int run(struct state *state, const char *uri, const char *local)
{
    pdtp_session *session = NULL;
    int result = 1;

    if (pdtp_client_set_event_callback(state->client, on_event, state, NULL) < 0 ||
        pdtp_session_open(&session, state->client, uri, NULL) < 0 ||
        pdtp_download(NULL, session, uri, local, NULL) < 0) {
        result = failed(uri);
        goto end;
    }
    while (!state->finished) {
        if (pdtp_client_dispatch(state->client, 0, -1) < 0) {
            result = failed("dispatch");
            goto end;
        }
    }
    result = state->code < 0;
end:
    pdtp_session_free(session);
    return result;
}

int main(int argc, char **argv)
{
    struct state state = {NULL, 0, 0, 0};
    pdtp_config *config = pdtp_config_new();
    const char *trust = NULL;
    int result = 2;
    int i = 1;

    for (; i < argc && argv[i][0] == '-'; i++) {
        if (strcmp(argv[i], "-a") == 0) {
            state.ask_all = 1;
        } else if (strcmp(argv[i], "-k") == 0 && i + 1 < argc) {
            if (add_key(config, argv[++i]) != 0) {
                goto end;
            }
        } else if (strcmp(argv[i], "-t") == 0 && i + 1 < argc) {
            trust = argv[++i];
        } else {
            break;
        }
    }
    if (argc - i != 2) {
        fprintf(stderr, "usage: verify [-a] [-k KEY.pem] [-t TRUST] URI FILE\n");
        goto end;
    }
    if (pdtp_config_set_trust_store(config, trust) < 0 ||
        pdtp_config_set_verify(config, PDTP_VERIFY_ASK, on_verdict, &state, NULL) < 0 ||
        pdtp_client_new(&state.client, config) < 0) {
        result = failed("client");
        goto end;
    }
    result = run(&state, argv[i], argv[i + 1]);
end:
    pdtp_client_free(state.client);
    pdtp_config_free(config);
    return result;
}
