/* Every function of the library with NULL, nonsense, and handles of another type: codes, never a crash. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#include <limits.h>

#define IS_NULL(call) CHECK_CODE((int)(call), PDTP_E_NULL)
#define IS_ARGUMENT(call) CHECK_CODE((int)(call), PDTP_E_ARGUMENT)

static struct counter destroyed = COUNTER;

static void on_event(const pdtp_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

static void on_wakeup(void *user_data)
{
    (void)user_data;
}

static void on_log(int level, const char *target, const char *line, void *user_data)
{
    (void)level;
    (void)target;
    (void)line;
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

static void versions_and_errors(void)
{
    char text[8];
    int code;

    CHECK(strcmp(pdtp_version_string(), PDTP_VERSION_STRING) == 0);
    CHECK(pdtp_version_number() == PDTP_VERSION_NUMBER);
    CHECK(pdtp_abi_version() == PDTP_ABI_VERSION);
    CHECK(PDTP_CHECK_VERSION(0, 1, 0) && !PDTP_CHECK_VERSION(99, 0, 0));
    CHECK(pdtp_has_feature(NULL) == 0 && pdtp_has_feature("antigravity") == 0);
    CHECK(pdtp_has_feature("event-fd") == 1);
    CHECK(strcmp(pdtp_error_name(PDTP_E_NOT_FOUND), "PDTP_E_NOT_FOUND") == 0);
    CHECK(strcmp(pdtp_error_name(0), "PDTP_OK") == 0);
    for (code = -2000; code <= 2000; code++) {
        CHECK(pdtp_error_name(code)[0] && pdtp_strerror(code)[0]);
    }
    IS_NULL(pdtp_config_set(NULL, "seeding", "off"));
    CHECK(pdtp_last_error_code() == PDTP_E_NULL);
    CHECK(pdtp_last_error(NULL, 0) > 8);
    CHECK(pdtp_last_error(text, sizeof text) > 8 && strlen(text) == 7);
    CHECK(pdtp_last_error(text, 0) > 8 && strlen(text) == 7);
    CHECK(pdtp_last_error(NULL, 100) > 8);
}

static void configs(pdtp_config *config)
{
    char text[64];
    size_t i, options = 0;
    int n;

    pdtp_config_free(NULL);
    IS_NULL(pdtp_config_set(config, NULL, "x"));
    IS_NULL(pdtp_config_set(config, "seeding", NULL));
    CHECK_CODE(pdtp_config_set(config, "seading", "off"), PDTP_E_OPTION);
    pdtp_last_error(text, sizeof text);
    CHECK_CODE(pdtp_config_set(config, "seeding", "perhaps"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_config_set(config, "", ""), PDTP_E_OPTION);
    IS_ARGUMENT(pdtp_config_set(config, "\xff\xfe", "x"));
    IS_NULL(pdtp_config_get(NULL, "seeding", text, sizeof text));
    IS_NULL(pdtp_config_get(config, NULL, text, sizeof text));
    CHECK_CODE(pdtp_config_get(config, "nothing", text, sizeof text), PDTP_E_OPTION);
    CHECK(pdtp_config_get(config, "seeding", NULL, 0) == 11);
    CHECK(pdtp_config_get(config, "seeding", text, 5) == 11 && strcmp(text, "down") == 0);
    for (i = 0; pdtp_config_option_at(i); i++, options++) {
        const pdtp_option *option = pdtp_config_option_at(i);
        CHECK(option->size == sizeof *option && option->help[0] && option->kind > 0);
        CHECK(pdtp_config_get(config, option->name, text, sizeof text) == (int)strlen(option->preset));
        CHECK(strcmp(text, option->preset) == 0);
        CHECK_CODE(pdtp_config_set(config, option->name, option->preset), 0);
    }
    CHECK(options > 5 && !pdtp_config_option_at((size_t)-1));
    IS_NULL(pdtp_config_set_dirs(NULL, "a", NULL));
    IS_ARGUMENT(pdtp_config_set_dirs(config, "", NULL));
    IS_ARGUMENT(pdtp_config_set_dirs(config, NULL, ""));
    CHECK_CODE(pdtp_config_set_dirs(config, NULL, NULL), 0);
    IS_NULL(pdtp_config_set_dispatch(NULL, PDTP_DISPATCH_QUEUE));
    IS_ARGUMENT(pdtp_config_set_dispatch(config, 17));
    IS_NULL(pdtp_config_set_rates(NULL, 1, 1));
    IS_NULL(pdtp_config_set_seeding(NULL, PDTP_SEEDING_OFF));
    IS_ARGUMENT(pdtp_config_set_seeding(config, -1));
    CHECK_CODE(pdtp_config_set_seeding(config, PDTP_SEEDING_OFF), 0);
    CHECK(pdtp_config_get(config, "seeding", text, sizeof text) == 3 && strcmp(text, "off") == 0);
    CHECK_CODE(pdtp_config_set_rates(config, 1000, 2000), 0);
    CHECK(pdtp_config_get(config, "limit_up", text, sizeof text) == 4 && strcmp(text, "2000") == 0);
    CHECK_CODE(pdtp_config_set_rates(config, 0, 0), 0);
    n = counter_get(&destroyed);
    IS_NULL(pdtp_config_set_log(NULL, PDTP_LOG_INFO, on_log, &destroyed, count_destroy));
    IS_ARGUMENT(pdtp_config_set_log(config, 99, on_log, &destroyed, count_destroy));
    IS_ARGUMENT(pdtp_config_set_log(config, -1, on_log, &destroyed, count_destroy));
    CHECK_CODE(pdtp_config_set_log(config, PDTP_LOG_INFO, NULL, &destroyed, count_destroy), 0);
    CHECK(counter_get(&destroyed) == n + 4);
    CHECK_CODE(pdtp_config_set_log(config, PDTP_LOG_OFF, on_log, &destroyed, count_destroy), 0);
    CHECK_CODE(pdtp_config_set_log(config, PDTP_LOG_OFF, NULL, NULL, NULL), 0);
    CHECK(counter_get(&destroyed) == n + 5);
}

static void clients(pdtp_client *client, pdtp_config *config)
{
    pdtp_client *out = client;
    pdtp_stats stats;
    char *text = (char *)client;
    int n;

    pdtp_client_free(NULL);
    IS_NULL(pdtp_client_new(NULL, config));
    IS_ARGUMENT(pdtp_client_new(&out, (pdtp_config *)client));
    CHECK(out == NULL);
    IS_NULL(pdtp_client_set(NULL, "grace", "1"));
    IS_NULL(pdtp_client_set(client, NULL, "1"));
    IS_NULL(pdtp_client_set(client, "grace", NULL));
    CHECK_CODE(pdtp_client_set(client, "grease", "1"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_client_set(client, "grace", "1"), 0);
    IS_NULL(pdtp_client_stats(NULL, &stats, sizeof stats));
    IS_NULL(pdtp_client_stats(client, NULL, sizeof stats));
    IS_ARGUMENT(pdtp_client_stats(client, &stats, 0));
    IS_ARGUMENT(pdtp_client_stats(client, &stats, (size_t)-1));
    memset(&stats, 0xee, sizeof stats);
    CHECK_CODE(pdtp_client_stats(client, &stats, 2 * sizeof(size_t)), 0);
    CHECK(stats.size == 2 * sizeof(size_t) && stats.from_peers == 0xeeeeeeeeeeeeeeeeu);
    CHECK_CODE(pdtp_client_stats(client, &stats, sizeof stats), 0);
    CHECK(stats.size == sizeof stats && stats.from_peers == 0);
    CHECK(pdtp_client_event_fd(NULL) == -1 && pdtp_client_event_fd(client) >= 0);
    CHECK(pdtp_client_event_fd((pdtp_client *)config) == -1);
    CHECK(pdtp_last_error_code() == PDTP_E_ARGUMENT);
    n = counter_get(&destroyed);
    IS_NULL(pdtp_client_set_wakeup(NULL, on_wakeup, &destroyed, count_destroy));
    IS_NULL(pdtp_client_set_event_callback(NULL, on_event, &destroyed, count_destroy));
    CHECK(counter_get(&destroyed) == n + 2);
    CHECK_CODE(pdtp_client_set_wakeup(client, NULL, NULL, NULL), 0);
    CHECK_CODE(pdtp_client_set_event_callback(client, NULL, &destroyed, count_destroy), 0);
    CHECK(counter_get(&destroyed) == n + 3);
    CHECK(pdtp_client_next_event(NULL, 0) == NULL && pdtp_last_error_code() == PDTP_E_NULL);
    CHECK(pdtp_client_next_event(client, 0) == NULL && pdtp_last_error_code() == PDTP_E_AGAIN);
    IS_NULL(pdtp_client_dispatch(NULL, 0, 0));
    CHECK_CODE(pdtp_client_dispatch(client, 0, 0), 0);
    CHECK_CODE(pdtp_client_dispatch(client, -5, 0), 0);
    IS_NULL(pdtp_client_interrupt(NULL));
    IS_NULL(pdtp_client_enable_event(NULL, PDTP_EVENT_PEER, 1));
    IS_ARGUMENT(pdtp_client_enable_event(client, 0, 1));
    IS_ARGUMENT(pdtp_client_enable_event(client, 99, 1));
    IS_ARGUMENT(pdtp_client_enable_event(client, PDTP_EVENT_DECISION, 0));
    IS_ARGUMENT(pdtp_client_enable_event(client, INT_MIN, 0));
    IS_NULL(pdtp_metrics(NULL, client));
    IS_NULL(pdtp_metrics(&text, NULL));
    CHECK(text == NULL);
    pdtp_string_free(NULL);
    CHECK_CODE(pdtp_metrics(&text, client), 0);
    pdtp_string_free(text);
}

static void sessions(pdtp_client *client, pdtp_session *session)
{
    pdtp_session *out = session;
    char text[64];
    int code;

    pdtp_session_free(NULL);
    IS_NULL(pdtp_session_open(NULL, client, "pdtp://127.0.0.1/", NULL));
    IS_NULL(pdtp_session_open(&out, NULL, "pdtp://127.0.0.1/", NULL));
    CHECK(out == NULL);
    IS_NULL(pdtp_session_open(&out, client, NULL, NULL));
    IS_ARGUMENT(pdtp_session_open(&out, client, "http://127.0.0.1/", NULL));
    IS_ARGUMENT(pdtp_session_open(&out, client, "pdtp://:99999/", NULL));
    IS_ARGUMENT(pdtp_session_open(&out, (pdtp_client *)session, "pdtp://127.0.0.1/", NULL));
    IS_NULL(pdtp_session_wait(NULL, 0));
    /* Nobody listens there, which may be known already. */
    code = pdtp_session_wait(session, 0);
    CHECK(code == PDTP_E_TIMEOUT || code == PDTP_E_CONNECT);
    IS_NULL(pdtp_session_state(NULL));
    CHECK(pdtp_session_state(session) > 0);
    CHECK(pdtp_session_id(NULL) == 0 && pdtp_session_id(session) != 0);
    IS_NULL(pdtp_session_error(NULL, text, sizeof text));
    pdtp_session_error(session, NULL, 0);
    IS_NULL(pdtp_session_info(NULL, "uri", text, sizeof text));
    IS_NULL(pdtp_session_info(session, NULL, text, sizeof text));
    CHECK_CODE(pdtp_session_info(session, "colour", text, sizeof text), PDTP_E_OPTION);
    CHECK(pdtp_session_info(session, "host", text, sizeof text) == 9 && strcmp(text, "127.0.0.1") == 0);
    CHECK(pdtp_session_info(session, "client_id", NULL, 0) > 0);
    IS_NULL(pdtp_session_reconnect(NULL));
}

