/*
 * pdtp.h - libpdtp, the client library of the Peer Distributed Transfer Protocol
 *
 * Lists, downloads and streams what pdtp:// servers publish, from the server and from other clients, every byte
 * verified before you see it. This header is the manual. Licence: MIT or Apache-2.0.
 *
 * Made from src/ffi/ by tests/header_current.rs: change it there.
 *
 *
 * In short
 * --------
 *
 *     static void on_event(const pdtp_event *event, void *user_data)
 *     {
 *         const pdtp_done_event *done = pdtp_event_done(event);   // NULL for events of other types
 *         if (done) {
 *             if (done->code < 0) fprintf(stderr, "%s\n", done->message);
 *             *(int *)user_data = 1;
 *         }
 *     }
 *
 *     pdtp_client *client;
 *     pdtp_session *session;
 *     int finished = 0;
 *     if (pdtp_client_new(&client, NULL) < 0) ...;                     // pdtp_last_error() says why
 *     pdtp_client_set_event_callback(client, on_event, &finished, NULL);
 *     pdtp_session_open(&session, client, "pdtp://example.org/", NULL);
 *     pdtp_download(NULL, session, "/pub/file.iso", "file.iso", NULL);
 *     while (!finished) pdtp_client_dispatch(client, 0, -1);           // or poll() pdtp_client_event_fd()
 *     pdtp_session_free(session);
 *     pdtp_client_free(client);
 *
 *     cc program.c $(pkg-config --cflags --libs pdtp)
 *
 * Complete programs are in examples-c/: get.c, ls.c, stream.c for players, swarm.c, verify.c about signatures, and
 * poll_loop.c for those with an event loop.
 *
 *
 * Results and errors
 * ------------------
 *
 * Functions that can fail return an int: 0 or a count is good, negative is a PDTP_E_* code. The code is for the
 * program: its hundreds tell the group (usage, network, server, data, local, flow, internal). The sentence for the
 * human - what was attempted, on what, and what to do next - is copied by pdtp_last_error(), each thread having its
 * own. What fails later, in the background, has code and sentence in its event.
 *
 * Functions whose result is a pointer return NULL on failure, and pdtp_last_error_code() has the code.
 * NULL where something is needed is PDTP_E_NULL, never a crash. A handle of another type is noticed
 * (PDTP_E_ARGUMENT); one that was freed is noticed at best.
 *
 *
 * Who owns what
 * -------------
 *
 * - What a function returns through its first argument (T **) is yours; free it with the *_free of its type.
 * - What a function returns as const T * is borrowed from its argument, and ends with that.
 * - What you pass in is copied, unless the comment says that it is used up.
 * - *_free(NULL) is fine. Handles may be freed in any order, also after their client; whatever is still asked of them
 *   then is answered with PDTP_E_STATE.
 * - Freeing a transfer or a session lets the download go on: pdtp_transfer_cancel() ends it.
 * - user_data of sessions, transfers and operations just comes back in their events. user_data of callbacks may have
 *   a `destroy` function, which is called exactly once, also if the call that was to install the callback fails.
 *
 *
 * Threads
 * -------
 *
 * | handle                      | may be used by                                                                    |
 * |-----------------------------|-----------------------------------------------------------------------------------|
 * | pdtp_config, pdtp_request   | one thread at a time                                                              |
 * | pdtp_client                 | any thread; pdtp_client_next_event and _dispatch by one thread at a time           |
 * | pdtp_session, pdtp_transfer | any thread                                                                        |
 * | pdtp_reader                 | one thread at a time reads; everything else from any thread                       |
 * | pdtp_share                  | any thread                                                                        |
 * | pdtp_resume                 | any thread: it never changes                                                      |
 * | pdtp_listing, pdtp_entry    | any thread: they never change                                                     |
 * | pdtp_event                  | the thread that drains, until its next call or the end of the callback            |
 *
 * | in                          | you may call                                                                      |
 * |-----------------------------|-----------------------------------------------------------------------------------|
 * | your own threads            | everything                                                                        |
 * | event, data and verify      | everything that does not block; what does answers PDTP_E_REENTRANT. *_free is     |
 * | callbacks                   | fine: freeing the callback's own client takes effect when the callback returns    |
 * | wake-up callbacks           | nothing                                                                           |
 * | log callbacks               | functions named *_free                                                            |
 * | destroy functions           | functions named *_free                                                            |
 * | signal handlers             | pdtp_client_interrupt                                                             |
 * | a child after fork()        | *_free, which then do nothing; everything else answers PDTP_E_FORKED. Make new    |
 * |                             | handles there, or exec                                                            |
 *
 * Callbacks of a client are called one at a time: where you call pdtp_client_dispatch (or pdtp_client_next_event, for
 * data and verify callbacks), or, with PDTP_DISPATCH_THREAD, on one thread of the library's own. Never on a thread that does
 * the library's work, and never under a lock, so a callback that takes its time delays other callbacks only. After
 * pdtp_client_free() has returned no callback runs. Callbacks must return: no longjmp, no C++ exceptions.
 *
 * Every call that blocks has a timeout in milliseconds (negative = for ever, 0 = do not wait), a twin that does not
 * block, and ends early with PDTP_E_INTERRUPTED when another thread calls pdtp_client_interrupt().
 *
 *
 * What the library does to your process
 * -------------------------------------
 *
 * - Each client has threads of its own, named "pdtp-...", with a handful of descriptors and the sockets they need.
 *   Descriptors are closed by exec. The number of threads does not depend on that of downloads.
 * - A TCP port for peers is opened while pieces are given to others: see PDTP_SEEDING_*. Off is really off.
 * - Files are written where you download to, in the directories that you name (pdtp_config_set_dirs), and the trust
 *   file that you name (pdtp_config_set_trust_store) with the one beside it; nowhere else. Names of files come from the server only below a directory that you chose, and never lead out of it.
 * - It never prints, never reads the environment, never changes the working directory, the locale or signal handlers
 *   (SIGPIPE is not raised), starts no processes, and never ends the process.
 * - Should a bug make its Rust code panic, nothing is printed: the panic hook of the library's own copy of the Rust
 *   runtime is replaced at the first call. The call returns PDTP_E_PANIC, and pdtp_last_error() says where; in its own
 *   threads, what was under way there ends. The log (pdtp_config_set_log) tells of both, with the target "pdtp::panic".
 * - Once loaded the library stays in the process: dlclose() leaves it there, and the next dlopen() finds it again. Free
 *   all clients before, so that no thread is left.
 *
 *
 * Text
 * ----
 *
 * Strings are UTF-8 and end with NUL. Paths on a server are absolute and percent-encoded, as in a URI; wherever one
 * is expected, a whole pdtp:// URI of the same server does as well. Names of local files are the system's: bytes on
 * Unix, UTF-8 on Windows.
 *
 *
 * Versions
 * --------
 *
 * Code for 0.1 works with every later 0.1.x. What is new says "Since". Structs only grow at their end, and tell their
 * size: functions that fill one take its sizeof. Be ready for codes, states and types of events that you do not know.
 */

#ifndef PDTP_H
#define PDTP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------- Versions */

/** First number of the version of this header. */
#define PDTP_VERSION_MAJOR 0

/** Second number. While the first is 0, a change of this one may break the ABI (and the soname says so). */
#define PDTP_VERSION_MINOR 1

/** Third number: only additions and repairs. */
#define PDTP_VERSION_PATCH 0

/** Counts the incompatible changes of the ABI. */
#define PDTP_ABI_VERSION 1

/**
 * The version of the loaded library, as "0.1.0".
 *
 * Never blocks. Any thread, callbacks included. The text is static. Never fails. Since 0.1.0.
 */
const char *pdtp_version_string(void);

/**
 * The version of the loaded library as a number, in the form of PDTP_VERSION_NUMBER: 0x000100 is 0.1.0.
 *
 * A program compiled against a newer header than the library it finds may compare the two.
 *
 * Never blocks. Any thread, callbacks included. Never fails. Since 0.1.0.
 */
uint32_t pdtp_version_number(void);

/**
 * The ABI of the loaded library, in the form of PDTP_ABI_VERSION. The dynamic linker already takes care of this by
 * the soname; it is for those who load the library by hand.
 *
 * Never blocks. Any thread, callbacks included. Never fails. Since 0.1.0.
 */
int pdtp_abi_version(void);

/**
 * Whether the loaded library has a feature: 1 or 0.
 *
 * Known here: "cache", "dispatch-queue", "dispatch-thread", "event-fd", "ipv6", "list-recursive", "log", "metrics",
 * "resume", "resume-list", "seeding", "share", "stream" (downloads to a callback), "tree" (downloads of directories), and
 * what it was built for, as "target-x86_64-unknown-linux-gnu" and "profile-release".
 *
 * Never blocks. Any thread, callbacks included. NULL and unknown names: 0. Since 0.1.0.
 */
int pdtp_has_feature(const char *name);

/** A version as one number that can be compared. Since 0.1.0. */
#define PDTP_MAKE_VERSION(major, minor, patch) (((major) << 16) | ((minor) << 8) | (patch))

/** The version of this header as a number. Since 0.1.0. */
#define PDTP_VERSION_NUMBER PDTP_MAKE_VERSION(PDTP_VERSION_MAJOR, PDTP_VERSION_MINOR, PDTP_VERSION_PATCH)

#define PDTP_VERSION_TEXT_(number) #number
#define PDTP_VERSION_TEXT(number) PDTP_VERSION_TEXT_(number)
/** The version of this header as a string. Since 0.1.0. */
#define PDTP_VERSION_STRING \
    PDTP_VERSION_TEXT(PDTP_VERSION_MAJOR) "." PDTP_VERSION_TEXT(PDTP_VERSION_MINOR) \
    "." PDTP_VERSION_TEXT(PDTP_VERSION_PATCH)

/** Whether this header is of that version or a later one, for the preprocessor. Since 0.1.0. */
#define PDTP_CHECK_VERSION(major, minor, patch) \
    (PDTP_VERSION_NUMBER >= PDTP_MAKE_VERSION(major, minor, patch))

/* ------------------------------------------------------------------------------------------- Types of handles */

/** Settings of a client. */
typedef struct pdtp_config pdtp_config;
/** Threads, cache, listener for peers, queue of events; talks to any number of servers. All else belongs to one. */
typedef struct pdtp_client pdtp_client;
/** The link to a server. Made again by itself when it breaks. */
typedef struct pdtp_session pdtp_session;
/** A directory or a part of it, as it was when it was asked for. */
typedef struct pdtp_listing pdtp_listing;
/** A line of a listing. Borrowed from it. */
typedef struct pdtp_entry pdtp_entry;
/** A download to be started. */
typedef struct pdtp_request pdtp_request;
/** A download that was started: of a file or of a whole tree. */
typedef struct pdtp_transfer pdtp_transfer;
/** A file that is read like a local one, while it comes. */
typedef struct pdtp_reader pdtp_reader;
/** A list of unfinished downloads. */
typedef struct pdtp_resume pdtp_resume;
/** A local file that is given to others. */
typedef struct pdtp_share pdtp_share;
/** Something that happened. Borrowed from the library. */
typedef struct pdtp_event pdtp_event;

