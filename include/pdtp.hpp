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
#include <string_view>
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

/** What `copy` answers and writes, as an error. */
template <class Copy> error why(Copy copy)
{
    char text[1024] = "";
    const int code = copy(text, sizeof text);
    return error(code, text);
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

/** The version of the loaded library as a number: see pdtp_version_number. */
inline std::uint32_t version_number() noexcept { return pdtp_version_number(); }

/** Whether the loaded library can do something: see pdtp_has_feature. */
inline bool has_feature(const char *name) noexcept { return pdtp_has_feature(name) == 1; }

/** The fingerprint of a key or certificate in PEM, as in "#key=" of a URI. */
inline result<std::string> fingerprint(const std::string &pem)
{
    return detail::text([&](char *to, std::size_t size) { return pdtp_fingerprint(pem.c_str(), to, size); });
}

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
    /** Where streams and the list of unfinished downloads live; nullptr leaves one as it is. */
    result<void> dirs(const char *cache, const char *state)
    {
        return detail::checked(pdtp_config_set_dirs(get(), cache, state));
    }
    /** PDTP_LOG_*, and who is told: void(int level, const char *target, const char *line). */
    template <class F> result<void> log(int level, F tell)
    {
        const auto call = [](int at, const char *target, const char *line, void *data) noexcept {
            (*static_cast<F *>(data))(at, target, line);
        };
        return detail::checked(
            pdtp_config_set_log(get(), level, call, new F(std::move(tell)), detail::destroy<F>));
    }
    /** PDTP_LOG_*; the lines come as events, if those are turned on. */
    result<void> log(int level) { return detail::checked(pdtp_config_set_log(get(), level, nullptr, nullptr, nullptr)); }
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

/** Calls void(const pdtp_option &) for each option that there is. */
template <class F> void for_each_option(F call)
{
    std::size_t index = 0;
    while (const pdtp_option *option = pdtp_config_option_at(index++)) {
        call(*option);
    }
}

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
    /** The first value of an attribute, as "dc.title": see pdtp_entry_attr. nullptr if there is none. */
    const char *attr(const char *name) const noexcept { return pdtp_entry_attr(raw_, name); }
    /** Calls void(const char *name, const char *value) for each value of each attribute. */
    template <class F> void for_each_attr(F call) const
    {
        const char *name = nullptr;
        std::size_t index = 0;
        while (const char *value = pdtp_entry_attr_at(raw_, index++, &name)) {
            call(name, value);
        }
    }

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
    /** As RDL, borrowed from the listing: see pdtp_listing_rdl. */
    result<std::string_view> rdl() const
    {
        const char *text = nullptr;
        std::size_t length = 0;
        const int code = pdtp_listing_rdl(get(), &text, &length);
        return code < 0 ? result<std::string_view>(pdtp::error::last(code))
                        : result<std::string_view>(std::string_view(text, length));
    }

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
    const pdtp_reading_event *reading() const noexcept { return pdtp_event_reading(raw_); }
    const pdtp_transfer_event *transfer() const noexcept { return pdtp_event_transfer(raw_); }
    const pdtp_done_event *done() const noexcept { return pdtp_event_done(raw_); }
    const pdtp_progress *progress() const noexcept { return pdtp_event_progress(raw_); }
    const pdtp_file_event *file() const noexcept { return pdtp_event_file(raw_); }
    const pdtp_peer_event *peer() const noexcept { return pdtp_event_peer(raw_); }
    const pdtp_notice_event *notice() const noexcept { return pdtp_event_notice(raw_); }
    const pdtp_overflow_event *overflow() const noexcept { return pdtp_event_overflow(raw_); }
    const pdtp_changed_event *changed() const noexcept { return pdtp_event_changed(raw_); }
    const pdtp_verdict *verdict() const noexcept { return pdtp_event_verdict(raw_); }
    const pdtp_data_event *data() const noexcept { return pdtp_event_data(raw_); }
    const pdtp_share_event *share() const noexcept { return pdtp_event_share(raw_); }
    const pdtp_log_event *log() const noexcept { return pdtp_event_log(raw_); }
    /** What becomes of a stream after these bytes: PDTP_DATA_*. */
    result<void> answer(int what) const { return detail::checked(pdtp_event_answer(raw_, what)); }

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
    /** Bytes a second at most; 0 is no limit of its own. */
    result<void> rate(std::uint64_t down) { return detail::checked(pdtp_transfer_set_rate(get(), down)); }
    /** PDTP_PRIORITY_* */
    result<void> priority(int which) { return detail::checked(pdtp_transfer_set_priority(get(), which)); }
    /** Why it failed; code 0 if it has not. */
    pdtp::error error() const
    {
        return detail::why([&](char *to, std::size_t size) { return pdtp_transfer_error(get(), to, size); });
    }

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
    /** In order and verified as events (event::data), for those who take them by client::next_event. */
    result<void> to_events() { return detail::checked(pdtp_request_to_events(get())); }
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

/* -------------------------------------------------------------------------------------------------- Readers */

/** A file that is read while it comes: pdtp_reader. */
class reader : public detail::handle<pdtp_reader, pdtp_reader_free> {
public:
    reader() = default;
    /** Takes a handle of C over. */
    static reader adopt(pdtp_reader *raw) noexcept { return reader(raw); }

    /** Some bytes from where it is, at least one; 0 at the end. PDTP_E_AGAIN if none came in time. */
    result<std::size_t> read(void *to, std::size_t size, milliseconds time = forever)
    {
        const auto length = pdtp_reader_read_timeout(get(), to, size, detail::timeout(time));
        return length < 0 ? result<std::size_t>(pdtp::error::last(static_cast<int>(length)))
                          : result<std::size_t>(static_cast<std::size_t>(length));
    }
    /** Goes elsewhere: PDTP_SEEK_*. The new place. */
    result<std::uint64_t> seek(std::int64_t offset, int whence = PDTP_SEEK_SET)
    {
        return place(pdtp_reader_seek(get(), offset, whence));
    }
    result<std::uint64_t> tell() const { return place(pdtp_reader_tell(get())); }
    result<std::uint64_t> size() const { return place(pdtp_reader_size(get())); }
    /** Ends reading for good, from any thread. */
    result<void> cancel() { return detail::checked(pdtp_reader_cancel(get())); }
    /** Bytes fetched ahead. */
    result<void> window(std::int64_t bytes) { return detail::checked(pdtp_reader_set_window(get(), bytes)); }
    /** From and up to where it can be read without waiting. */
    result<std::pair<std::uint64_t, std::uint64_t>> buffered() const
    {
        std::pair<std::uint64_t, std::uint64_t> range{0, 0};
        const int code = pdtp_reader_buffered(get(), &range.first, &range.second);
        return code < 0 ? result<std::pair<std::uint64_t, std::uint64_t>>(pdtp::error::last(code)) : range;
    }

private:
    explicit reader(pdtp_reader *raw) noexcept : handle(raw) {}

    static result<std::uint64_t> place(std::int64_t at)
    {
        return at < 0 ? result<std::uint64_t>(pdtp::error::last(static_cast<int>(at)))
                      : result<std::uint64_t>(static_cast<std::uint64_t>(at));
    }
};

/* --------------------------------------------------------------------------------------------------- Shares */

/** A local file that is given to others: pdtp_share. */
class share : public detail::handle<pdtp_share, pdtp_share_free> {
public:
    share() = default;
    /** Takes a handle of C over. */
    static share adopt(pdtp_share *raw) noexcept { return share(raw); }

    std::uint64_t id() const noexcept { return pdtp_share_id(get()); }
    /** PDTP_SHARE_* */
    int state() const noexcept { return pdtp_share_state(get()); }
    /** Why it failed; code 0 if it has not. */
    pdtp::error error() const
    {
        return detail::why([&](char *to, std::size_t size) { return pdtp_share_error(get(), to, size); });
    }

private:
    explicit share(pdtp_share *raw) noexcept : handle(raw) {}
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
    /** Why it is lost or was refused; code 0 if nothing is wrong. */
    pdtp::error error() const
    {
        return detail::why([&](char *to, std::size_t size) { return pdtp_session_error(get(), to, size); });
    }

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
    /** Lists a directory by events (event::take_listing); the number that is in them. */
    result<std::uint64_t> start_list(const std::string &path, int depth = 1, void *user_data = nullptr)
    {
        std::uint64_t op = 0;
        const int code = pdtp_list_start(&op, get(), path.c_str(), depth, user_data);
        return code < 0 ? result<std::uint64_t>(pdtp::error::last(code)) : op;
    }
    /** Asks for one file or directory; the answer is an event. */
    result<std::uint64_t> start_stat(const std::string &path, void *user_data = nullptr)
    {
        std::uint64_t op = 0;
        const int code = pdtp_stat_start(&op, get(), path.c_str(), user_data);
        return code < 0 ? result<std::uint64_t>(pdtp::error::last(code)) : op;
    }
    /** Has changes at or below `path` told by events (event::changed); the number for unwatch. */
    result<std::uint64_t> watch(const std::string &path, void *user_data = nullptr)
    {
        std::uint64_t op = 0;
        const int code = pdtp_watch_start(&op, get(), path.c_str(), user_data);
        return code < 0 ? result<std::uint64_t>(pdtp::error::last(code)) : op;
    }
    result<void> unwatch(std::uint64_t op) { return detail::checked(pdtp_watch_stop(get(), op)); }
    /** Opens a file to be read while it comes. Blocks until it is known what it is. */
    result<reader> open(const std::string &path, milliseconds time = forever)
    {
        pdtp_reader *made = nullptr;
        const int code = pdtp_reader_open(&made, get(), path.c_str(), detail::timeout(time));
        return code < 0 ? result<reader>(pdtp::error::last(code)) : result<reader>(reader::adopt(made));
    }
    /** Gives a local file to others as `path`, for as long as the share lives. */
    result<pdtp::share> share(const std::string &path, const std::string &local, void *user_data = nullptr)
    {
        pdtp_share *made = nullptr;
        const int code = pdtp_share_add(&made, get(), path.c_str(), local.c_str(), user_data);
        return code < 0 ? result<pdtp::share>(pdtp::error::last(code)) : result<pdtp::share>(pdtp::share::adopt(made));
    }
    /** Whether what is given of a file after its download is kept whatever the bounds. */
    result<void> pin(const std::string &path, bool on = true)
    {
        return detail::checked(pdtp_cache_pin(get(), path.c_str(), on));
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

/* ---------------------------------------------------------------------------------------- Unfinished downloads */

/** Downloads that have not come to their end: pdtp_resume. A range of pdtp_unfinished. */
class unfinished : public detail::handle<pdtp_resume, pdtp_resume_free> {
public:
    unfinished() = default;
    /** Takes a handle of C over. */
    static unfinished adopt(pdtp_resume *raw) noexcept { return unfinished(raw); }

    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = pdtp_unfinished;
        using difference_type = std::ptrdiff_t;
        using pointer = const pdtp_unfinished *;
        using reference = const pdtp_unfinished &;

        iterator(const pdtp_resume *of, std::size_t at) noexcept : of_(of), at_(at) {}
        reference operator*() const noexcept { return *pdtp_resume_at(of_, at_); }
        pointer operator->() const noexcept { return pdtp_resume_at(of_, at_); }
        iterator &operator++() noexcept { return ++at_, *this; }
        iterator operator++(int) noexcept { return iterator(of_, at_++); }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const pdtp_resume *of_;
        std::size_t at_;
    };

    std::size_t size() const noexcept { return pdtp_resume_count(get()); }
    bool empty() const noexcept { return size() == 0; }
    iterator begin() const noexcept { return iterator(get(), 0); }
    iterator end() const noexcept { return iterator(get(), size()); }

private:
    explicit unfinished(pdtp_resume *raw) noexcept : handle(raw) {}
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

    /** What is given to others after its download. */
    result<pdtp_cache_info> cache() const
    {
        pdtp_cache_info now{};
        const int code = pdtp_cache_stats(get(), &now, sizeof now);
        return code < 0 ? result<pdtp_cache_info>(pdtp::error::last(code)) : result<pdtp_cache_info>(now);
    }
    /** Gives up what is given after its download, but for `keep` bytes. Blocks for a moment. */
    result<void> purge(std::uint64_t keep = 0) { return detail::checked(pdtp_cache_purge(get(), keep)); }
    /** The totals as text for Prometheus. */
    result<std::string> metrics() const
    {
        char *raw = nullptr;
        const int code = pdtp_metrics(&raw, get());
        if (code < 0) {
            return pdtp::error::last(code);
        }
        const std::unique_ptr<char, void (*)(char *)> text(raw, pdtp_string_free);
        return std::string(text.get());
    }
    /** Downloads that have not come to their end, of earlier runs, too. */
    result<pdtp::unfinished> unfinished() const
    {
        pdtp_resume *made = nullptr;
        const int code = pdtp_resume_list(&made, get());
        return code < 0 ? result<pdtp::unfinished>(pdtp::error::last(code))
                        : result<pdtp::unfinished>(pdtp::unfinished::adopt(made));
    }
    /** Goes on with one of them. */
    result<transfer> resume(const char *id, void *user_data = nullptr)
    {
        pdtp_transfer *made = nullptr;
        const int code = pdtp_resume_start(&made, get(), id, user_data);
        return code < 0 ? result<transfer>(pdtp::error::last(code)) : result<transfer>(transfer::adopt(made));
    }
    /** Takes one of them off the list; PDTP_CANCEL_* says what becomes of what is there. */
    result<void> forget(const char *id, int what = PDTP_CANCEL_KEEP)
    {
        return detail::checked(pdtp_resume_forget(get(), id, what));
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