static void listings(pdtp_session *session)
{
    pdtp_listing *out = (pdtp_listing *)session;
    uint64_t op;

    pdtp_listing_free(NULL);
    IS_NULL(pdtp_list(NULL, session, "/", 1, 0));
    IS_NULL(pdtp_list(&out, NULL, "/", 1, 0));
    CHECK(out == NULL);
    IS_NULL(pdtp_list(&out, session, NULL, 1, 0));
    IS_ARGUMENT(pdtp_list(&out, session, "relative", 1, 0));
    IS_ARGUMENT(pdtp_list(&out, session, "/a/../b", 1, 0));
    IS_ARGUMENT(pdtp_list(&out, session, "/a/%2e%2e/b", 1, 0));
    IS_ARGUMENT(pdtp_list(&out, session, "pdtp://elsewhere.example/", 1, 0));
    IS_NULL(pdtp_list_start(&op, NULL, "/", 1, NULL));
    IS_NULL(pdtp_list_start(&op, session, NULL, 1, NULL));
    IS_NULL(pdtp_stat(NULL, session, "/", 0));
    IS_NULL(pdtp_stat(&out, NULL, "/", 0));
    IS_NULL(pdtp_stat(&out, session, NULL, 0));
    IS_ARGUMENT(pdtp_stat(&out, session, "/%00", 0));
    IS_NULL(pdtp_stat_start(&op, NULL, "/", NULL));
    IS_NULL(pdtp_stat_start(&op, session, NULL, NULL));
    IS_NULL(pdtp_watch_start(&op, NULL, "/", NULL));
    IS_NULL(pdtp_watch_start(&op, session, NULL, NULL));
    IS_ARGUMENT(pdtp_watch_start(&op, session, "/a/../b", NULL));
    IS_NULL(pdtp_watch_stop(NULL, 1));
    CHECK(pdtp_listing_count(NULL) == 0 && pdtp_listing_entry(NULL, 0) == NULL);
    CHECK(pdtp_listing_complete(NULL) == 0 && pdtp_listing_path(NULL) == NULL);
    CHECK(pdtp_listing_count((pdtp_listing *)session) == 0);
    CHECK(pdtp_entry_name(NULL) == NULL && pdtp_entry_path(NULL) == NULL);
    IS_NULL(pdtp_entry_type(NULL));
    CHECK(pdtp_entry_size(NULL) == 0 && pdtp_entry_mtime(NULL) == INT64_MIN);
    CHECK_CODE(pdtp_listing_rdl(NULL, NULL, NULL), PDTP_E_NULL);
    CHECK(pdtp_entry_attr(NULL, "dc.title") == NULL && pdtp_entry_attr(NULL, NULL) == NULL);
    CHECK(pdtp_entry_attr_count(NULL) == 0 && pdtp_entry_attr_at(NULL, 0, NULL) == NULL);
    CHECK(pdtp_entry_root(NULL) == NULL && pdtp_entry_mime(NULL) == NULL && pdtp_entry_signed(NULL) == 0);
}

