/*
 * pdtp.hpp - libpdtp for C++17: handles that free themselves, results instead of codes. Only this header.
 *
 *     auto client = pdtp::client::make();
 *     if (!client) return complain(client.error());
 *     auto session = client->open("pdtp://example.org/");
 *     if (!session) return complain(session.error());
 *     auto transfer = session->download("/pub/file.iso", "file.iso");
 *     if (!transfer) return complain(transfer.error());
 *     if (auto done = transfer->wait(); !done) return complain(done.error());
 *
 * - Whatever can fail returns a pdtp::result<T>: it holds a T or a pdtp::error (code and sentence), and is tested like
 *   a pointer. Nothing here throws by itself, and it compiles with -fno-exceptions and -fno-rtti; only value() of a
 *   result that holds an error throws pdtp::failure, or calls abort() where there are no exceptions. Memory that is
 *   used up, and what your own functions throw inside callbacks, ends the program (std::terminate): C is in between.
 * - Handles own what they hold, can be moved but not copied, and may be destroyed in any order, in callbacks too.
 *   Destroying a transfer or a session lets the download go on: transfer::cancel() ends it. A handle that was moved
 *   from, or made by its default constructor, is empty: its functions answer PDTP_E_NULL.
 * - get() is the handle of C, for functions that have no method here; release() gives it away. adopt() takes one.
 * - Threads, blocking, borrowing and errors are as pdtp.h says of the function of the same name. Strings given to C are
 *   passed on as they are; a std::string with a NUL inside ends there.
 * - Times are std::chrono::milliseconds; pdtp::forever waits for ever.
 *
 * Licence: MIT or Apache-2.0. Since 0.1.0.
 */

#ifndef PDTP_HPP
#define PDTP_HPP

#include <pdtp.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#if defined(__cpp_exceptions)
#include <stdexcept>
#endif

namespace pdtp {

/* ------------------------------------------------------------------------------------------------- Results */

/** What went wrong: a PDTP_E_* for the program, a sentence for people. */
class error {
public:
    error() = default;
    error(int code, std::string message) : code_(code), message_(std::move(message)) {}

    /** PDTP_E_* */
    int code() const noexcept { return code_; }
    /** What was attempted, on what, and what to do next. */
    const std::string &message() const noexcept { return message_; }
    /** Name of the code, as "PDTP_E_NOT_FOUND". */
    const char *name() const noexcept { return pdtp_error_name(code_); }