/** A descriptor to wait for: of a file on Unix, a SOCKET on Windows. */
typedef intptr_t pdtp_fd;

/* --------------------------------------------------------------------------------------------------- Errors */

/**
 * Results. Good is 0 (or a count from 0); failures are negative, and group by their hundreds. Codes are never
 * renumbered and never reused; treat unknown ones by their group.
 */
typedef enum {
    /** Good. */
    PDTP_OK = 0,
    /** Usage: a pointer is NULL that must not be. */
    PDTP_E_NULL = -1001,
    /** Usage: an argument makes no sense, or is a handle of another type. */
    PDTP_E_ARGUMENT = -1002,
    /** Usage: no such option, or not such a value; the text names the nearest. */
    PDTP_E_OPTION = -1003,
    /** Usage: not now, as things stand. */
    PDTP_E_STATE = -1004,
    /** Usage: called from a callback that may not call this. */
    PDTP_E_REENTRANT = -1005,
    /** Usage: the handle was made before fork(), in the parent process. */
    PDTP_E_FORKED = -1006,
    /** Usage: program and library do not fit together. */
    PDTP_E_VERSION = -1007,
    /** Network: no address is known for the host name. */
    PDTP_E_RESOLVE = -1101,
    /** Network: the host does not accept a connection. */
    PDTP_E_CONNECT = -1102,
    /** Network, or a timeout given by you: the time is up. */
    PDTP_E_TIMEOUT = -1103,
    /** Network: the connection broke. */
    PDTP_E_LOST = -1104,
    /** Network: no secure connection. */
    PDTP_E_TLS = -1105,
    /** Network: the other end does not speak PDTP as it should. */
    PDTP_E_PROTOCOL = -1106,
    /** The server says: there is no such file. */
    PDTP_E_NOT_FOUND = -1201,
    /** The server says: not for you. */
    PDTP_E_DENIED = -1202,
    /** The server says: later. */
    PDTP_E_BUSY = -1203,
    /** The server says: too much. */
    PDTP_E_LIMIT = -1204,
    /** The server, or this library, cannot do that. */
    PDTP_E_UNSUPPORTED = -1205,
    /** The file is another one now. */
    PDTP_E_CHANGED = -1206,
    /** Data: wrong bytes, and nobody had the right ones. */
    PDTP_E_HASH = -1301,
    /** Data: a signature is wrong. */
    PDTP_E_SIGNATURE = -1302,
    /** Data: there is no signature. */
    PDTP_E_UNSIGNED = -1303,
    /** Data: signed by another key than before. */
    PDTP_E_KEY_CHANGED = -1304,
    /** Data: a description of the file makes no sense. */
    PDTP_E_METADATA = -1305,
    /** Data: signed by a key that is not known. */
    PDTP_E_UNKNOWN_KEY = -1306,
    /** Local: the disk says no. */
    PDTP_E_IO = -1401,
    /** Local: the disk is full. */
    PDTP_E_NO_SPACE = -1402,
    /** Local: a file is in the way. */
    PDTP_E_EXISTS = -1403,
    /** Local: writing is not allowed there. */
    PDTP_E_READ_ONLY = -1404,
    /** Local: another download writes the same file. */
    PDTP_E_LOCKED = -1405,
    /** Flow: nothing yet. */
    PDTP_E_AGAIN = -1501,
    /** Flow: cancelled by you. */
    PDTP_E_CANCELLED = -1502,
    /** Flow: woken by pdtp_client_interrupt. */
    PDTP_E_INTERRUPTED = -1503,
    /** Flow: refused by your decision. */
    PDTP_E_REJECTED = -1504,
    /** Internal: no memory. */
    PDTP_E_NO_MEMORY = -1601,
    /** Internal: a bug, caught at the boundary. The handle may be stuck; free it. */
    PDTP_E_PANIC = -1602,
    /** Internal: something that should not happen. */
    PDTP_E_INTERNAL = -1603,
} pdtp_error;

/**
 * The name of a code, as "PDTP_E_NOT_FOUND": for logs and for bindings. Unknown codes: "PDTP_E_UNKNOWN".
 *
 * Never blocks. Any thread, callbacks included. The text is static. Since 0.1.0.
 */
const char *pdtp_error_name(int code);

/**
 * What a code means in general, for people. `pdtp_last_error` says what happened in particular.
 *
 * Never blocks. Any thread, callbacks included. The text is static, also for unknown codes. Since 0.1.0.
 */
const char *pdtp_strerror(int code);

/**
 * Copies the sentence of this thread's last failed call into `buffer`: what was attempted, on what, and what to do
 * next. Like snprintf: at most `size` bytes with the NUL at the end, and the result is the length of the whole
 * text without it. 0 and "" when no call has failed on this thread.
 *
 * Only failed calls change it; functions named *_free never do. What fails later in the background has its text in
 * the event, and in `pdtp_transfer_error` and `pdtp_session_error`.
 *
 * Never blocks. Any thread, callbacks included; each thread has its own. `buffer` may be NULL to learn the length.
 * Since 0.1.0.
 */
int pdtp_last_error(char *buffer,
                    size_t size);

/**
 * The code of this thread's last failed call, 0 when none has failed: for functions whose result has no room for
 * it. Like errno it stays until the next failure.
 *
 * Never blocks. Any thread, callbacks included. Since 0.1.0.
 */
int pdtp_last_error_code(void);

/* ------------------------------------------------------------------------------------------------ Callbacks */

/** What a data callback wants. */
typedef enum {
    /** More. */
    PDTP_DATA_CONTINUE = 0,
    /** These bytes were not taken: the same come again after pdtp_transfer_resume. */
    PDTP_DATA_PAUSE = 1,
    /** No more: the transfer is cancelled. */
    PDTP_DATA_ABORT = 2,
} pdtp_data_answer;

/**
 * Is given each event. Called on the thread that drains the events (see "Threads" above), one call at a time.
 * `event` and all that is borrowed from it end with the call. It may call every function that does not block.
 */
typedef void (*pdtp_event_callback)(const pdtp_event *event, void *user_data);

/**
 * Tells that events are waiting: sets a flag, posts a message, writes to a pipe. Called on a thread of the library.
 * It may call no function of the library, and should be quick.
 */
typedef void (*pdtp_wakeup_callback)(void *user_data);

/**
 * Is given the bytes of a download in order, verified. `offset` counts from the start of the file; `data` ends with
 * the call. Called where the event callback is called, so while it runs no more than a window of the file is
 * fetched ahead. Answers PDTP_DATA_CONTINUE, PDTP_DATA_PAUSE or PDTP_DATA_ABORT; what is none of these aborts.
 */
typedef int (*pdtp_data_callback)(uint64_t offset, const void *data, size_t length, void *user_data);

/**
 * Ends `user_data`. Called exactly once, after the last call of the function that it was given with, also when the
 * call that was to install the function fails; on the thread of the call that replaces or frees, or on the one that
 * drains the events. It may only call functions named *_free. NULL where there is nothing to end.
 */
typedef void (*pdtp_destroy_callback)(void *user_data);

/* -------------------------------------------------------------------------------------------- Configuration */

/** Where callbacks are called. */
typedef enum {
    /** Where and when you call pdtp_client_dispatch or pdtp_client_next_event. The default. */
    PDTP_DISPATCH_QUEUE = 0,
    /** On one thread of the library's own, made for nothing else. */
    PDTP_DISPATCH_THREAD = 1,
} pdtp_dispatch;

/** When pieces are given to others. */
typedef enum {
    /** Never: nothing listens, nothing is offered. */
    PDTP_SEEDING_OFF = 0,
    /** While a download of this client is under way. The default. */
    PDTP_SEEDING_DOWNLOADING = 1,
    /** Until the client is freed. Servers are told when they are connected to: what a client gives counts for it only then. */
    PDTP_SEEDING_ALWAYS = 2,
} pdtp_seeding;

/** What the values of an option look like. */
typedef enum {
    /** yes or no (also true, false, on, off, 1, 0). */
    PDTP_OPTION_BOOL = 1,
    /** A number. */
    PDTP_OPTION_NUMBER = 2,
    /** Bytes, or bytes a second: a number, perhaps with K, M or G (powers of 1024). */
    PDTP_OPTION_BYTES = 3,
    /** Seconds, or a number with ms, s, m or h. */
    PDTP_OPTION_DURATION = 4,
    /** Any text. */
    PDTP_OPTION_TEXT = 5,
    /** One of the words that the help names. */
    PDTP_OPTION_WORD = 6,
} pdtp_option_kind;

/** Describes an option. Static; read only. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** For pdtp_config_set. */
    const char *name;
    /** One sentence. */
    const char *help;
    /** The value of a new configuration. */
    const char *preset;
    /** PDTP_OPTION_* */
    int kind;
    /** 1 if pdtp_client_set changes it at run time. */
    int runtime;
} pdtp_option;

/**
 * Makes a configuration with settings that suit most programs: nothing is written but what you download, and a
 * port is only opened while a download is under way. Free it with pdtp_config_free.
 *
 * Never blocks. Any thread. NULL only if something is very wrong. Since 0.1.0.
 */
pdtp_config *pdtp_config_new(void);

/**
 * Frees a configuration. Clients made from it keep their copies. NULL is fine.
 *
 * Never blocks. Since 0.1.0.
 */
void pdtp_config_free(pdtp_config *config);

/**
 * Sets an option by its name. pdtp_config_option_at lists them all.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL; PDTP_E_OPTION when there is no such option (the text names the
 * nearest) or it does not take such a value; nothing is changed then. Since 0.1.0.
 */
int pdtp_config_set(pdtp_config *config,
                    const char *name,
                    const char *value);

/**
 * Copies the value of an option into `buffer`, in the form that pdtp_config_set takes. Like snprintf: at most
 * `size` bytes with the NUL at the end; the result is the length of the whole value without it, or an error.
 *
 * Never blocks. One thread at a time. `buffer` may be NULL to learn the length. PDTP_E_NULL, PDTP_E_OPTION.
 * Since 0.1.0.
 */
int pdtp_config_get(const pdtp_config *config, const char *name, char *buffer, size_t size);

/**
 * Describes option number `index`, counted from 0, in the order in which people should read them. NULL after the
 * last one.
 *
 * Never blocks. Any thread, callbacks included. What it points to is static. Since 0.1.0.
 */
const pdtp_option *pdtp_config_option_at(size_t index);

/**
 * Sets the directories the library may write to besides those that you download into. NULL leaves one as it is.
 *
 * `cache_dir` holds pieces of streams (pdtp_request_to_callback) in files without a name; without it the system's
 * directory for temporary files does. `state_dir` holds a small file for each unfinished download, for
 * pdtp_resume_list; without it no such list is kept. (What there is of a download lies beside its file in any case.) The
 * options "cache_dir" and "state_dir" are the same.
 *
 * Names are bytes on Unix and UTF-8 on Windows; they are copied. The directories need not exist yet.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_dirs(pdtp_config *config,
                         const char *cache_dir,
                         const char *state_dir);

/**
 * Chooses where callbacks are called: PDTP_DISPATCH_QUEUE or PDTP_DISPATCH_THREAD.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_dispatch(pdtp_config *config, int mode);

/**
 * Limits the bytes a second that are received and that are sent to peers. 0 is no limit. The options "limit_down"
 * and "limit_up" are the same, also at run time.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_config_set_rates(pdtp_config *config,
                          uint64_t down,
                          uint64_t up);

/**
 * Chooses when pieces are given to others: PDTP_SEEDING_*. The option "seeding" is the same, also at run time.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_seeding(pdtp_config *config,
                            int mode);

/* -------------------------------------------------------------------------------------------------- Clients */