static void transfers(pdtp_session *session)
{
    pdtp_transfer *out = (pdtp_transfer *)session;
    pdtp_request *request = (pdtp_request *)session;
    pdtp_progress progress;
    char text[64];
    int n;

    pdtp_request_free(NULL);
    pdtp_transfer_free(NULL);
    IS_NULL(pdtp_request_new(NULL, session, "/"));
    IS_NULL(pdtp_request_new(&request, NULL, "/"));
    CHECK(request == NULL);
    IS_NULL(pdtp_request_new(&request, session, NULL));
    IS_ARGUMENT(pdtp_request_new(&request, session, "no"));
    CHECK_CODE(pdtp_request_new(&request, session, "/file"), 0);
    IS_NULL(pdtp_request_to_file(NULL, "x"));
    IS_NULL(pdtp_request_to_file(request, NULL));
    IS_ARGUMENT(pdtp_request_to_file(request, ""));
    IS_NULL(pdtp_request_to_dir(NULL, "x"));
    IS_NULL(pdtp_request_to_dir(request, NULL));
    IS_NULL(pdtp_request_to_events(NULL));
    n = counter_get(&destroyed);
    IS_NULL(pdtp_request_to_callback(NULL, on_data, &destroyed, count_destroy));
    IS_NULL(pdtp_request_to_callback(request, NULL, &destroyed, count_destroy));
    CHECK(counter_get(&destroyed) == n + 2);
    IS_NULL(pdtp_request_set(NULL, "overwrite", "never"));
    IS_NULL(pdtp_request_set(request, NULL, "never"));
    IS_NULL(pdtp_request_set(request, "overwrite", NULL));
    CHECK_CODE(pdtp_request_set(request, "colour", "red"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "overwrite", "sometimes"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "recursive", "2"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "expect_root", "abc"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "rate", "fast"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "priority", "1"), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "prealloc", ""), PDTP_E_OPTION);
    CHECK_CODE(pdtp_request_set(request, "overwrite", "never"), 0);
    CHECK_CODE(pdtp_request_set(request, "expect_root", ""), 0);
    IS_NULL(pdtp_request_start(&out, NULL, NULL));
    /* Used up, though it has no target. */
    CHECK_CODE(pdtp_request_start(&out, request, NULL), PDTP_E_STATE);
    CHECK(out == NULL);
    IS_NULL(pdtp_download(&out, NULL, "/file", "x", NULL));
    IS_NULL(pdtp_download(&out, session, NULL, "x", NULL));
    IS_NULL(pdtp_download(&out, session, "/file", NULL, NULL));
    IS_NULL(pdtp_download(NULL, NULL, NULL, NULL, NULL));
    CHECK(pdtp_transfer_id(NULL) == 0);
    IS_NULL(pdtp_transfer_state(NULL));
    IS_ARGUMENT(pdtp_transfer_state((pdtp_transfer *)session));
    IS_NULL(pdtp_transfer_progress(NULL, &progress, sizeof progress));
    IS_NULL(pdtp_transfer_error(NULL, text, sizeof text));
    IS_NULL(pdtp_transfer_wait(NULL, 0));
    IS_NULL(pdtp_transfer_pause(NULL));
    IS_NULL(pdtp_transfer_resume(NULL));
    IS_NULL(pdtp_transfer_cancel(NULL, PDTP_CANCEL_KEEP));
    IS_NULL(pdtp_transfer_set_rate(NULL, 0));
    IS_NULL(pdtp_transfer_set_priority(NULL, PDTP_PRIORITY_LOW));
    IS_ARGUMENT(pdtp_transfer_set_priority((pdtp_transfer *)session, PDTP_PRIORITY_LOW));
}