    /** That of this thread's last failed call. */
    static error last(int code = pdtp_last_error_code())
    {
        error made;
        const int length = pdtp_last_error(nullptr, 0);
        made.code_ = code;
        if (length > 0) {
            made.message_.resize(static_cast<std::size_t>(length) + 1);
            pdtp_last_error(&made.message_[0], made.message_.size());
            made.message_.pop_back();
        } else {
            made.message_ = pdtp_strerror(code);
        }
        return made;
    }

private:
    int code_ = PDTP_E_INTERNAL;
    std::string message_;
};

#if defined(__cpp_exceptions)
/** Thrown by result::value() where there is none. */
class failure : public std::runtime_error {
public:
    explicit failure(pdtp::error why) : std::runtime_error(why.message()), error_(std::move(why)) {}
    const pdtp::error &error() const noexcept { return error_; }

private:
    pdtp::error error_;
};
#endif

namespace detail {

[[noreturn]] inline void no_value(const pdtp::error &why)
{
#if defined(__cpp_exceptions)
    throw failure(why);
#else
    static_cast<void>(why);
    std::abort();
#endif
}

} // namespace detail

/** A T, or why there is none: a small std::expected<T, pdtp::error>. */
template <class T> class [[nodiscard]] result {
public:
    using value_type = T;
    using error_type = pdtp::error;

    result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    result(pdtp::error why) : held_(std::in_place_index<1>, std::move(why)) {}

    bool has_value() const noexcept { return held_.index() == 0; }
    explicit operator bool() const noexcept { return has_value(); }

    /** The value; throws or aborts without one. */
    T &value() & { return check(), *std::get_if<0>(&held_); }
    const T &value() const & { return check(), *std::get_if<0>(&held_); }
    T &&value() && { return check(), std::move(*std::get_if<0>(&held_)); }
    /** The value, which must be there. */
    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T &&operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

    template <class U> T value_or(U &&other) &&
    {
        return has_value() ? std::move(*std::get_if<0>(&held_)) : static_cast<T>(std::forward<U>(other));
    }

    /** Why there is no value; code 0 if there is one. */
    pdtp::error error() const { return has_value() ? pdtp::error(PDTP_OK, "") : *std::get_if<1>(&held_); }

    /** What `next` makes of the value, itself a result; or the same error. */
    template <class F> auto and_then(F &&next) && -> std::invoke_result_t<F, T &&>
    {
        if (has_value()) {
            return std::forward<F>(next)(std::move(*std::get_if<0>(&held_)));
        }
        return *std::get_if<1>(&held_);
    }

private:
    void check() const
    {
        if (!has_value()) {
            detail::no_value(*std::get_if<1>(&held_));
        }
    }

    std::variant<T, pdtp::error> held_;
};

/** Nothing, or why it failed. */
template <> class [[nodiscard]] result<void> {
public:
    using value_type = void;
    using error_type = pdtp::error;

    result() = default;
    result(pdtp::error why) : why_(std::move(why)) {}

    bool has_value() const noexcept { return !why_; }
    explicit operator bool() const noexcept { return has_value(); }
    /** Throws or aborts if it failed. */
    void value() const
    {
        if (why_) {
            detail::no_value(*why_);
        }
    }
    /** Why it failed; code 0 if it did not. */
    pdtp::error error() const { return why_ ? *why_ : pdtp::error(PDTP_OK, ""); }

private:
    std::optional<pdtp::error> why_;
};

/* ------------------------------------------------------------------------------------------------- Helpers */

using std::chrono::milliseconds;

/** As a timeout: for ever. */
inline constexpr milliseconds forever{-1};

namespace detail {

inline int timeout(milliseconds time) noexcept
{
    constexpr auto most = std::numeric_limits<int>::max();
    return time.count() < 0 ? -1 : time.count() > most ? most : static_cast<int>(time.count());
}

inline result<void> checked(int code)
{
    if (code < 0) {
        return error::last(code);
    }
    return {};
}

/** The text that `copy` writes like snprintf. Asks again when it has grown meanwhile. */
template <class Copy> result<std::string> text(Copy copy)
{
    std::string text;
    for (;;) {
        const int length = copy(text.empty() ? nullptr : &text[0], text.size());
        if (length < 0) {
            return error::last(length);
        }
        if (static_cast<std::size_t>(length) < text.size()) {
            text.resize(static_cast<std::size_t>(length));
            return text;
        }
        text.resize(static_cast<std::size_t>(length) + 1);
    }
}

/** Owner of a handle that ends with `Free`. */
template <class T, void (*Free)(T *)> class handle {
public:
    handle() = default;
    explicit operator bool() const noexcept { return held_ != nullptr; }
    /** The handle of C, still owned here. */
    T *get() const noexcept { return held_.get(); }
    /** The handle of C, no longer owned here. */
    T *release() noexcept { return held_.release(); }
    /** Frees it now. */
    void reset() noexcept { held_.reset(); }

protected:
    explicit handle(T *raw) noexcept : held_(raw) {}

private:
    struct end {
        void operator()(T *raw) const noexcept { Free(raw); }
    };
    std::unique_ptr<T, end> held_;
};

template <class F> void destroy(void *data) noexcept
{
    delete static_cast<F *>(data);
}

} // namespace detail

/** The version of the loaded library, as "0.1.0". */
inline const char *version() noexcept { return pdtp_version_string(); }

/** A part of a URI: see pdtp_uri_part. */
inline result<std::string> uri_part(const std::string &uri, const char *part)
{
    return detail::text([&](char *to, std::size_t size) { return pdtp_uri_part(uri.c_str(), part, to, size); });
}

/** A URI of its parts: see pdtp_uri_format. */
inline result<std::string> uri_format(const std::string &host, std::uint16_t port, const std::string &path)
{
    return detail::text([&](char *to, std::size_t size) {
        return pdtp_uri_format(to, size, host.c_str(), port, path.c_str());
    });
}

/* ------------------------------------------------------------------------------------------- Configuration */

/** Settings of a client: pdtp_config. */
class config : public detail::handle<pdtp_config, pdtp_config_free> {
public:
    config() : handle(pdtp_config_new()) {}