/** Totals of a client. */
typedef struct {
    /** Bytes of this struct that were filled. Fields are only ever added at the end. */
    size_t size;
    /** Verified bytes received from origins. */
    uint64_t from_origin;
    /** Verified bytes received from peers. */
    uint64_t from_peers;
    /** Bytes sent to peers. */
    uint64_t uploaded;
    /** Bytes received in vain. */
    uint64_t wasted;
    /** Bytes a second coming in now. */
    uint64_t down_rate;
    /** Bytes a second going out now. */
    uint64_t up_rate;
    /** Events dropped because the queue was full. */
    uint64_t dropped_events;
    /** Events waiting. */
    uint32_t queued_events;
    /** Transfers that have not ended. */
    uint32_t active_transfers;
    /** Exchanges with peers and origins under way, in and out. */
    uint32_t exchanges;
    /** Port on which peers are served; 0 = none is open. */
    uint32_t listen_port;
} pdtp_stats;

/**
 * Makes a client: starts its threads; opens neither connections nor ports yet. `config` is copied and may be used
 * again or freed; NULL means all settings as they come. Free `*out` with pdtp_client_free.
 *
 * Never blocks for long. Any thread. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_IO (no threads
 * or descriptors left). Since 0.1.0.
 */
int pdtp_client_new(pdtp_client **out,
                    const pdtp_config *config);

/**
 * Ends a client: downloads stop where they are and can be resumed later, servers are told, threads are joined.
 * When it returns no callback runs any more, every `destroy` has run, and whatever the grace, no transfer and no share
 * is under way: PDTP_TRANSFER_CANCELLED, PDTP_SHARE_ENDED. Sessions, transfers and listings stay valid and must be
 * freed themselves, before or after; what would need the client answers PDTP_E_STATE.
 *
 * Called from one of the client's own callbacks it returns at once, and all this happens when the callback has
 * returned. NULL is fine. In a child after fork() it does nothing.
 *
 * Blocks for at most the time of the option "grace" (for uploads under way), and until a callback that runs on
 * another thread returns. No other thread may be in a function with this handle, or use it later; one that waits
 * in pdtp_client_next_event, pdtp_client_dispatch, or with a session or a transfer is woken. Since 0.1.0.
 */
void pdtp_client_free(pdtp_client *client);

/**
 * Changes an option of a running client: those for which pdtp_config_option_at says `runtime`.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL; PDTP_E_OPTION as pdtp_config_set; PDTP_E_STATE for
 * options that cannot change any more. Since 0.1.0.
 */
int pdtp_client_set(pdtp_client *client,
                    const char *name,
                    const char *value);

/**
 * Fills `*stats` with totals. Pass sizeof(*stats) as `size`.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_client_stats(const pdtp_client *client, pdtp_stats *stats, size_t size);

/**
 * A descriptor that can be read while events wait: give it to poll, select, epoll, GSource, QSocketNotifier, then
 * call pdtp_client_dispatch. Never read from it, write to it or close it. It is valid until the client is freed.
 * It may be readable without need: dispatching then just handles nothing.
 *
 * Never blocks. Any thread, callbacks included. -1 on failure: PDTP_E_NULL. Since 0.1.0.
 */
pdtp_fd pdtp_client_event_fd(const pdtp_client *client);

/**
 * Sets the function that is called when the queue of events is no longer empty, for those who cannot wait for a
 * descriptor. NULL removes it. When this returns, the function before is not called any more.
 *
 * `destroy` ends `user_data` when the function is replaced, with the client, or at once if this call fails.
 *
 * Never blocks for longer than the function does. Any thread. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_client_set_wakeup(pdtp_client *client,
                           pdtp_wakeup_callback wakeup,
                           void *user_data,
                           pdtp_destroy_callback destroy);

/**
 * Takes the next event out of the queue; waits for one up to `timeout_ms` milliseconds (negative = for ever, 0 = not
 * at all). What it returns, and all that is borrowed from it, is valid until the next call for the same client, or
 * its end. Data callbacks are called from here.
 *
 * NULL when no event came: pdtp_last_error_code is PDTP_E_AGAIN then, also after pdtp_client_interrupt.
 *
 * Blocks up to `timeout_ms`. One thread at a time, and not with PDTP_DISPATCH_THREAD (PDTP_E_STATE); not from a
 * callback (PDTP_E_REENTRANT). Since 0.1.0.
 */
const pdtp_event *pdtp_client_next_event(pdtp_client *client,
                                         int timeout_ms);

/**
 * Sets the function that is given every event: from within pdtp_client_dispatch, or on the library's thread with
 * PDTP_DISPATCH_THREAD. NULL removes it. Set it before the first session is opened: events for which there is no
 * function are thrown away.
 *
 * `destroy` ends `user_data` when the function is replaced (after a call under way has returned), with the client,
 * or at once if this call fails.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_client_set_event_callback(pdtp_client *client,
                                   pdtp_event_callback callback,
                                   void *user_data,
                                   pdtp_destroy_callback destroy);

/**
 * Calls the event callback, and data callbacks, for what waits in the queue: waits up to `timeout_ms` milliseconds
 * for the first (negative = for ever, 0 = not at all), then handles what is there, `max` at most. With `max` 0 or
 * less a bounded number, enough for all normal cases: what is left makes the descriptor stay readable.
 *
 * Returns how many were handled, 0 when none came in time or pdtp_client_interrupt was called.
 *
 * Blocks up to `timeout_ms` and as long as the callbacks do. One thread at a time, and not with
 * PDTP_DISPATCH_THREAD (PDTP_E_STATE); not from a callback (PDTP_E_REENTRANT). PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_client_dispatch(pdtp_client *client,
                         int max,
                         int timeout_ms);

/**
 * Wakes whoever waits in a function of this client: pdtp_client_dispatch returns 0, pdtp_client_next_event NULL, and
 * the blocking calls of its sessions and transfers PDTP_E_INTERRUPTED. What they waited for goes on.
 *
 * Never blocks. Any thread, callbacks and signal handlers included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_client_interrupt(pdtp_client *client);

/**
 * Turns a type of events, PDTP_EVENT_*, on (1) or off (0), for what happens from now on.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_client_enable_event(pdtp_client *client, int type, int on);

/* ------------------------------------------------------------------------------------------------- Sessions */

/** How a session stands. */
typedef enum {
    /** Dialling, or registering for the first time. */
    PDTP_SESSION_CONNECTING = 1,
    /** Registered: the server answers. */
    PDTP_SESSION_READY = 2,
    /** The link broke. What was in flight goes on, and so do the tries to connect again. */
    PDTP_SESSION_LOST = 3,
    /** The server does not want this client, or is none. No more tries, unless pdtp_session_reconnect is called. */
    PDTP_SESSION_REFUSED = 4,
    /** Closed from this side: the client was freed. */
    PDTP_SESSION_CLOSED = 5,
} pdtp_session_states;

/**
 * Begins to connect to the server of `uri`: "pdtp://host[:port]/…", whose path does not matter here. How it goes is
 * told by PDTP_EVENT_SESSION; nothing needs to wait for that: what is started on the session begins when it is
 * ready, and a link that breaks is made again. `user_data` comes back in the session's events. Free `*out` with
 * pdtp_session_free.
 *
 * Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT (no such
 * URI), PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_session_open(pdtp_session **out,
                      pdtp_client *client,
                      const char *uri,
                      void *user_data);

/**
 * Lets a session go: the link is closed when nothing uses it any more; transfers under way go on. NULL is fine. In
 * a child after fork() it does nothing.
 *
 * Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
 */
void pdtp_session_free(pdtp_session *session);

/**
 * Waits until the session is ready, or was refused, or `timeout_ms` milliseconds have passed (negative = for ever).
 *
 * Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). 0 when it is ready;
 * PDTP_E_TIMEOUT, PDTP_E_INTERRUPTED, PDTP_E_NULL, or why it was refused. Since 0.1.0.
 */
int pdtp_session_wait(pdtp_session *session,
                      int timeout_ms);

/**
 * How the session stands: PDTP_SESSION_*.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_session_state(const pdtp_session *session);

/**
 * The number of the session in events.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
uint64_t pdtp_session_id(const pdtp_session *session);

/**
 * Why the session is lost or was refused: the PDTP_E_* is returned, 0 if nothing is wrong, and the sentence is
 * copied into `buffer` (at most `size` bytes with the NUL; "" if nothing is wrong; `buffer` may be NULL).
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_session_error(const pdtp_session *session,
                       char *buffer,
                       size_t size);

/**
 * Copies something the session knows into `buffer`, as text. Like snprintf: at most `size` bytes with the NUL at the
 * end; the result is the length of the whole without it, or an error. What is not known yet is "". Keys:
 *
 * - "uri": of the server's root directory
 * - "host", "port": as in the URI that opened it
 * - "client_id": by which the server and peers know this end
 * - "agent": program and version of the server
 * - "version": of the protocol spoken
 * - "notice": the server's greeting
 * - "address": of this end as the server sees it
 * - "reachable": whether peers can dial this end: "yes", "no", or "" while that is open
 * - "features": what the server can do besides what every server can: words of the protocol, separated by blanks
 * - "limit_outstanding", "limit_files", "limit_ranges": how many questions without an answer, requested files, and
 *   requested ranges of a file the server allows. The library keeps to them by itself
 *
 * Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL, PDTP_E_OPTION
 * (no such key). Since 0.1.0.
 */
int pdtp_session_info(const pdtp_session *session,
                      const char *key,
                      char *buffer,
                      size_t size);

/**
 * Tries to connect again now, after a refusal, or instead of waiting for the next try.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_session_reconnect(pdtp_session *session);

/**
 * Has changes at or below `path` told by PDTP_EVENT_CHANGED with `*op` and `user_data`, until pdtp_watch_stop or the
 * end of the session. `path`: "/dir", percent-encoded, or a whole URI of this server; it need not exist yet. What was
 * changed before the server heard of this is not told, so look (pdtp_list) after you began to watch. When the link
 * was away, a PDTP_CHANGE_RESCAN is told.
 *
 * Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT (more than
 * 256 watches), PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_watch_start(uint64_t *op,
                     pdtp_session *session,
                     const char *path,
                     void *user_data);

/**
 * Ends the watch `op`. Events of it that are in the queue already stay there. A number that is no watch is fine.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_watch_stop(pdtp_session *session,
                    uint64_t op);

/* ---------------------------------------------------------------------------------------------- Directories */

/** As a depth: everything below (as far down as the server goes). */
#define PDTP_DEPTH_ALL 0

/**
 * Added to a depth, as in `1 | PDTP_LIST_RICH`: with what is told of files besides their bytes, for pdtp_entry_attr and
 * pdtp_listing_rdl. Takes the server more work and more bytes.
 */