static void readers(pdtp_session *session)
{
    pdtp_reader *out = (pdtp_reader *)session;
    uint64_t from = 7, to = 7;
    char text[64];

    pdtp_reader_free(NULL);
    IS_NULL(pdtp_reader_open(NULL, session, "/file", 0));
    IS_NULL(pdtp_reader_open(&out, NULL, "/file", 0));
    CHECK(out == NULL);
    IS_NULL(pdtp_reader_open(&out, session, NULL, 0));
    IS_ARGUMENT(pdtp_reader_open(&out, session, "no", 0));
    IS_ARGUMENT(pdtp_reader_open(&out, session, "/dir/", 0));
    /* Nobody listens there, so nobody answers. */
    CHECK_CODE(pdtp_reader_open(&out, session, "/file", 0), PDTP_E_TIMEOUT);
    CHECK_CODE(pdtp_reader_open(&out, session, "/file", 20), PDTP_E_TIMEOUT);
    CHECK(out == NULL);
    IS_NULL(pdtp_reader_read(NULL, text, sizeof text));
    IS_ARGUMENT(pdtp_reader_read((pdtp_reader *)session, text, sizeof text));
    IS_NULL(pdtp_reader_read_timeout(NULL, text, sizeof text, 0));
    IS_NULL(pdtp_reader_seek(NULL, 0, PDTP_SEEK_SET));
    IS_NULL(pdtp_reader_tell(NULL));
    IS_NULL(pdtp_reader_size(NULL));
    IS_NULL(pdtp_reader_cancel(NULL));
    IS_NULL(pdtp_reader_set_window(NULL, 1));
    IS_NULL(pdtp_reader_buffered(NULL, &from, &to));
    IS_ARGUMENT(pdtp_reader_buffered((pdtp_reader *)session, &from, &to));
    pdtp_reader_free((pdtp_reader *)session);
}