    /** Sets an option by its name. */
    result<void> set(const char *name, const std::string &value)
    {
        return detail::checked(pdtp_config_set(get(), name, value.c_str()));
    }
    /** The value of an option. */
    result<std::string> option(const char *name) const
    {
        return detail::text([&](char *to, std::size_t size) { return pdtp_config_get(get(), name, to, size); });
    }
    /** PDTP_DISPATCH_* */
    result<void> dispatch(int mode) { return detail::checked(pdtp_config_set_dispatch(get(), mode)); }
    /** Bytes a second; 0 is no limit. */
    result<void> rates(std::uint64_t down, std::uint64_t up)
    {
        return detail::checked(pdtp_config_set_rates(get(), down, up));
    }
    /** PDTP_SEEDING_* */
    result<void> seeding(int mode) { return detail::checked(pdtp_config_set_seeding(get(), mode)); }
    /** Trusts a key or a certificate, in PEM. */
    result<void> add_key(const std::string &pem, const char *label = nullptr)
    {
        return detail::checked(pdtp_config_add_key(get(), pem.data(), pem.size(), label));
    }
    /** Names the trust file. */
    result<void> trust_store(const char *file) { return detail::checked(pdtp_config_set_trust_store(get(), file)); }
    /** PDTP_VERIFY_*, and who is asked: int(const pdtp_verdict &), answering PDTP_ANSWER_*. */
    template <class F> result<void> verify(int policy, F ask)
    {
        const auto call = [](const pdtp_verdict *verdict, void *data) noexcept -> int {
            return (*static_cast<F *>(data))(*verdict);
        };
        return detail::checked(
            pdtp_config_set_verify(get(), policy, call, new F(std::move(ask)), detail::destroy<F>));
    }
    /** PDTP_VERIFY_*; the policy decides. */
    result<void> verify(int policy)
    {
        return detail::checked(pdtp_config_set_verify(get(), policy, nullptr, nullptr, nullptr));
    }
};

/* ------------------------------------------------------------------------------------------------ Listings */

/** A line of a listing, borrowed from it: pdtp_entry. Cheap to copy. */
class entry {
public:
    explicit entry(const pdtp_entry *raw) noexcept : raw_(raw) {}

    const pdtp_entry *get() const noexcept { return raw_; }
    const char *name() const noexcept { return pdtp_entry_name(raw_); }
    /** For list, stat and download. */
    const char *path() const noexcept { return pdtp_entry_path(raw_); }
    bool is_dir() const noexcept { return pdtp_entry_type(raw_) == PDTP_ENTRY_DIR; }
    std::uint64_t size() const noexcept { return pdtp_entry_size(raw_); }
    /** Unix seconds, if the server told. */
    std::optional<std::int64_t> mtime() const noexcept
    {
        const auto time = pdtp_entry_mtime(raw_);
        return time == std::numeric_limits<std::int64_t>::min() ? std::nullopt : std::optional(time);
    }
    /** nullptr if there is none. */
    const char *root() const noexcept { return pdtp_entry_root(raw_); }
    /** nullptr if the server did not tell. */
    const char *mime() const noexcept { return pdtp_entry_mime(raw_); }
    bool is_signed() const noexcept { return pdtp_entry_signed(raw_) == 1; }

private:
    const pdtp_entry *raw_;
};

/** A directory as it was: pdtp_listing. A range of entries. */
class listing : public detail::handle<pdtp_listing, pdtp_listing_free> {
public:
    listing() = default;
    /** Takes a handle of C over. */
    static listing adopt(pdtp_listing *raw) noexcept { return listing(raw); }

    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = entry;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = entry;

        iterator(const pdtp_listing *of, std::size_t at) noexcept : of_(of), at_(at) {}
        entry operator*() const noexcept { return entry(pdtp_listing_entry(of_, at_)); }
        iterator &operator++() noexcept { return ++at_, *this; }
        iterator operator++(int) noexcept { return iterator(of_, at_++); }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const pdtp_listing *of_;
        std::size_t at_;
    };