#define PDTP_LIST_RICH 65536

/** What an entry is. */
typedef enum {
    /** A file. */
    PDTP_ENTRY_FILE = 1,
    /** A directory. */
    PDTP_ENTRY_DIR = 2,
} pdtp_entry_kind;

/**
 * Lists a directory: `depth` levels of it, 1 for what is directly in it, PDTP_DEPTH_ALL for everything below; add
 * `| PDTP_LIST_RICH` for titles, authors and the like. `path` is percent-encoded, as "/dir/sub%20dir", or a whole URI of the session's server. Free `*out` with
 * pdtp_listing_free.
 *
 * Blocks up to `timeout_ms` milliseconds (negative = for ever). Any thread, but not from a callback
 * (PDTP_E_REENTRANT). `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE, PDTP_E_TIMEOUT,
 * PDTP_E_INTERRUPTED, and what the network and the server say, PDTP_E_NOT_FOUND above all. Since 0.1.0.
 */
int pdtp_list(pdtp_listing **out,
              pdtp_session *session,
              const char *path,
              int depth,
              int timeout_ms);

/**
 * The same in the background: the pages come as PDTP_EVENT_LISTING with `*op` and `user_data`, the last one marked.
 * Big directories begin to arrive at once, and no more than a page waits in memory.
 *
 * Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE.
 * Since 0.1.0.
 */
int pdtp_list_start(uint64_t *op,
                    pdtp_session *session,
                    const char *path,
                    int depth,
                    void *user_data);

/**
 * Asks for one file or directory: a listing of one entry, a rich one. `path` as in pdtp_list. The server answers for a file only
 * when it has hashed it, which takes a while for a large one that is new. Free `*out` with pdtp_listing_free.
 *
 * Blocks up to `timeout_ms` milliseconds (negative = for ever). Any thread, but not from a callback
 * (PDTP_E_REENTRANT). `*out` is NULL on failure. Errors as those of pdtp_list. Since 0.1.0.
 */
int pdtp_stat(pdtp_listing **out,
              pdtp_session *session,
              const char *path,
              int timeout_ms);

/**
 * The same in the background: the answer is one PDTP_EVENT_LISTING with `*op` and `user_data`.
 *
 * Never blocks. Any thread, callbacks included. `op` may be NULL. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE.
 * Since 0.1.0.
 */
int pdtp_stat_start(uint64_t *op, pdtp_session *session, const char *path, void *user_data);

/**
 * Number of entries.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
size_t pdtp_listing_count(const pdtp_listing *listing);

/**
 * Entry number `index`, counted from 0; NULL after the last one.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const pdtp_entry *pdtp_listing_entry(const pdtp_listing *listing, size_t index);

/**
 * Whether this is all of the directory: 1 or 0. Pages in events are not, but for a small directory's only one.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
int pdtp_listing_complete(const pdtp_listing *listing);

/**
 * Path of the directory that was listed, percent-encoded. Of pdtp_stat: of the one in which the entry is.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_listing_path(const pdtp_listing *listing);

/**
 * The listing as RDL, an XML document with Dublin Core elements (docs/rdl.md, docs/rdl.xsd), for applications with their
 * own parser: UTF-8, `*length` bytes without the NUL that does not follow them. Of a page in an event: of that page. It is
 * written from what was read and checked, whatever the server has sent.
 *
 * Never blocks. Any thread, callbacks included. `*rdl` is borrowed from the listing; NULL, and `*length` 0, on failure.
 * PDTP_E_NULL; PDTP_E_STATE for a listing that was not asked for with PDTP_LIST_RICH. Since 0.1.0.
 */
int pdtp_listing_rdl(const pdtp_listing *listing,
                     const char **rdl,
                     size_t *length);

/**
 * Frees a listing, and with it all that is borrowed from it. NULL is fine.
 *
 * Never blocks. Any thread, callbacks included; nobody may use it any more. Since 0.1.0.
 */
void pdtp_listing_free(pdtp_listing *listing);

/**
 * What to show people: the name; of a listing with more than one level, the path relative to the listed directory.
 * UTF-8: bytes that are not are replaced, so use pdtp_entry_path to ask for it.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_name(const pdtp_entry *entry);

/**
 * Its whole path, percent-encoded: for pdtp_list, pdtp_stat, pdtp_download and pdtp_request_new.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_path(const pdtp_entry *entry);

/**
 * PDTP_ENTRY_FILE or PDTP_ENTRY_DIR.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_entry_type(const pdtp_entry *entry);

/**
 * Size in bytes; 0 of directories.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
uint64_t pdtp_entry_size(const pdtp_entry *entry);

/**
 * Time of the last change in Unix seconds; INT64_MIN if the server did not tell.
 *
 * Never blocks. Any thread, callbacks included. NULL: INT64_MIN. Since 0.1.0.
 */
int64_t pdtp_entry_mtime(const pdtp_entry *entry);

/**
 * Version of a file: the root of its hash tree, 64 hex digits. NULL of directories, and of files that the server has
 * not hashed yet (pdtp_stat waits for that).
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_root(const pdtp_entry *entry);

/**
 * Media type, as "text/plain"; NULL if the server did not tell.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_mime(const pdtp_entry *entry);

/**
 * Whether the server says that there is a signature: 1 or 0.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
int pdtp_entry_signed(const pdtp_entry *entry);

/**
 * What a file is said to be, by the name of the attribute; its first value. NULL where there is none, of directories,
 * and of listings that were not asked for with PDTP_LIST_RICH. UTF-8.
 *
 * Names of the Dublin Core Metadata Element Set 1.1: "dc.title", "dc.creator", "dc.subject", "dc.description",
 * "dc.publisher", "dc.contributor", "dc.date", "dc.type", "dc.format" (media type), "dc.identifier", "dc.source",
 * "dc.language", "dc.relation", "dc.coverage", "dc.rights". Of media: "media.codec" (one value a track, the picture
 * first), "media.bitrate" (bits a second), "media.duration" (seconds, as "95.5"), "media.sample-rate" (Hz),
 * "media.channels", "media.width" and "media.height" (pixels); numbers in decimal digits. More may come.
 *
 * The server says so, from a file that lies beside, from extended attributes, or from the file itself: nobody has
 * signed it.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_attr(const pdtp_entry *entry,
                            const char *name);

/**
 * Number of values of all attributes; an attribute may have several.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
size_t pdtp_entry_attr_count(const pdtp_entry *entry);

/**
 * Value number `index`, counted from 0, in the order in which pdtp_entry_attr lists the names; values of one attribute
 * follow each other. NULL after the last one, and then `*name` is NULL, too. `name` may be NULL.
 *
 * Never blocks. Any thread, callbacks included. Both are borrowed from the listing. NULL: NULL. Since 0.1.0.
 */
const char *pdtp_entry_attr_at(const pdtp_entry *entry,
                               size_t index,
                               const char **name);

/* ------------------------------------------------------------------------------------------------ Downloads */

/** How a transfer stands. After PDTP_TRANSFER_DONE, _FAILED and _CANCELLED nothing more happens. */
typedef enum {
    /** Waits for the session, for the server to know the file, or for transfers of higher priority. */
    PDTP_TRANSFER_QUEUED = 1,
    /** Checks what is on disk already. */
    PDTP_TRANSFER_CHECKING = 2,
    /** Receives. */
    PDTP_TRANSFER_ACTIVE = 3,
    /** Paused by you. */
    PDTP_TRANSFER_PAUSED = 4,
    /** All there; last checks. */
    PDTP_TRANSFER_VERIFYING = 5,
    /** Complete. */
    PDTP_TRANSFER_DONE = 6,
    /** Ended with an error. */
    PDTP_TRANSFER_FAILED = 7,
    /** Ended by you. */
    PDTP_TRANSFER_CANCELLED = 8,
    /** Waits for your word on a signature. */
    PDTP_TRANSFER_DECIDING = 9,
} pdtp_transfer_states;

/** Why nothing comes at the moment. */
typedef enum {
    /** Something comes, or nobody told why not. */
    PDTP_WAIT_NONE = 0,
    /** The server's own uplink is full. */
    PDTP_WAIT_ORIGIN_BUSY = 1,
    /** Nobody who is connected has it. */
    PDTP_WAIT_NO_PROVIDER = 2,
    /** You are at your own limit. */
    PDTP_WAIT_YOUR_LIMIT = 3,
    /** Those who have it cannot be reached from here. */
    PDTP_WAIT_UNREACHABLE = 4,
    /** The server still computes the hashes of the file: see `hashing_done`. */
    PDTP_WAIT_HASHING = 5,
    /**
     * As many clients as the server's operator allows are downloading from there; it is this one's turn when another is
     * done.
     */
    PDTP_WAIT_FULL = 6,
    /** The server is reading the directory: see `reading_entries`. */
    PDTP_WAIT_READING = 7,
    /** As much as the server's operator lets it send of that directory is being sent. */
    PDTP_WAIT_SERVER_RATE = 8,
    /** Others have it or are about to, and the server leaves it to them to send it. */
    PDTP_WAIT_PEERS_BUSY = 9,
    /** The server's file is no longer what it was, and is looked at again. */
    PDTP_WAIT_CHANGED = 10,
} pdtp_wait_reason;

/** What pdtp_transfer_cancel does with what is on disk. */
typedef enum {
    /** What was verified stays, so that a later download of the same goes on from there. */
    PDTP_CANCEL_KEEP = 0,
    /** What is incomplete is deleted. */
    PDTP_CANCEL_DELETE = 1,
} pdtp_cancel;

/**
 * Which transfers of a client go first: while one of higher priority receives, the others ask for nothing (they are
 * PDTP_TRANSFER_QUEUED). One to which nothing comes for some seconds holds nobody back.
 */
typedef enum {
    /** Only when nothing else is to be received. */
    PDTP_PRIORITY_LOW = -1,
    /** As most. */
    PDTP_PRIORITY_NORMAL = 0,
    /** Before others. */
    PDTP_PRIORITY_HIGH = 1,
} pdtp_priority;

/** Numbers of a transfer. */
typedef struct {
    /** Bytes of this struct that were filled. Fields are only ever added at the end. */
    size_t size;
    /** Bytes verified and stored, those found on disk included. */
    uint64_t done;
    /** Bytes in all. Grows while a tree is still being listed; 0 while nothing is known. */
    uint64_t total;
    /** Received from the origin, and verified. */
    uint64_t from_origin;
    /** Received from peers, and verified. */
    uint64_t from_peers;
    /** Found on disk, and verified. */
    uint64_t from_disk;
    /** Received in vain. */
    uint64_t wasted;
    /** Bytes a second, over the last few seconds. */
    uint64_t rate;
    /** Milliseconds to go at this rate; -1 if nobody knows. */
    int64_t eta_ms;
    /** Files complete: 0 or 1, or a number for a tree. */
    uint64_t files_done;
    /** Files in all. */
    uint64_t files_total;
    /** Bytes of the file that the server has hashed, while PDTP_WAIT_HASHING. */
    uint64_t hashing_done;
    /** Bytes it is to hash. */
    uint64_t hashing_total;
    /** Why nothing comes, for people; static. NULL if something comes. */
    const char *waiting_text;
    /** PDTP_WAIT_* */
    int waiting;
    /** Others sending to this transfer now, the origin included. */
    uint32_t givers;
    /** Bytes of a file found here that were checked by hash, while PDTP_TRANSFER_CHECKING. */
    uint64_t checking_done;
    /** Bytes there are to check; 0 when nothing is being checked. */
    uint64_t checking_total;
    /** Entries of the tree that the server has gone through for the next page of its listing, while that takes long. */
    uint64_t reading_entries;
} pdtp_progress;