static void shares(pdtp_client *client, pdtp_session *session)
{
    pdtp_share *out = (pdtp_share *)session;
    pdtp_cache_info stats;
    char text[64];

    pdtp_share_free(NULL);
    IS_NULL(pdtp_share_add(NULL, session, "/file", "x", NULL));
    IS_NULL(pdtp_share_add(&out, NULL, "/file", "x", NULL));
    CHECK(out == NULL);
    IS_NULL(pdtp_share_add(&out, session, NULL, "x", NULL));
    IS_NULL(pdtp_share_add(&out, session, "/file", NULL, NULL));
    IS_ARGUMENT(pdtp_share_add(&out, session, "file", "x", NULL));
    IS_ARGUMENT(pdtp_share_add(&out, session, "/file", "", NULL));
    IS_ARGUMENT(pdtp_share_add(&out, (pdtp_session *)client, "/file", "x", NULL));
    CHECK(pdtp_share_id(NULL) == 0 && pdtp_share_id((pdtp_share *)session) == 0);
    IS_NULL(pdtp_share_state(NULL));
    IS_NULL(pdtp_share_error(NULL, text, sizeof text));
    IS_NULL(pdtp_cache_stats(NULL, &stats, sizeof stats));
    IS_NULL(pdtp_cache_stats(client, NULL, sizeof stats));
    IS_ARGUMENT(pdtp_cache_stats(client, &stats, 1));
    CHECK_CODE(pdtp_cache_stats(client, &stats, sizeof stats), 0);
    CHECK(stats.size == sizeof stats && stats.files == 0);
    IS_NULL(pdtp_cache_purge(NULL, 0));
    CHECK_CODE(pdtp_cache_purge(client, 0), 0);
    IS_NULL(pdtp_cache_pin(NULL, "/file", 1));
    IS_NULL(pdtp_cache_pin(session, NULL, 1));
    IS_ARGUMENT(pdtp_cache_pin(session, "file", 1));
    CHECK_CODE(pdtp_cache_pin(session, "/file", 1), 0);
    CHECK_CODE(pdtp_cache_pin(session, "/file", -5), 0);
}