    std::size_t size() const noexcept { return pdtp_listing_count(get()); }
    bool empty() const noexcept { return size() == 0; }
    /** `index` must be less than size(). */
    entry operator[](std::size_t index) const noexcept { return entry(pdtp_listing_entry(get(), index)); }
    iterator begin() const noexcept { return iterator(get(), 0); }
    iterator end() const noexcept { return iterator(get(), size()); }
    const char *path() const noexcept { return pdtp_listing_path(get()); }
    /** Whether this is all of the directory. */
    bool complete() const noexcept { return pdtp_listing_complete(get()) == 1; }

private:
    explicit listing(pdtp_listing *raw) noexcept : handle(raw) {}
};

/* --------------------------------------------------------------------------------------------------- Events */

/** Something that happened, borrowed from the library: pdtp_event. Pointers are nullptr for events of other types. */
class event {
public:
    explicit event(const pdtp_event *raw) noexcept : raw_(raw) {}

    explicit operator bool() const noexcept { return raw_ != nullptr; }
    const pdtp_event *get() const noexcept { return raw_; }
    /** PDTP_EVENT_* */
    int type() const noexcept { return pdtp_event_type(raw_); }
    /** Of the session, transfer or operation it is about. */
    std::uint64_t id() const noexcept { return pdtp_event_id(raw_); }
    void *user_data() const noexcept { return pdtp_event_user_data(raw_); }
    const pdtp_session_event *session() const noexcept { return pdtp_event_session(raw_); }
    const pdtp_listing_event *listing() const noexcept { return pdtp_event_listing(raw_); }
    /** The page of a listing, which outlives the event; empty if there is none. */
    pdtp::listing take_listing() const noexcept { return pdtp::listing::adopt(pdtp_event_take_listing(raw_)); }
    const pdtp_transfer_event *transfer() const noexcept { return pdtp_event_transfer(raw_); }
    const pdtp_done_event *done() const noexcept { return pdtp_event_done(raw_); }
    const pdtp_progress *progress() const noexcept { return pdtp_event_progress(raw_); }
    const pdtp_file_event *file() const noexcept { return pdtp_event_file(raw_); }
    const pdtp_peer_event *peer() const noexcept { return pdtp_event_peer(raw_); }
    const pdtp_notice_event *notice() const noexcept { return pdtp_event_notice(raw_); }
    const pdtp_overflow_event *overflow() const noexcept { return pdtp_event_overflow(raw_); }
    const pdtp_changed_event *changed() const noexcept { return pdtp_event_changed(raw_); }
    const pdtp_verdict *verdict() const noexcept { return pdtp_event_verdict(raw_); }

private:
    const pdtp_event *raw_;
};

/* ------------------------------------------------------------------------------------------------ Transfers */

/** A download that was started: pdtp_transfer. */
class transfer : public detail::handle<pdtp_transfer, pdtp_transfer_free> {
public:
    transfer() = default;
    /** Takes a handle of C over. */
    static transfer adopt(pdtp_transfer *raw) noexcept { return transfer(raw); }

    std::uint64_t id() const noexcept { return pdtp_transfer_id(get()); }
    /** PDTP_TRANSFER_* */
    int state() const noexcept { return pdtp_transfer_state(get()); }
    result<pdtp_progress> progress() const
    {
        pdtp_progress now{};
        const int code = pdtp_transfer_progress(get(), &now, sizeof now);
        return code < 0 ? result<pdtp_progress>(pdtp::error::last(code)) : result<pdtp_progress>(now);
    }
    /** Waits for its end. An error says why it did not end well. */
    result<void> wait(milliseconds time = forever)
    {
        return detail::checked(pdtp_transfer_wait(get(), detail::timeout(time)));
    }
    result<void> pause() { return detail::checked(pdtp_transfer_pause(get())); }
    result<void> resume() { return detail::checked(pdtp_transfer_resume(get())); }
    /** Ends it; what was verified stays on disk, unless PDTP_CANCEL_DELETE is given. */
    result<void> cancel(int what = PDTP_CANCEL_KEEP) { return detail::checked(pdtp_transfer_cancel(get(), what)); }

private:
    explicit transfer(pdtp_transfer *raw) noexcept : handle(raw) {}
};