/**
 * Begins to describe a download. `path` is percent-encoded, as "/dir/file", or a whole URI of the session's server;
 * with "#root=…" only that version is accepted, with "#key=…" only what that key has signed, and with "/" at the end a directory with all below it is meant.
 * Choose a target, set options, then start it. Free `*out` with pdtp_request_free, unless it was started.
 *
 * Never blocks. One thread at a time, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT,
 * PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_request_new(pdtp_request **out,
                     pdtp_session *session,
                     const char *path);

/**
 * Frees a request that was not started. NULL is fine.
 *
 * Never blocks. One thread at a time, callbacks included. Since 0.1.0.
 */
void pdtp_request_free(pdtp_request *request);

/**
 * The download becomes a file with exactly this name. Beside it, NAME.part and NAME.part.pdtp hold what is there so
 * far: a later download of the same takes up from there. The directory must exist.
 *
 * `name` is bytes on Unix and UTF-8 on Windows; it is copied.
 *
 * Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_request_to_file(pdtp_request *request,
                         const char *name);

/**
 * The download goes into this directory: a file under its own name, a directory as a tree of its content.
 *
 * `name` is bytes on Unix and UTF-8 on Windows; it is copied.
 *
 * Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_request_to_dir(pdtp_request *request, const char *name);

/**
 * The bytes of the file go to a function, in order and verified. It is called where the event callback is called:
 * somebody must dispatch (or use PDTP_DISPATCH_THREAD), or nothing comes.
 *
 * `destroy` ends `user_data`: after the last call, when the transfer has ended; with the client; when another target
 * is chosen; when the request is freed; or at once if this call fails.
 *
 * Never blocks. One thread at a time, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_request_to_callback(pdtp_request *request,
                             pdtp_data_callback callback,
                             void *user_data,
                             pdtp_destroy_callback destroy);

/**
 * The bytes of the file come as PDTP_EVENT_DATA, in order and verified, among the other events: for those who pull them
 * with pdtp_client_next_event. While such an event lasts, and until the next is asked for, no more than a window of the
 * file is fetched ahead. Without an event callback pdtp_client_dispatch passes over the bytes.
 *
 * Never blocks. One thread at a time, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_request_to_events(pdtp_request *request);

/**
 * Sets an option of a request by its name:
 *
 * - "overwrite", what to do with a complete local file of that name. In any case it is left alone when its content
 *   is right. Else: "never" (fail with PDTP_E_EXISTS), "resume" (the default: use what is right of it, replace it
 *   when the download is complete), "replace" (download everything)
 * - "recursive": yes or no, whether a directory may be downloaded, with all below it
 * - "expect_root": 64 hex digits; only that version of the file is accepted. "" takes that back
 * - "expect_key": fingerprint of a key, 64 hex digits; only what it has signed is accepted. Each call adds one; any of
 *   them will do. "" takes them back
 * - "verify": require, ask, report or off; what to do about signatures, instead of what the client is configured for
 * - "rate": most bytes a second to receive, besides the limit of the client: a number, perhaps with K, M or G; 0 = none.
 *   pdtp_transfer_set_rate changes it later
 * - "priority": low, normal or high, see PDTP_PRIORITY_*. pdtp_transfer_set_priority changes it later
 * - "prealloc": yes or no, whether room on the disk is reserved for a file before it is received, so that a full disk is
 *   noticed at the start. Where the file system cannot do that, nothing happens
 * - "range": "FROM-TO", the first and last byte that are wanted, counted from 0, or "FROM-" for all from there on; "" for the
 *   whole file. Only for callbacks and events, which get the offsets in the file; progress counts whole pieces. A range
 *   that begins past the end ends the transfer with PDTP_E_ARGUMENT; one that ends past it ends with the file
 * - "deadline_rate": how fast a callback or events will take the bytes, in bytes a second (as "rate"), as a player knows it
 *   of its film: what is needed next then comes in time, and before what others need later. 0 = the server learns it
 *
 * "-" and "_" in names are the same.
 *
 * Never blocks. One thread at a time, callbacks included. PDTP_E_NULL, PDTP_E_OPTION. Since 0.1.0.
 */
int pdtp_request_set(pdtp_request *request,
                     const char *name,
                     const char *value);

/**
 * Starts a download. The request is used up, also when this fails: do not free it. `user_data` comes back in the
 * transfer's events. `out` may be NULL for those who only want events; else free `*out` with pdtp_transfer_free.
 *
 * How the download goes is told by PDTP_EVENT_TRANSFER and _PROGRESS, and its end exactly once by PDTP_EVENT_DONE.
 *
 * Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL; PDTP_E_STATE (no target was
 * chosen); PDTP_E_ARGUMENT (a range that would become a file). Since 0.1.0.
 */
int pdtp_request_start(pdtp_transfer **out,
                       pdtp_request *request,
                       void *user_data);

/**
 * The common case in one call: downloads `path` to the file `local`, or, if `path` ends in "/", the tree below it
 * into the directory `local`. Otherwise as pdtp_request_new, pdtp_request_to_file or _to_dir, pdtp_request_start.
 *
 * Never blocks. Any thread, callbacks included. `out` may be NULL. `*out` is NULL on failure. PDTP_E_NULL,
 * PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_download(pdtp_transfer **out,
                  pdtp_session *session,
                  const char *path,
                  const char *local,
                  void *user_data);

/**
 * Lets a transfer go: the handle ends, the download goes on. NULL is fine. In a child after fork() it does nothing.
 *
 * Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
 */
void pdtp_transfer_free(pdtp_transfer *transfer);

/**
 * The number of the transfer in events. Never used again by the same client.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
uint64_t pdtp_transfer_id(const pdtp_transfer *transfer);

/**
 * How the transfer stands: PDTP_TRANSFER_*.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_transfer_state(const pdtp_transfer *transfer);

/**
 * Fills `*progress` with the numbers of now. Pass sizeof(*progress) as `size`.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_transfer_progress(const pdtp_transfer *transfer, pdtp_progress *progress, size_t size);

/**
 * Why the transfer ended as it did: the PDTP_E_* is returned, 0 while it has not failed, and the sentence is copied
 * into `buffer` (at most `size` bytes with the NUL; "" without an error; `buffer` may be NULL).
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_transfer_error(const pdtp_transfer *transfer,
                        char *buffer,
                        size_t size);

/**
 * Waits until the transfer has ended, or `timeout_ms` milliseconds have passed (negative = for ever). Events are not
 * dispatched meanwhile: a download to a callback needs another thread for that.
 *
 * Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). 0 when all of it is there;
 * PDTP_E_TIMEOUT if it has not ended, PDTP_E_INTERRUPTED, PDTP_E_NULL, or why it failed, PDTP_E_CANCELLED among
 * others. Since 0.1.0.
 */
int pdtp_transfer_wait(pdtp_transfer *transfer,
                       int timeout_ms);

/**
 * Asks for nothing more until pdtp_transfer_resume. Does nothing when it is paused or has ended.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_transfer_pause(pdtp_transfer *transfer);

/**
 * Goes on after pdtp_transfer_pause, or after a data callback answered PDTP_DATA_PAUSE. Else it does nothing.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_transfer_resume(pdtp_transfer *transfer);

/**
 * Limits the bytes a second that the transfer receives, besides the limit of the client. 0 is no limit. Takes effect at
 * once.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_transfer_set_rate(pdtp_transfer *transfer,
                           uint64_t rate);

/**
 * Says how much the transfer matters beside others of the client: PDTP_PRIORITY_*. Takes effect at once.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_transfer_set_priority(pdtp_transfer *transfer, int priority);

/**
 * Ends the transfer: with PDTP_CANCEL_KEEP it can be resumed later, with PDTP_CANCEL_DELETE what is incomplete is
 * deleted. PDTP_EVENT_DONE follows with PDTP_E_CANCELLED. A second cancel, or one after the end, does nothing.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_transfer_cancel(pdtp_transfer *transfer,
                         int what);

/* -------------------------------------------------------------------------------------------------- Readers */

/** Where a seek counts from. The numbers are those of SEEK_SET, SEEK_CUR and SEEK_END. */
typedef enum {
    /** From the start of the file. */
    PDTP_SEEK_SET = 0,
    /** From where the reader is. */
    PDTP_SEEK_CUR = 1,
    /** From the end of the file. */
    PDTP_SEEK_END = 2,
} pdtp_seek;

/**
 * Opens a file to be read like a local one, while it comes: verified bytes, from anywhere, with jumps. Waits until it
 * is known what it is, up to `timeout_ms` milliseconds (negative = for ever); the server may have to hash it first.
 * `path`: "/dir/file", percent-encoded, or a whole URI of this server; its `#root=` and `#key=` count. Free `*out` with
 * pdtp_reader_free.
 *
 * From then on what is needed next is fetched: the server is told where you read, and has the bytes from there on sent
 * before others, from whoever can send them in time. What was verified stays in a sparse temporary file in the cache
 * directory (pdtp_config_set_dirs; else the system's directory for such files) until the last reader of the file is
 * freed: going back costs nothing. A download of the same file on the same session, before or after, shares what
 * comes. Readers of one file may be many, each with a place of its own.
 *
 * Signatures are dealt with as for a download (pdtp_config_set_verify). A decision has to be answered on another thread
 * than this one, which waits for it.
 *
 * Blocks up to `timeout_ms`. Any thread, but not from a callback (PDTP_E_REENTRANT). `*out` is NULL on failure.
 * PDTP_E_NULL, PDTP_E_ARGUMENT (no path of this server, or a directory), PDTP_E_NOT_FOUND, PDTP_E_TIMEOUT,
 * PDTP_E_CHANGED (not the version of `#root=`), PDTP_E_INTERRUPTED, PDTP_E_STATE, those of signatures. Since 0.1.0.
 */
int pdtp_reader_open(pdtp_reader **out,
                     pdtp_session *session,
                     const char *path,
                     int timeout_ms);

/**
 * Closes a reader. What was fetched for it is given up, unless another reader of the same file is open. NULL is fine.
 * In a child after fork() it does nothing.
 *
 * Never blocks. Any thread, callbacks included; nobody may use the handle any more: a thread that may be reading has to
 * be stopped with pdtp_reader_cancel first. Since 0.1.0.
 */
void pdtp_reader_free(pdtp_reader *reader);

/**
 * Reads up to `size` bytes from where the reader is into `buffer`, and moves on by as many. Like read(2): waits until
 * there is at least one byte, answers how many there were, which may be fewer than asked for; 0 at the end of the file.
 *
 * Blocks until there is data, pdtp_reader_cancel or pdtp_client_interrupt is called, or the client is freed: while the
 * server is away it waits for it. Any thread, but not from a callback (PDTP_E_REENTRANT). One thread at a time reads.
 * `buffer` may be NULL if `size` is 0. PDTP_E_NULL, PDTP_E_CANCELLED, PDTP_E_INTERRUPTED, PDTP_E_STATE; for good:
 * PDTP_E_CHANGED (that version is gone), PDTP_E_NO_SPACE and PDTP_E_IO (of the temporary file), and whatever a download
 * can fail with. Since 0.1.0.
 */