static void resumes(pdtp_client *client)
{
    pdtp_resume *list = (pdtp_resume *)client;
    pdtp_transfer *out = (pdtp_transfer *)client;
    const char *id = "0123456789abcdef";

    pdtp_resume_free(NULL);
    IS_NULL(pdtp_resume_list(NULL, client));
    IS_NULL(pdtp_resume_list(&list, NULL));
    CHECK(list == NULL);
    /* No state directory. */
    CHECK_CODE(pdtp_resume_list(&list, client), PDTP_E_STATE);
    CHECK(pdtp_resume_count(NULL) == 0 && pdtp_resume_at(NULL, 0) == NULL);
    CHECK(pdtp_resume_count((pdtp_resume *)client) == 0);
    IS_NULL(pdtp_resume_start(&out, NULL, id, NULL));
    CHECK(out == NULL);
    IS_NULL(pdtp_resume_start(&out, client, NULL, NULL));
    IS_NULL(pdtp_resume_start(NULL, client, NULL, NULL));
    CHECK_CODE(pdtp_resume_start(&out, client, id, NULL), PDTP_E_STATE);
    IS_NULL(pdtp_resume_forget(NULL, id, PDTP_CANCEL_KEEP));
    IS_NULL(pdtp_resume_forget(client, NULL, PDTP_CANCEL_KEEP));
    IS_ARGUMENT(pdtp_resume_forget(client, id, 2));
    CHECK_CODE(pdtp_resume_forget(client, id, PDTP_CANCEL_KEEP), PDTP_E_STATE);
}