/** A download to be started: pdtp_request. */
class request : public detail::handle<pdtp_request, pdtp_request_free> {
public:
    request() = default;
    /** Takes a handle of C over. */
    static request adopt(pdtp_request *raw) noexcept { return request(raw); }

    result<void> to_file(const std::string &name) { return detail::checked(pdtp_request_to_file(get(), name.c_str())); }
    result<void> to_dir(const std::string &name) { return detail::checked(pdtp_request_to_dir(get(), name.c_str())); }
    /**
     * In order and verified to a function of (std::uint64_t offset, const void *data, std::size_t length), which answers
     * PDTP_DATA_CONTINUE, PDTP_DATA_PAUSE or PDTP_DATA_ABORT.
     */
    template <class F> result<void> to_function(F take)
    {
        const auto call = [](std::uint64_t at, const void *data, std::size_t length, void *self) noexcept -> int {
            return (*static_cast<F *>(self))(at, data, length);
        };
        return detail::checked(pdtp_request_to_callback(get(), call, new F(std::move(take)), detail::destroy<F>));
    }
    result<void> set(const char *name, const std::string &value)
    {
        return detail::checked(pdtp_request_set(get(), name, value.c_str()));
    }
    /** Starts it, which uses the request up. `user_data` comes back in events. */
    result<transfer> start(void *user_data = nullptr)
    {
        pdtp_transfer *made = nullptr;
        const int code = pdtp_request_start(&made, release(), user_data);
        return code < 0 ? result<transfer>(pdtp::error::last(code)) : result<transfer>(transfer::adopt(made));
    }

private:
    explicit request(pdtp_request *raw) noexcept : handle(raw) {}
};

/* ------------------------------------------------------------------------------------------------- Sessions */

/** The link to a server: pdtp_session. */
class session : public detail::handle<pdtp_session, pdtp_session_free> {
public:
    session() = default;
    /** Takes a handle of C over. */
    static session adopt(pdtp_session *raw) noexcept { return session(raw); }

    std::uint64_t id() const noexcept { return pdtp_session_id(get()); }
    /** PDTP_SESSION_* */
    int state() const noexcept { return pdtp_session_state(get()); }
    /** Waits until it is ready; an error says why it is not. */
    result<void> wait(milliseconds time = forever)
    {
        return detail::checked(pdtp_session_wait(get(), detail::timeout(time)));
    }
    /** What it knows: see pdtp_session_info. */
    result<std::string> info(const char *key) const
    {
        return detail::text([&](char *to, std::size_t size) { return pdtp_session_info(get(), key, to, size); });
    }
    result<void> reconnect() { return detail::checked(pdtp_session_reconnect(get())); }

    /** Lists a directory, `depth` levels of it. Blocks. */
    result<listing> list(const std::string &path, int depth = 1, milliseconds time = forever)
    {
        pdtp_listing *made = nullptr;
        const int code = pdtp_list(&made, get(), path.c_str(), depth, detail::timeout(time));
        return code < 0 ? result<listing>(pdtp::error::last(code)) : result<listing>(listing::adopt(made));
    }
    /** Asks for one file or directory: a listing of one entry. Blocks. */
    result<listing> stat(const std::string &path, milliseconds time = forever)
    {
        pdtp_listing *made = nullptr;
        const int code = pdtp_stat(&made, get(), path.c_str(), detail::timeout(time));
        return code < 0 ? result<listing>(pdtp::error::last(code)) : result<listing>(listing::adopt(made));
    }
    /** Downloads a file, or, if `path` ends in "/", a tree into a directory. `user_data` comes back in events. */
    result<transfer> download(const std::string &path, const std::string &local, void *user_data = nullptr)
    {
        pdtp_transfer *made = nullptr;
        const int code = pdtp_download(&made, get(), path.c_str(), local.c_str(), user_data);
        return code < 0 ? result<transfer>(pdtp::error::last(code)) : result<transfer>(transfer::adopt(made));
    }
    /** Begins to describe a download. */
    result<pdtp::request> request(const std::string &path)
    {
        pdtp_request *made = nullptr;
        const int code = pdtp_request_new(&made, get(), path.c_str());
        return code < 0 ? result<pdtp::request>(pdtp::error::last(code))
                        : result<pdtp::request>(pdtp::request::adopt(made));
    }

private:
    explicit session(pdtp_session *raw) noexcept : handle(raw) {}
};