int64_t pdtp_reader_read(pdtp_reader *reader,
                         void *buffer,
                         size_t size);

/**
 * The same, but waits no longer than `timeout_ms` milliseconds (negative = for ever, 0 = not at all): PDTP_E_AGAIN when
 * nothing has come by then. Asking is enough for the bytes to be fetched.
 *
 * Blocks up to `timeout_ms`; with 0 it may be called from callbacks, too. Otherwise, NULL included, as
 * pdtp_reader_read. Since 0.1.0.
 */
int64_t pdtp_reader_read_timeout(pdtp_reader *reader,
                                 void *buffer,
                                 size_t size,
                                 int timeout_ms);

/**
 * Goes elsewhere: `offset` bytes from `whence` (PDTP_SEEK_*). Answers the new place in the file, which may lie past its
 * end, where there is nothing to read. What was being fetched for the old place and is not needed at the new one is
 * given up at once; what is here already stays.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT (before the start of the file, or no such
 * `whence`), PDTP_E_STATE. Since 0.1.0.
 */
int64_t pdtp_reader_seek(pdtp_reader *reader,
                         int64_t offset,
                         int whence);

/**
 * Where the next read begins, in bytes from the start of the file.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int64_t pdtp_reader_tell(const pdtp_reader *reader);

/**
 * Bytes in the file. Never changes: a reader reads one version.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int64_t pdtp_reader_size(const pdtp_reader *reader);

/**
 * Ends reading for good: who reads now, or tries to later, gets PDTP_E_CANCELLED. The reader still has to be freed.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_reader_cancel(pdtp_reader *reader);

/**
 * How many bytes are fetched ahead of the reader: 64 MiB unless you say otherwise, as with a negative number; 0 = only
 * what is being read. It bounds what is fetched in vain when somebody stops watching, not what is kept.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_reader_set_window(pdtp_reader *reader,
                           int64_t bytes);

/**
 * The bytes that can be read without waiting, in a row from where the reader is: from `*from` up to and without `*to`.
 * Equal when there are none. For the shaded part of a seek bar. Either may be NULL.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_reader_buffered(const pdtp_reader *reader,
                         uint64_t *from,
                         uint64_t *to);

/* --------------------------------------------------------------------------------------- Unfinished downloads */

/** A download that has not come to its end. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** For pdtp_resume_start and pdtp_resume_forget. */
    const char *id;
    /** What is downloaded; with "#root=…" and "#key=…" if only that will do. */
    const char *uri;
    /** Where it goes: a file, or with `into_dir` the directory that it goes into. Bytes on Unix, UTF-8 on Windows. */
    const char *local;
    /** When it was started, Unix seconds. */
    int64_t started;
    /** Bytes verified when that was written down last; 0 of trees. */
    uint64_t done;
    /** Bytes in all; 0 if they are not known, and of trees. */
    uint64_t total;
    /** 1 if `local` is the directory that it goes into. */
    int into_dir;
    /** 1 if it is under way, in this program or in another one. */
    int active;
} pdtp_unfinished;

/**
 * Lists the downloads to files and directories that have not come to their end, oldest first: those that earlier runs of
 * the program have left, however they ended, and those under way now. It is read from the state directory
 * (pdtp_config_set_dirs). Not listed are downloads that failed in a way that another try would not mend. Free `*out`
 * with pdtp_resume_free.
 *
 * Blocks while small files are read. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL;
 * PDTP_E_STATE (no state directory is configured, or the client was freed); PDTP_E_IO. Since 0.1.0.
 */
int pdtp_resume_list(pdtp_resume **out,
                     pdtp_client *client);

/**
 * Number of downloads in the list.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
size_t pdtp_resume_count(const pdtp_resume *list);

/**
 * Number `index` of the list, counted from 0; NULL after the last one.
 *
 * Never blocks. Any thread, callbacks included. Borrowed from the list. NULL: NULL. Since 0.1.0.
 */
const pdtp_unfinished *pdtp_resume_at(const pdtp_resume *list, size_t index);

/**
 * Frees a list, and with it all that is borrowed from it. NULL is fine.
 *
 * Never blocks. Any thread, callbacks included; nobody may use it any more. Since 0.1.0.
 */
void pdtp_resume_free(pdtp_resume *list);

/**
 * Goes on with an unfinished download, where it was going to and with the options that it was started with. No session
 * is needed: its URI is in the record. Otherwise as pdtp_request_start.
 *
 * Never blocks for long: a small file is read. Any thread, callbacks included. `out` may be NULL. `*out` is NULL on
 * failure. PDTP_E_NULL; PDTP_E_NOT_FOUND (nothing of this `id`); PDTP_E_LOCKED (it is under way); PDTP_E_STATE,
 * PDTP_E_IO. Since 0.1.0.
 */
int pdtp_resume_start(pdtp_transfer **out,
                      pdtp_client *client,
                      const char *id,
                      void *user_data);

/**
 * Takes an unfinished download off the list. With PDTP_CANCEL_DELETE what is there of it is deleted, unless it is a tree;
 * with PDTP_CANCEL_KEEP it stays, and a later download to the same place finds it.
 *
 * Never blocks for long. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, and errors as those of
 * pdtp_resume_start. Since 0.1.0.
 */
int pdtp_resume_forget(pdtp_client *client,
                       const char *id,
                       int what);

/* --------------------------------------------------------------------------------------------------- Events */

/** Types of events. All but PDTP_EVENT_FILE, PDTP_EVENT_PEER and PDTP_EVENT_LOG are on at first. */
typedef enum {
    /** A session has another state: pdtp_event_session. Only the latest state of each session waits in the queue. */
    PDTP_EVENT_SESSION = 1,
    /**
     * A page of a listing: pdtp_event_listing, pdtp_event_take_listing. Never lost; the next page is fetched when
     * this one was taken out of the queue.
     */
    PDTP_EVENT_LISTING = 2,
    /** A transfer has another state: pdtp_event_transfer. Only the latest waits. Ends come as PDTP_EVENT_DONE. */
    PDTP_EVENT_TRANSFER = 3,
    /** A transfer has ended, well or not: pdtp_event_done. Exactly once for each transfer, never lost. */
    PDTP_EVENT_DONE = 4,
    /** Numbers of a transfer: pdtp_event_progress. Only the newest wait, at most 10 a second come. */
    PDTP_EVENT_PROGRESS = 5,
    /** A file of a tree is complete: pdtp_event_file. Off at first; dropped when the queue is full. */
    PDTP_EVENT_FILE = 6,
    /** An exchange with a peer or the origin has ended: pdtp_event_peer. Off at first; dropped when the queue is full. */
    PDTP_EVENT_PEER = 7,
    /** A word from the operator of a server: pdtp_event_notice. Dropped when the queue is full. */
    PDTP_EVENT_NOTICE = 8,
    /** Events were dropped because the queue was full: pdtp_event_overflow. */
    PDTP_EVENT_OVERFLOW = 9,
    /**
     * Something that is watched has changed: pdtp_event_changed. Dropped when the queue is full: look again at what
     * you watch after a PDTP_EVENT_OVERFLOW that names this type.
     */
    PDTP_EVENT_CHANGED = 10,
    /**
     * What the signatures of a file are worth: pdtp_event_verdict. Not told of what is not signed and need not be under
     * PDTP_VERIFY_ASK. Dropped when the queue is full.
     */
    PDTP_EVENT_VERDICT = 11,
    /**
     * Your verify callback said PDTP_ANSWER_LATER: pdtp_event_verdict, to be answered with pdtp_decide. Never lost, and
     * cannot be turned off.
     */
    PDTP_EVENT_DECISION = 12,
    /**
     * Bytes of a download whose target is pdtp_request_to_events: pdtp_event_data. Never lost, and cannot be turned off;
     * the next ones come when this event has ended.
     */
    PDTP_EVENT_DATA = 13,
    /**
     * A line of the log: pdtp_event_log. Off at first; dropped when the queue is half full. pdtp_config_set_log chooses
     * how much is told.
     */
    PDTP_EVENT_LOG = 14,
    /** A share has another state: pdtp_event_share. Only the latest of each waits in the queue. */
    PDTP_EVENT_SHARE = 15,
    /**
     * The server is reading the directory, and the page does not come yet: pdtp_event_reading. Only the latest of each
     * operation waits in the queue, about two a second come.
     */
    PDTP_EVENT_READING = 16,
} pdtp_event_kind;

/** How something that is watched has changed. Treat kinds that you do not know like PDTP_CHANGE_RESCAN. */
typedef enum {
    /** The file is new, or another than before. */
    PDTP_CHANGE_FILE = 1,
    /** There is a new directory. What is in it is told one by one. */
    PDTP_CHANGE_DIR = 2,
    /** It is gone, with all below it. */
    PDTP_CHANGE_REMOVED = 3,
    /** More may have changed, at or below it, than was told: it was much at once, or the connection was away. */
    PDTP_CHANGE_RESCAN = 4,
    /** The server does not let it be watched, `code` and `message` say why. The last event of this watch. */
    PDTP_CHANGE_REFUSED = 5,
} pdtp_change_kind;

/** Of PDTP_EVENT_SESSION. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_session_id */
    uint64_t session;
    /** Milliseconds to the next try, of PDTP_SESSION_LOST; else -1. */
    int64_t retry_ms;
    /** Why, of PDTP_SESSION_LOST and PDTP_SESSION_REFUSED; else NULL. */
    const char *message;
    /** PDTP_SESSION_* */
    int state;
    /** PDTP_E_* of the same; else 0. */
    int code;
} pdtp_session_event;

/** Of PDTP_EVENT_LISTING. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** As pdtp_list_start or pdtp_stat_start gave it. */
    uint64_t op;
    /** The page; NULL if it failed. Ends with the event, unless pdtp_event_take_listing was called. */
    const pdtp_listing *listing;
    /** Why it failed; else NULL. */
    const char *message;
    /** 0, or PDTP_E_* why it failed. */
    int code;
    /** 1 with the last page, and with a failure; else 0. */
    int last;
} pdtp_listing_event;

/** Of PDTP_EVENT_READING. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** As pdtp_list_start gave it. */
    uint64_t op;
    /** Entries gone through so far; 0 while the server reads other directories first. */
    uint64_t entries;
} pdtp_reading_event;

/** Of PDTP_EVENT_TRANSFER. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_transfer_id */
    uint64_t transfer;
    /** PDTP_TRANSFER_* */
    int state;
} pdtp_transfer_event;

/** Of PDTP_EVENT_DONE. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_transfer_id */
    uint64_t transfer;
    /** Path of the file or directory, percent-encoded. */
    const char *path;
    /** Version of the file: 64 hex digits. NULL of a directory, or if it is not known. */
    const char *root;
    /** Why it did not end well; else NULL. */
    const char *message;
    /** Its last numbers. */
    const pdtp_progress *progress;
    /** 0 if all of it is there; else PDTP_E_*, PDTP_E_CANCELLED among them. */
    int code;
} pdtp_done_event;

