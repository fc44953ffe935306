/* Every function that takes a handle with threads and sockets, in a child after fork(): forked URI DIR */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

#define IS_FORKED(call) CHECK_CODE(call, PDTP_E_FORKED)

static void on_event(const pdtp_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

static void on_wakeup(void *user_data)
{
    (void)user_data;
}

static int on_data(uint64_t offset, const void *data, size_t length, void *user_data)
{
    (void)offset;
    (void)data;
    (void)length;
    (void)user_data;
    return PDTP_DATA_ABORT;
}

static void child(pdtp_client *client, pdtp_session *session, pdtp_request *request, pdtp_transfer *transfer,
                  pdtp_share *share)
{
    struct counter destroyed = COUNTER;
    pdtp_client *new_client;
    pdtp_session *new_session;
    pdtp_request *new_request;
    pdtp_transfer *new_transfer;
    pdtp_share *new_share;
    pdtp_listing *listing;
    pdtp_resume *resume;
    pdtp_progress progress;
    pdtp_stats stats;
    pdtp_cache_info cache;
    char text[64], *string;
    uint64_t op;

    IS_FORKED(pdtp_client_set(client, "grace", "1"));
    IS_FORKED(pdtp_client_stats(client, &stats, sizeof stats));
    CHECK(pdtp_client_event_fd(client) == -1 && pdtp_last_error_code() == PDTP_E_FORKED);
    IS_FORKED(pdtp_client_set_wakeup(client, on_wakeup, &destroyed, count_destroy));
    IS_FORKED(pdtp_client_set_event_callback(client, on_event, &destroyed, count_destroy));
    CHECK(!pdtp_client_next_event(client, -1) && pdtp_last_error_code() == PDTP_E_FORKED);
    IS_FORKED(pdtp_client_dispatch(client, 0, -1));
    IS_FORKED(pdtp_client_interrupt(client));
    IS_FORKED(pdtp_client_enable_event(client, PDTP_EVENT_PEER, 1));
    IS_FORKED(pdtp_decide(client, 1, PDTP_ANSWER_ACCEPT));
    IS_FORKED(pdtp_metrics(&string, client));
    IS_FORKED(pdtp_cache_stats(client, &cache, sizeof cache));
    IS_FORKED(pdtp_cache_purge(client, 0));
    IS_FORKED(pdtp_resume_list(&resume, client));
    IS_FORKED(pdtp_resume_start(&new_transfer, client, "0123456789abcdef", NULL));
    IS_FORKED(pdtp_resume_forget(client, "0123456789abcdef", PDTP_CANCEL_KEEP));
    IS_FORKED(pdtp_session_open(&new_session, client, "pdtp://127.0.0.1/", NULL));
    CHECK(new_session == NULL);
    IS_FORKED(pdtp_session_wait(session, -1));
    IS_FORKED(pdtp_session_state(session));
    CHECK(pdtp_session_id(session) == 0 && pdtp_last_error_code() == PDTP_E_FORKED);
    IS_FORKED(pdtp_session_error(session, text, sizeof text));
    IS_FORKED(pdtp_session_info(session, "uri", text, sizeof text));
    IS_FORKED(pdtp_session_reconnect(session));
    IS_FORKED(pdtp_watch_start(&op, session, "/", NULL));
    IS_FORKED(pdtp_watch_stop(session, 1));
    IS_FORKED(pdtp_list(&listing, session, "/", 1, -1));
    IS_FORKED(pdtp_list_start(&op, session, "/", 1, NULL));
    IS_FORKED(pdtp_stat(&listing, session, "/", -1));
    IS_FORKED(pdtp_stat_start(&op, session, "/", NULL));
    IS_FORKED(pdtp_cache_pin(session, "/file", 1));
    IS_FORKED(pdtp_share_add(&new_share, session, "/file", "x", NULL));
    CHECK(pdtp_share_id(share) == 0 && pdtp_last_error_code() == PDTP_E_FORKED);
    IS_FORKED(pdtp_share_state(share));
    IS_FORKED(pdtp_share_error(share, text, sizeof text));
    IS_FORKED(pdtp_request_new(&new_request, session, "/file"));
    IS_FORKED(pdtp_request_to_file(request, "x"));
    IS_FORKED(pdtp_request_to_dir(request, "x"));
    IS_FORKED(pdtp_request_to_callback(request, on_data, &destroyed, count_destroy));
    IS_FORKED(pdtp_request_to_events(request));
    IS_FORKED(pdtp_request_set(request, "rate", "1"));
    IS_FORKED(pdtp_request_start(&new_transfer, request, NULL));
    IS_FORKED(pdtp_download(&new_transfer, session, "/file", "x", NULL));
    CHECK(pdtp_transfer_id(transfer) == 0 && pdtp_last_error_code() == PDTP_E_FORKED);
    IS_FORKED(pdtp_transfer_state(transfer));
    IS_FORKED(pdtp_transfer_progress(transfer, &progress, sizeof progress));
    IS_FORKED(pdtp_transfer_error(transfer, text, sizeof text));
    IS_FORKED(pdtp_transfer_wait(transfer, -1));
    IS_FORKED(pdtp_transfer_pause(transfer));
    IS_FORKED(pdtp_transfer_resume(transfer));
    IS_FORKED(pdtp_transfer_set_rate(transfer, 1));
    IS_FORKED(pdtp_transfer_set_priority(transfer, PDTP_PRIORITY_LOW));
    IS_FORKED(pdtp_transfer_cancel(transfer, PDTP_CANCEL_DELETE));
    /* What could not be installed was destroyed. */
    CHECK(counter_get(&destroyed) == 3);
    pdtp_share_free(share);
    pdtp_request_free(request);
    pdtp_transfer_free(transfer);
    pdtp_session_free(session);
    pdtp_client_free(client);
    /* New handles work. */
    CHECK_CODE(pdtp_client_new(&new_client, NULL), 0);
    CHECK_CODE(pdtp_client_stats(new_client, &stats, sizeof stats), 0);
    pdtp_client_free(new_client);
}

int main(int argc, char **argv)
{
    pdtp_config *config = pdtp_config_new();
    pdtp_client *client;
    pdtp_session *session;
    pdtp_request *request;
    pdtp_transfer *transfer;
    pdtp_share *share;
    char local[4096];
    int status;
    pid_t pid;

    CHECK(argc == 3);
    snprintf(local, sizeof local, "%s/a", argv[2]);
    CHECK_CODE(pdtp_config_set(config, "limit_down", "256K"), 0);
    CHECK_CODE(pdtp_client_new(&client, config), 0);
    pdtp_config_free(config);
    CHECK_CODE(pdtp_session_open(&session, client, argv[1], NULL), 0);
    CHECK_CODE(pdtp_session_wait(session, PATIENCE_MS), 0);
    CHECK_CODE(pdtp_request_new(&request, session, "/small"), 0);
    CHECK_CODE(pdtp_download(&transfer, session, argv[1], local, NULL), 0);
    CHECK_CODE(pdtp_share_add(&share, session, "/small", local, NULL), 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        child(client, session, request, transfer, share);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The parent's handles are as they were. */
    CHECK_CODE(pdtp_client_set(client, "limit_down", "0"), 0);
    CHECK_CODE(pdtp_transfer_wait(transfer, PATIENCE_MS), 0);
    pdtp_share_free(share);
    pdtp_request_free(request);
    pdtp_transfer_free(transfer);
    pdtp_session_free(session);
    pdtp_client_free(client);
    return 0;
}