/* -------------------------------------------------------------------------------------------------- Clients */

/** Threads, listener and queue of events: pdtp_client. */
class client : public detail::handle<pdtp_client, pdtp_client_free> {
public:
    client() = default;
    /** Takes a handle of C over. */
    static client adopt(pdtp_client *raw) noexcept { return client(raw); }

    /** Makes a client with settings as they come. */
    static result<client> make() { return make_with(nullptr); }
    /** Makes a client; the settings are copied. */
    static result<client> make(const config &settings) { return make_with(settings.get()); }

    /** Begins to connect to a server; nothing needs to wait for it. `user_data` comes back in events. */
    result<session> open(const std::string &uri, void *user_data = nullptr)
    {
        pdtp_session *made = nullptr;
        const int code = pdtp_session_open(&made, get(), uri.c_str(), user_data);
        return code < 0 ? result<session>(pdtp::error::last(code)) : result<session>(session::adopt(made));
    }
    /** Changes an option at run time. */
    result<void> set(const char *name, const std::string &value)
    {
        return detail::checked(pdtp_client_set(get(), name, value.c_str()));
    }
    result<pdtp_stats> stats() const
    {
        pdtp_stats now{};
        const int code = pdtp_client_stats(get(), &now, sizeof now);
        return code < 0 ? result<pdtp_stats>(pdtp::error::last(code)) : result<pdtp_stats>(now);
    }

    /** Gives each event to void(pdtp::event), where dispatch() is called. Set it before the first session. */
    template <class F> result<void> on_event(F call)
    {
        const auto pass = [](const pdtp_event *raw, void *data) noexcept { (*static_cast<F *>(data))(event(raw)); };
        return detail::checked(
            pdtp_client_set_event_callback(get(), pass, new F(std::move(call)), detail::destroy<F>));
    }
    /** Calls void() on a thread of the library when events wait. It may call nothing of the library. */
    template <class F> result<void> on_wakeup(F call)
    {
        const auto pass = [](void *data) noexcept { (*static_cast<F *>(data))(); };
        return detail::checked(pdtp_client_set_wakeup(get(), pass, new F(std::move(call)), detail::destroy<F>));
    }
    /** Calls the callbacks for what waits, after waiting up to `time` for the first; how many there were. */
    result<int> dispatch(milliseconds time = forever, int max = 0)
    {
        const int count = pdtp_client_dispatch(get(), max, detail::timeout(time));
        return count < 0 ? result<int>(pdtp::error::last(count)) : result<int>(count);
    }
    /** Takes the next event, valid until the next call; an empty one if none came in time. */
    event next_event(milliseconds time = forever)
    {
        return event(pdtp_client_next_event(get(), detail::timeout(time)));
    }
    /** PDTP_EVENT_*, on or off. */
    result<void> enable_event(int type, bool on) { return detail::checked(pdtp_client_enable_event(get(), type, on)); }
    /** For poll() and the like; readable while events wait. -1 of an empty handle. */
    pdtp_fd event_fd() const noexcept { return pdtp_client_event_fd(get()); }
    /** Wakes whoever waits in a function of this client. Also for signal handlers. */
    void interrupt() const noexcept { static_cast<void>(pdtp_client_interrupt(get())); }
    /** Answers a PDTP_EVENT_DECISION: PDTP_ANSWER_*. */
    result<void> decide(std::uint64_t decision, int answer)
    {
        return detail::checked(pdtp_decide(get(), decision, answer));
    }

private:
    explicit client(pdtp_client *raw) noexcept : handle(raw) {}

    static result<client> make_with(const pdtp_config *settings)
    {
        pdtp_client *made = nullptr;
        const int code = pdtp_client_new(&made, settings);
        return code < 0 ? result<client>(pdtp::error::last(code)) : result<client>(client::adopt(made));
    }
};

} // namespace pdtp

#endif /* PDTP_HPP */