/** Of PDTP_EVENT_FILE. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_transfer_id */
    uint64_t transfer;
    /** Path of the file, percent-encoded. */
    const char *path;
    /** Its size. */
    uint64_t bytes;
} pdtp_file_event;

/** Of PDTP_EVENT_PEER. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_transfer_id; 0 for what was given to others. */
    uint64_t transfer;
    /** Number of the exchange on the server, the same at both ends. */
    uint64_t exchange;
    /** Client id of the other end (pdtp_session_info "client_id" there); of the origin, the server's. */
    const char *peer;
    /** Path of the file, percent-encoded. */
    const char *path;
    /**
     * Why the server arranged it: "origin", "rarest", "deadline", "locality", "endgame", "repair", "spare",
     * "server_only"; NULL if untold.
     */
    const char *reason;
    /** How it failed: "refused", "unreachable", "timeout", "slow", "hash", "gone", "disk", "cancelled"; NULL if not. */
    const char *error;
    /** Payload bytes. */
    uint64_t bytes;
    /** Milliseconds it took. */
    uint64_t ms;
    /** First piece, counted from 0. */
    uint32_t first_piece;
    /** Number of pieces. */
    uint32_t piece_count;
    /** 1 if the other end is the origin. */
    int is_origin;
    /** 1 if the bytes came to this client, 0 if they went from it. */
    int received;
    /** `reason` for people, to go on after "because"; static. NULL if untold: to one that was dialled to give. */
    const char *reason_text;
} pdtp_peer_event;

/** Of PDTP_EVENT_NOTICE. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_session_id */
    uint64_t session;
    /** For people. */
    const char *message;
    /** The server goes down, and expects to be back in so many milliseconds; else -1. */
    int64_t back_ms;
} pdtp_notice_event;

/** Of PDTP_EVENT_OVERFLOW. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** Events dropped since the last such event. */
    uint64_t count;
    /** Of which types: bit `type - 1` for each. */
    uint32_t types;
} pdtp_overflow_event;

/** Of PDTP_EVENT_DATA. */
typedef struct {
    /** Bytes of this struct that were filled. Fields are only ever added at the end. */
    size_t size;
    /** Number of the transfer. */
    uint64_t transfer;
    /** Of the first byte, from the start of the file. */
    uint64_t offset;
    /** Verified bytes, in order. They end with the event. */
    const void *data;
    /** How many. */
    size_t length;
} pdtp_data_event;

/** Of PDTP_EVENT_CHANGED. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** As pdtp_watch_start gave it. */
    uint64_t op;
    /** Path of what has changed, percent-encoded. It may be above what is watched, when that is gone with its directory. */
    const char *path;
    /** Version of the file, of PDTP_CHANGE_FILE: 64 hex digits; else NULL. */
    const char *root;
    /** Why, of PDTP_CHANGE_REFUSED; else NULL. */
    const char *message;
    /** Size of the file, of PDTP_CHANGE_FILE; else 0. */
    uint64_t bytes;
    /** Modification time of the same, Unix seconds; 0 if untold. */
    int64_t mtime;
    /** PDTP_CHANGE_* */
    int kind;
    /** PDTP_E_* of PDTP_CHANGE_REFUSED; else 0. */
    int code;
} pdtp_changed_event;

/**
 * The type of an event: PDTP_EVENT_*. Treat types that you do not know like an event that you do not need.
 *
 * Never blocks. Where the event is valid. NULL: PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_event_type(const pdtp_event *event);

/**
 * The number of what it is about: session, transfer or operation, whichever the type is about; 0 for none. Numbers
 * are never used again by the same client, so one that has ended is not mistaken for another.
 *
 * Never blocks. Where the event is valid. NULL: 0. Since 0.1.0.
 */
uint64_t pdtp_event_id(const pdtp_event *event);

/**
 * The `user_data` given when the session, transfer or operation was started. NULL if that was NULL.
 *
 * Never blocks. Where the event is valid. NULL: NULL. Since 0.1.0.
 */
void *pdtp_event_user_data(const pdtp_event *event);

/**
 * What a PDTP_EVENT_SESSION says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_session_event *pdtp_event_session(const pdtp_event *event);

/**
 * What a PDTP_EVENT_LISTING says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_listing_event *pdtp_event_listing(const pdtp_event *event);

/**
 * Takes the page out of a PDTP_EVENT_LISTING: it is yours, outlives the event, and is freed with pdtp_listing_free.
 * NULL when it was taken already, when the operation failed, for events of another type, and for NULL.
 *
 * Never blocks. Where the event is valid. Since 0.1.0.
 */
pdtp_listing *pdtp_event_take_listing(const pdtp_event *event);

/**
 * What a PDTP_EVENT_READING says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_reading_event *pdtp_event_reading(const pdtp_event *event);

/**
 * What a PDTP_EVENT_TRANSFER says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_transfer_event *pdtp_event_transfer(const pdtp_event *event);

/**
 * What a PDTP_EVENT_DONE says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_done_event *pdtp_event_done(const pdtp_event *event);

/**
 * What a PDTP_EVENT_PROGRESS says; pdtp_event_id tells of which transfer. NULL for events of another type, and for
 * NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_progress *pdtp_event_progress(const pdtp_event *event);

/**
 * What a PDTP_EVENT_FILE says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_file_event *pdtp_event_file(const pdtp_event *event);

/**
 * What a PDTP_EVENT_PEER says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_peer_event *pdtp_event_peer(const pdtp_event *event);

/**
 * What a PDTP_EVENT_NOTICE says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_notice_event *pdtp_event_notice(const pdtp_event *event);

/**
 * What a PDTP_EVENT_OVERFLOW says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_overflow_event *pdtp_event_overflow(const pdtp_event *event);

/**
 * What a PDTP_EVENT_DATA says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_data_event *pdtp_event_data(const pdtp_event *event);

/**
 * Answers a PDTP_EVENT_DATA with one of PDTP_DATA_*; what is not answered when the event ends is continued. With
 * PDTP_DATA_PAUSE the same bytes come again after pdtp_transfer_resume; anything unknown is PDTP_DATA_ABORT.
 *
 * Never blocks. On the draining thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT (an event of another type).
 * Since 0.1.0.
 */
int pdtp_event_answer(const pdtp_event *event,
                      int answer);

/**
 * What a PDTP_EVENT_CHANGED says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_changed_event *pdtp_event_changed(const pdtp_event *event);

/* ----------------------------------------------------------------------------------------------- Signatures */

/** What to do about signatures. */
typedef enum {
    /** Signatures are not looked at. */
    PDTP_VERIFY_OFF = 0,
    /** Verdicts are told (PDTP_EVENT_VERDICT), and everything is taken. */
    PDTP_VERIFY_REPORT = 1,
    /**
     * What is not signed is taken where nothing says that it should be; bad, expired, outdated and changed signatures
     * are refused, and so are unknown keys where it was configured who is trusted. Your callback has the last word.
     * The default.
     */
    PDTP_VERIFY_ASK = 2,
    /** Only what is signed by somebody who is trusted is taken. Your callback has the last word. */
    PDTP_VERIFY_REQUIRE = 3,
} pdtp_verify_policy;

/** What the signatures of a file are worth. */
typedef enum {
    /** Signed by somebody who is trusted for this place. */
    PDTP_VERDICT_GOOD = 1,
    /** Nobody has signed it. */
    PDTP_VERDICT_UNSIGNED = 2,
    /** Signed with a key that is not known. */
    PDTP_VERDICT_UNKNOWN_KEY = 3,
    /** Signed with a trusted key, but older than what that key has signed for this path before. */
    PDTP_VERDICT_ROLLBACK = 4,
    /** Certified by somebody who is trusted, but not at this time. */
    PDTP_VERDICT_EXPIRED = 5,
    /** Signed with another key than those that sign here. Be loud about it. */
    PDTP_VERDICT_KEY_CHANGED = 6,
    /** A signature is wrong: broken, of other content or another path, or by a revoked key. */
    PDTP_VERDICT_BAD = 7,
} pdtp_verdict_status;

/** Your word on a verdict. */
typedef enum {
    /** Do not download it. */
    PDTP_ANSWER_REJECT = 0,
    /** Download it. A key that was not known before is remembered, if there is a trust file. */
    PDTP_ANSWER_ACCEPT = 1,
    /** Do what the policy says. */
    PDTP_ANSWER_DEFAULT = 2,
    /** You will call pdtp_decide; PDTP_EVENT_DECISION follows. From a verify callback only. */
    PDTP_ANSWER_LATER = 3,
} pdtp_answer;

/** What the signatures of a file are worth, and why. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_transfer_id */
    uint64_t transfer;
    /** For pdtp_decide; 0 in PDTP_EVENT_VERDICT. */
    uint64_t decision;
    /** When the key came to be trusted here, Unix seconds; -1 if that is not known. */
    int64_t since;
    /** When it was signed, Unix seconds; -1 if it is not, or not well. */
    int64_t date;
    /** Host of the server, and its port if that is not 6086. */
    const char *server;
    /** Path of the file, percent-encoded. */
    const char *path;
    /** Fingerprint of the key, 64 hex digits; NULL if there is none. */
    const char *key;
    /** "ed25519", "ecdsa-p256-sha256" or "dsa-sha256"; NULL if there is none. */
    const char *algorithm;
    /** Whose key it is. Of somebody who is not trusted it is what he calls himself. NULL if there is nothing. */
    const char *signer;
    /** Why, as "is signed with a key that was revoked". */
    const char *reason;
    /** PDTP_VERDICT_* */
    int status;
    /** 1 if something says that a certain key should have signed this file: the trust file, or the URI. */
    int expected;
    /** Whether it is downloaded: 1 or 0; -1 while you are asked. */
    int accepted;
} pdtp_verdict;

/**
 * Is asked about the signatures of each file before a byte of it is downloaded. Called where the event callback is
 * called; `verdict` ends with the call. Answers PDTP_ANSWER_*; what is none of these rejects.
 */
typedef int (*pdtp_verify_callback)(const pdtp_verdict *verdict, void *user_data);

/**
 * Chooses what to do about signatures, PDTP_VERIFY_*, and who is asked. With a `callback` it is asked about every file
 * under PDTP_VERIFY_ASK and PDTP_VERIFY_REQUIRE, whatever the verdict; then events must be drained while downloads
 * run, since who is not answered within the option "decision_timeout" is refused. Without one the policy decides.
 *
 * `destroy` ends `user_data` when the function is replaced, or when the configuration and all clients made from it
 * are gone; at once if this call fails.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_verify(pdtp_config *config,
                           int policy,
                           pdtp_verify_callback callback,
                           void *user_data,
                           pdtp_destroy_callback destroy);

/**
 * Trusts a key for everything on every server. `data` is PEM of `length` bytes: a public key, or a certificate, and
 * then everybody it certifies is trusted. `label` says whose it is, for people; NULL is fine. Both are copied.
 *
 * Never blocks for long: the numbers of the key are checked. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT when it
 * is no key, or a dangerous one. Since 0.1.0.
 */