static void events(void)
{
    IS_NULL(pdtp_event_type(NULL));
    CHECK(pdtp_event_id(NULL) == 0 && pdtp_event_user_data(NULL) == NULL);
    CHECK(!pdtp_event_session(NULL) && !pdtp_event_listing(NULL) && !pdtp_event_take_listing(NULL));
    CHECK(!pdtp_event_transfer(NULL) && !pdtp_event_done(NULL) && !pdtp_event_progress(NULL));
    CHECK(!pdtp_event_file(NULL) && !pdtp_event_peer(NULL) && !pdtp_event_notice(NULL));
    CHECK(!pdtp_event_data(NULL));
    IS_NULL(pdtp_event_answer(NULL, PDTP_DATA_CONTINUE));
    CHECK(!pdtp_event_overflow(NULL) && !pdtp_event_changed(NULL) && !pdtp_event_log(NULL));
    CHECK(!pdtp_event_share(NULL) && !pdtp_event_reading(NULL));
}

static int on_verdict(const pdtp_verdict *verdict, void *user_data)
{
    (void)verdict;
    (void)user_data;
    return PDTP_ANSWER_REJECT;
}

static void signatures(pdtp_config *config, pdtp_client *client)
{
    static const char key[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
                              "-----END PUBLIC KEY-----\n";
    static const char weak[] = "-----BEGIN PUBLIC KEY-----\n"
                               "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
                               "-----END PUBLIC KEY-----\n";
    char text[80];
    int n = counter_get(&destroyed);

    IS_NULL(pdtp_config_set_verify(NULL, PDTP_VERIFY_ASK, on_verdict, &destroyed, count_destroy));
    CHECK(counter_get(&destroyed) == n + 1);
    IS_ARGUMENT(pdtp_config_set_verify(config, 99, on_verdict, &destroyed, count_destroy));
    CHECK(counter_get(&destroyed) == n + 2);
    CHECK_CODE(pdtp_config_set_verify(config, PDTP_VERIFY_REQUIRE, on_verdict, &destroyed, count_destroy), 0);
    CHECK(counter_get(&destroyed) == n + 2);
    CHECK_CODE(pdtp_config_set_verify(config, PDTP_VERIFY_ASK, NULL, NULL, NULL), 0);
    CHECK(counter_get(&destroyed) == n + 3);
    IS_NULL(pdtp_config_add_key(NULL, key, sizeof key - 1, NULL));
    IS_NULL(pdtp_config_add_key(config, NULL, 0, NULL));
    CHECK_CODE(pdtp_config_add_key(config, key, sizeof key - 1, NULL), 0);
    CHECK_CODE(pdtp_config_add_key(config, key, sizeof key - 1, "somebody"), 0);
    IS_ARGUMENT(pdtp_config_add_key(config, key, 20, NULL));
    IS_ARGUMENT(pdtp_config_add_key(config, key, (size_t)-1, NULL));
    IS_ARGUMENT(pdtp_config_add_key(config, weak, sizeof weak - 1, NULL));
    IS_ARGUMENT(pdtp_config_add_key(config, "-----BEGIN CERTIFICATE-----\n", 28, NULL));
    IS_NULL(pdtp_config_set_trust_store(NULL, "x"));
    CHECK_CODE(pdtp_config_set_trust_store(config, NULL), 0);
    IS_NULL(pdtp_decide(NULL, 1, PDTP_ANSWER_ACCEPT));
    CHECK_CODE(pdtp_decide(client, 1, PDTP_ANSWER_ACCEPT), PDTP_E_STATE);
    IS_ARGUMENT(pdtp_decide(client, 1, PDTP_ANSWER_LATER));
    CHECK(pdtp_event_verdict(NULL) == NULL);
    IS_NULL(pdtp_fingerprint(NULL, text, sizeof text));
    IS_ARGUMENT(pdtp_fingerprint("", text, sizeof text));
    IS_ARGUMENT(pdtp_fingerprint(weak, text, sizeof text));
    CHECK(pdtp_fingerprint(key, text, sizeof text) == 64 && strlen(text) == 64);
}

static void uris(void)
{
    const char *uri = "PDTP://Example.org:7000/a%20b/c%2bd/";
    char text[64];

    IS_NULL(pdtp_uri_part(NULL, "host", text, sizeof text));
    IS_NULL(pdtp_uri_part(uri, NULL, text, sizeof text));
    CHECK_CODE(pdtp_uri_part(uri, "colour", text, sizeof text), PDTP_E_OPTION);
    IS_ARGUMENT(pdtp_uri_part("mailto:x", "host", text, sizeof text));
    IS_ARGUMENT(pdtp_uri_part("pdtp://h/../x", "host", text, sizeof text));
    CHECK(pdtp_uri_part(uri, "port", text, sizeof text) == 4 && strcmp(text, "7000") == 0);
    CHECK(pdtp_uri_part(uri, "name", text, sizeof text) == 3 && strcmp(text, "c+d") == 0);
    CHECK(pdtp_uri_part(uri, "dir", text, sizeof text) == 3 && strcmp(text, "yes") == 0);
    CHECK(pdtp_uri_part(uri, "root", text, sizeof text) == 0 && text[0] == 0);
    CHECK(pdtp_uri_part(uri, "key", text, sizeof text) == 0 && text[0] == 0);
    CHECK(pdtp_uri_part("pdtp://h", "name", text, sizeof text) == 0 && text[0] == 0);
    IS_NULL(pdtp_uri_format(text, sizeof text, NULL, 0, "/"));
    IS_NULL(pdtp_uri_format(text, sizeof text, "h", 0, NULL));
    IS_ARGUMENT(pdtp_uri_format(text, sizeof text, "h", 0, "x"));
    IS_ARGUMENT(pdtp_uri_format(text, sizeof text, "h", 0, ""));
    IS_ARGUMENT(pdtp_uri_format(text, sizeof text, "h", 0, "/a/../b"));
    IS_ARGUMENT(pdtp_uri_format(text, sizeof text, "user@h", 0, "/"));
    IS_ARGUMENT(pdtp_uri_format(text, sizeof text, "", 0, "/"));
    CHECK(pdtp_uri_format(NULL, 0, "::1", 0, "/") == 13);
    CHECK(pdtp_uri_format(text, sizeof text, "[::1]", 7000, "/a b/%") > 0);
    CHECK(strcmp(text, "pdtp://[::1]:7000/a%20b/%25") == 0);
}

int main(void)
{
    pdtp_config *config = pdtp_config_new();
    pdtp_client *client = NULL;
    pdtp_session *session = NULL;

    CHECK(pdtp_last_error_code() == 0 && pdtp_last_error(NULL, 0) == 0);
    versions_and_errors();
    CHECK(config != NULL);
    configs(config);
    CHECK_CODE(pdtp_client_new(&client, config), 0);
    clients(client, config);
    /* Nobody listens on port 1. */
    CHECK_CODE(pdtp_session_open(&session, client, "pdtp://127.0.0.1:1/", NULL), 0);
    sessions(client, session);
    listings(session);
    transfers(session);
    readers(session);
    shares(client, session);
    resumes(client);
    events();
    uris();
    signatures(config, client);
    pdtp_config_free(config);
    pdtp_session_free(session);
    pdtp_client_free(client);
    return 0;
}