int pdtp_config_add_key(pdtp_config *config,
                        const void *data,
                        size_t length,
                        const char *label);

/**
 * Names the trust file: who may sign what, a line each, as in `known_hosts`. Clients read it when they are made, and add
 * a line when you accept a key that was not known. Beside it, with ".seen" added to the name, they keep which dates of
 * files were seen. It need not exist yet. NULL takes it back. The option "trust_store" is the same.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_trust_store(pdtp_config *config,
                                const char *file);

/**
 * Answers a PDTP_EVENT_DECISION: PDTP_ANSWER_ACCEPT, _REJECT or _DEFAULT.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT; PDTP_E_STATE when nothing waits for this
 * decision, or not any more. Since 0.1.0.
 */
int pdtp_decide(pdtp_client *client,
                uint64_t decision,
                int answer);

/**
 * What a PDTP_EVENT_VERDICT or a PDTP_EVENT_DECISION says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_verdict *pdtp_event_verdict(const pdtp_event *event);

/**
 * The fingerprint of a public key or certificate in PEM, as in `#key=` of a URI: 64 hex digits, copied into `buffer`
 * like snprintf does; the result is 64, or an error.
 *
 * Never blocks for long. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_fingerprint(const char *pem,
                     char *buffer,
                     size_t size);

/* ----------------------------------------------------------------------------------------------------- URIs */

/**
 * Copies a part of "pdtp://host[:port]/path[#root=HEX&key=HEX]" into `buffer`. Like snprintf: at most `size` bytes with the
 * NUL at the end; the result is the length of the whole part without it, or an error. Parts:
 *
 * - "uri": all of it in its canonical spelling
 * - "host": a name or an address; an IPv6 address without brackets
 * - "port": 6086 where none is written
 * - "path": percent-encoded, without "/" at its end
 * - "name": the last component of the path, percent-decoded, "" of the root: a name for a local file. It has no "/"
 *   and no NUL and is neither "." nor "..", but may be other bytes than UTF-8
 * - "root": the version wanted, or ""
 * - "key": the fingerprint of the key that must have signed, the first if there are several, or ""
 * - "dir": "yes" if the path is written with "/" at its end, else "no"
 *
 * Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL;
 * PDTP_E_ARGUMENT (not such a URI); PDTP_E_OPTION (no such part). Since 0.1.0.
 */
int pdtp_uri_part(const char *uri,
                  const char *part,
                  char *buffer,
                  size_t size);

/**
 * Writes a URI into `buffer`: of `host` (an IPv6 address with or without brackets), `port` (0 = 6086), and `path`,
 * which is *not* percent-encoded: names as they are on the server, with "/" between and before them; with "/" at
 * the end for a directory. Like snprintf: at most `size` bytes with the NUL at the end; the result is the length of
 * the whole without it, or an error.
 *
 * Never blocks. Any thread, callbacks included. `buffer` may be NULL to learn the length. PDTP_E_NULL;
 * PDTP_E_ARGUMENT (no valid host or path). Since 0.1.0.
 */
int pdtp_uri_format(char *buffer,
                    size_t size,
                    const char *host,
                    uint16_t port,
                    const char *path);

/* ----------------------------------------------------------------------------------------- Giving to others */

/** How a share stands. After PDTP_SHARE_FAILED and PDTP_SHARE_ENDED nothing more happens. */
typedef enum {
    /** The server is asked what the file is, and the local one is verified; or again, after a download of the same file. */
    PDTP_SHARE_CHECKING = 1,
    /** Others may have it. */
    PDTP_SHARE_OFFERED = 2,
    /** It is not, or no longer, what the server has; or it cannot be read; or seeding was turned off. */
    PDTP_SHARE_FAILED = 3,
    /** The client was freed. */
    PDTP_SHARE_ENDED = 4,
} pdtp_share_states;

/** Of PDTP_EVENT_SHARE. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** pdtp_share_id */
    uint64_t share;
    /** Why, of PDTP_SHARE_FAILED; else NULL. */
    const char *message;
    /** PDTP_SHARE_* */
    int state;
    /** PDTP_E_* of PDTP_SHARE_FAILED: PDTP_E_HASH when the content differs, PDTP_E_CHANGED, PDTP_E_NOT_FOUND, …; else 0. */
    int code;
} pdtp_share_event;

/** What is given to others after its download. */
typedef struct {
    /** Bytes of this struct that were filled. Fields are only ever added at the end. */
    size_t size;
    /** Files given after their download. */
    uint64_t files;
    /** Their bytes: where you have put them, or in temporary files. */
    uint64_t bytes;
    /** Bytes of temporary files among them: what streams have left. */
    uint64_t temporary_bytes;
    /** Bytes of pinned files among them. */
    uint64_t pinned_bytes;
    /** Files given up so far: because of the bounds, of their time, or purged. */
    uint64_t given_up;
    /** Files that pdtp_share_add has added. They do not count above. */
    uint64_t shares;
} pdtp_cache_info;

/**
 * Gives a local file to others as `path` of the server: `local`, where it is, without a copy. First it is read and
 * compared with the hashes that the server has of `path` (of "#root=…" of a URI, if there is one); only then it is
 * offered, until pdtp_share_free. How that goes is told by PDTP_EVENT_SHARE with `user_data`. When the server gets
 * another version, or somebody writes to the file, it is no longer given. Free `*out` with pdtp_share_free.
 *
 * The file is kept open. Seeding must not be off; PDTP_SEEDING_DOWNLOADING does not end shares.
 *
 * Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT
 * (1024 shares), PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_share_add(pdtp_share **out,
                   pdtp_session *session,
                   const char *path,
                   const char *local,
                   void *user_data);

/**
 * Ends a share: nothing more of the file is given; what is on its way arrives. No event follows. NULL is fine. In a
 * child after fork() it does nothing.
 *
 * Never blocks. Any thread, callbacks included; nobody may use the handle any more. Since 0.1.0.
 */
void pdtp_share_free(pdtp_share *share);

/**
 * The number of the share in events.
 *
 * Never blocks. Any thread, callbacks included. NULL: 0. Since 0.1.0.
 */
uint64_t pdtp_share_id(const pdtp_share *share);

/**
 * How the share stands: PDTP_SHARE_*.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_share_state(const pdtp_share *share);

/**
 * Why the share failed: the PDTP_E_* is returned, 0 if it has not, and the sentence is copied into `buffer` (at most
 * `size` bytes with the NUL; "" if it has not; `buffer` may be NULL).
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL. Since 0.1.0.
 */
int pdtp_share_error(const pdtp_share *share,
                     char *buffer,
                     size_t size);

/**
 * What a PDTP_EVENT_SHARE says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_share_event *pdtp_event_share(const pdtp_event *event);

/**
 * Fills `*stats` with what is given to others after its download, and what that takes. Pass sizeof(*stats) as `size`.
 * The options "seed_bytes", "seed_time" and "cache_bytes" are its bounds.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_cache_stats(const pdtp_client *client,
                     pdtp_cache_info *stats,
                     size_t size);

/**
 * Gives up what is given after its download, least recently used first, until no more than `keep_bytes` are left: the
 * servers are told, and temporary files are deleted. Pinned files stay. Files that you have downloaded stay where they
 * are, they are only not given any more.
 *
 * Blocks for a moment. Any thread, but not from a callback (PDTP_E_REENTRANT). PDTP_E_NULL, PDTP_E_STATE,
 * PDTP_E_INTERRUPTED. Since 0.1.0.
 */
int pdtp_cache_purge(pdtp_client *client,
                     uint64_t keep_bytes);

/**
 * Pins a file (1), or no longer (0): what is given of it after its download, now or later, is kept whatever the bounds,
 * until the client is freed or seeding ends.
 *
 * Never blocks. Any thread, callbacks included. PDTP_E_NULL, PDTP_E_ARGUMENT, PDTP_E_LIMIT, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_cache_pin(pdtp_session *session,
                   const char *path,
                   int on);

/* ------------------------------------------------------------------------------------------ Log and metrics */

/** How much the log tells. */
typedef enum {
    /** Nothing. The default. */
    PDTP_LOG_OFF = 0,
    /** What should not happen. */
    PDTP_LOG_ERROR = 1,
    /** And what went wrong, and was dealt with. */
    PDTP_LOG_WARN = 2,
    /** And milestones. */
    PDTP_LOG_INFO = 3,
    /** And what to look at when something goes wrong. */
    PDTP_LOG_DEBUG = 4,
    /** Everything. */
    PDTP_LOG_TRACE = 5,
} pdtp_log_level;

/**
 * Is given each line of the log: `level` PDTP_LOG_*, `target` the part of the library that says it, `line` for people.
 * Called where the event callback is called. It may only call functions named *_free; others answer PDTP_E_REENTRANT,
 * so that no line makes the next.
 */
typedef void (*pdtp_log_callback)(int level, const char *target, const char *line, void *user_data);

/** Of PDTP_EVENT_LOG. */
typedef struct {
    /** Bytes of this struct that the loaded library knows. Fields are only ever added at the end. */
    size_t size;
    /** Which part of the library says it, as "pdtp::client::session"; "pdtp::panic" for a bug that was caught. */
    const char *target;
    /** For people, without an end of line. */
    const char *line;
    /** PDTP_LOG_* */
    int level;
} pdtp_log_event;

/**
 * Chooses how much the log tells, PDTP_LOG_*, and who is told: `callback`, called where the event callback is called.
 * NULL: nobody, but for PDTP_EVENT_LOG, if that is turned on. The option "log_level" is the same as `level`, also at run
 * time. Lines of a client are its own. When nobody drains, or too late, lines are dropped and counted
 * (PDTP_EVENT_OVERFLOW): they never hold the library up, nor crowd out other events.
 *
 * `destroy` ends `user_data` when the function is replaced, or when the configuration and all clients made from it
 * are gone; at once if this call fails, or `callback` is NULL.
 *
 * Never blocks. One thread at a time. PDTP_E_NULL, PDTP_E_ARGUMENT. Since 0.1.0.
 */
int pdtp_config_set_log(pdtp_config *config,
                        int level,
                        pdtp_log_callback callback,
                        void *user_data,
                        pdtp_destroy_callback destroy);

/**
 * What a PDTP_EVENT_LOG says. NULL for events of another type, and for NULL.
 *
 * Never blocks. Borrowed from the event. Since 0.1.0.
 */
const pdtp_log_event *pdtp_event_log(const pdtp_event *event);

/**
 * Writes the totals of a client as text for Prometheus (format 0.0.4), for programs that have an HTTP server of their
 * own: serve it as `text/plain; version=0.0.4`. Free `*out` with pdtp_string_free.
 *
 * Never blocks. Any thread, callbacks included. `*out` is NULL on failure. PDTP_E_NULL, PDTP_E_STATE. Since 0.1.0.
 */
int pdtp_metrics(char **out,
                 const pdtp_client *client);

/**
 * Frees a string that a function of this library has handed over through a `char **`. NULL is fine.
 *
 * Never blocks. Any thread, callbacks included. Since 0.1.0.
 */
void pdtp_string_free(char *string);

#ifdef __cplusplus
}
#endif

#endif /* PDTP_H */
