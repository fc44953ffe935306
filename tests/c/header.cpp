/*
 * pdtp.hpp against a real server: header URI DIR
 */
#include <pdtp.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#define CHECK(condition) check(static_cast<bool>(condition), #condition, __LINE__)

namespace {

void check(bool good, const char *what, int line)
{
    if (!good) {
        std::fprintf(stderr, "header.cpp:%d: %s does not hold (last error: %s)\n", line, what,
                     pdtp::error::last().message().c_str());
        std::exit(1);
    }
}

template <class T> constexpr bool moves_only =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;

static_assert(moves_only<pdtp::config> && moves_only<pdtp::client> && moves_only<pdtp::session>);
static_assert(moves_only<pdtp::reader> && moves_only<pdtp::share> && moves_only<pdtp::unfinished>);
static_assert(moves_only<pdtp::request> && moves_only<pdtp::transfer> && moves_only<pdtp::listing>);
static_assert(sizeof(pdtp::client) == sizeof(void *) && sizeof(pdtp::entry) == sizeof(void *));

void results()
{
    pdtp::result<std::string> good(std::string("text")), bad(pdtp::error(PDTP_E_BUSY, "later"));
    CHECK(good && good.has_value() && *good == "text" && good->size() == 4 && good.value() == "text");
    CHECK(good.error().code() == PDTP_OK);
    CHECK(!bad && bad.error().code() == PDTP_E_BUSY && bad.error().message() == "later");
    CHECK(std::strcmp(bad.error().name(), "PDTP_E_BUSY") == 0);
    CHECK(std::move(bad).value_or("other") == "other");
    const auto length = [](std::string text) { return pdtp::result<std::size_t>(text.size()); };
    CHECK(*pdtp::result<std::string>(std::string("abc")).and_then(length) == 3);
    CHECK(pdtp::result<std::string>(pdtp::error(PDTP_E_LOST, "")).and_then(length).error().code() == PDTP_E_LOST);
    pdtp::result<void> fine, wrong(pdtp::error(PDTP_E_DENIED, "no"));
    fine.value();
    CHECK(fine && !wrong && wrong.error().code() == PDTP_E_DENIED);
    /* What can only be moved can be moved out. */
    pdtp::result<std::unique_ptr<int>> only(std::make_unique<int>(7));
    std::unique_ptr<int> taken = *std::move(only);
    CHECK(*taken == 7);
#if defined(__cpp_exceptions)
    try {
        wrong.value();
        CHECK(false);
    } catch (const pdtp::failure &failure) {
        CHECK(failure.error().code() == PDTP_E_DENIED && std::strcmp(failure.what(), "no") == 0);
    }
#endif
}

void empty_handles()
{
    pdtp::client client;
    CHECK(!client && client.open("pdtp://127.0.0.1/").error().code() == PDTP_E_NULL && client.event_fd() == -1);
    CHECK(!pdtp::session().list("/") && !pdtp::transfer().wait() && pdtp::listing().empty());
    client.interrupt();
    CHECK(pdtp::uri_part("http://x/", "host").error().code() == PDTP_E_ARGUMENT);
    CHECK(*pdtp::uri_part("pdtp://host/a%20b", "name") == "a b");
    CHECK(*pdtp::uri_format("host", 0, "/a b") == "pdtp://host/a%20b");
    CHECK(pdtp::fingerprint("no key").error().code() == PDTP_E_ARGUMENT);
    CHECK(pdtp::version_number() == PDTP_VERSION_NUMBER && !pdtp::has_feature("nonsense"));
    CHECK(pdtp::reader().read(nullptr, 0).error().code() == PDTP_E_NULL && pdtp::reader().tell().error().code() != 0);
    CHECK(pdtp::share().error().code() == PDTP_E_NULL && pdtp::unfinished().empty());
    CHECK(!pdtp::session().watch("/") && !pdtp::client().metrics() && !pdtp::client().unfinished());
    CHECK(pdtp::event(nullptr).answer(PDTP_DATA_CONTINUE).error().code() == PDTP_E_NULL);
    int options = 0;
    pdtp::for_each_option([&options](const pdtp_option &option) {
        CHECK(option.name && option.help);
        options++;
    });
    CHECK(options > 10);
    /* Longer than any buffer one would guess. */
    std::string path;
    for (int depth = 0; depth < 15; depth++) {
        path += '/' + std::string(200, 'x');
    }
    CHECK(*pdtp::uri_part("pdtp://host" + path, "path") == path);
}

void config()
{
    pdtp::config config;
    CHECK(config.set("limit_down", "2M") && *config.option("limit_down") != "");
    const auto wrong = config.set("limt_down", "2M").error();
    CHECK(wrong.code() == PDTP_E_OPTION && wrong.message().find("limit_down") != std::string::npos);
    CHECK(config.seeding(PDTP_SEEDING_OFF) && config.rates(0, 0) && config.dispatch(PDTP_DISPATCH_QUEUE));
    CHECK(config.add_key("no key").error().code() == PDTP_E_ARGUMENT);
    pdtp::config moved = std::move(config);
    CHECK(moved && !config && pdtp::client::make(moved));
}

/* Counts how often what a callback holds is destroyed. */
struct held {
    explicit held(int *count) : count_(count) {}
    held(held &&other) noexcept : count_(std::exchange(other.count_, nullptr)) {}
    ~held()
    {
        if (count_) {
            ++*count_;
        }
    }
    int *count_;
};

void transfers(const std::string &uri, const std::string &dir)
{
    int events_destroyed = 0, data_destroyed = 0, done = 0;
    std::vector<char> bytes;
    {
        auto client = pdtp::client::make();
        CHECK(client);
        auto on_event = [&done, held = held(&events_destroyed)](pdtp::event event) {
            CHECK(event && event.type() != 0);
            if (const auto *end = event.done()) {
                CHECK(!event.progress() && event.id() == end->transfer && end->code == 0);
                CHECK(*static_cast<int *>(event.user_data()) == 5);
                done++;
            }
        };
        static_assert(!std::is_copy_constructible_v<decltype(on_event)>);
        CHECK(client->on_event(std::move(on_event)));
        auto session = client->open(uri);
        CHECK(session && session->wait(pdtp::milliseconds(60000)));
        CHECK(session->state() == PDTP_SESSION_READY && *session->info("host") == "127.0.0.1");
        CHECK(session->info("nonsense").error().code() == PDTP_E_OPTION);

        auto listing = session->list("/");
        CHECK(listing && listing->complete() && !listing->empty());
        std::size_t count = 0;
        for (auto entry : *listing) {
            CHECK(entry.name() && entry.path() && (*listing)[count].get() == entry.get());
            CHECK(entry.is_dir() || entry.mtime());
            count++;
        }
        CHECK(count == listing->size() && count == 4);
        CHECK(session->stat("/missing").error().code() == PDTP_E_NOT_FOUND);
        CHECK((*session->stat("/small"))[0].size() == 300);

        int five = 5;
        auto request = session->request("/file.bin");
        CHECK(request && request->set("overwrite", "never"));
        CHECK(request->to_function([&bytes, held = held(&data_destroyed)](std::uint64_t at, const void *data,
                                                                          std::size_t length) {
            CHECK(at == bytes.size());
            const char *from = static_cast<const char *>(data);
            bytes.insert(bytes.end(), from, from + length);
            return static_cast<int>(PDTP_DATA_CONTINUE);
        }));
        auto transfer = request->start(&five);
        CHECK(transfer && transfer->id() != 0 && !*request);
        CHECK(request->start().error().code() == PDTP_E_NULL);
        while (!done) {
            CHECK(client->dispatch(pdtp::milliseconds(60000)));
        }
        CHECK(transfer->state() == PDTP_TRANSFER_DONE && transfer->progress()->done == 900000);
        CHECK(bytes.size() == 900000 && data_destroyed == 1);

        auto file = session->download("/small", dir + "/small", &five);
        CHECK(file && file->wait(pdtp::milliseconds(60000)) && file->cancel());
        CHECK(client->stats()->active_transfers == 0 && events_destroyed == 0);
        /* In the wrong order, which is fine. */
        client->reset();
        CHECK(session->reconnect().error().code() == PDTP_E_STATE);
    }
    CHECK(events_destroyed == 1);
}

/* What is beside downloads: reading, sharing, cache, log, unfinished downloads, changes. */
void the_rest(const std::string &uri, const std::string &dir)
{
    int lines = 0, lines_destroyed = 0;
    {
        pdtp::config config;
        CHECK(config.dirs(nullptr, (dir + "/state").c_str()) && config.seeding(PDTP_SEEDING_ALWAYS));
        CHECK(config.set("allow_private", "yes"));
        CHECK(config.log(PDTP_LOG_INFO, [&lines, held = held(&lines_destroyed)](int level, const char *target,
                                                                                 const char *line) {
            CHECK(level >= PDTP_LOG_ERROR && level <= PDTP_LOG_INFO && *target && *line);
            lines++;
        }));
        auto client = pdtp::client::make(config);
        CHECK(client && client->on_event([](pdtp::event) {}));
        auto session = client->open(uri);
        CHECK(session && session->wait(pdtp::milliseconds(60000)) && session->error().code() == PDTP_OK);

        auto reader = session->open("/file.bin");
        CHECK(reader && *reader->size() == 900000 && *reader->seek(-5, PDTP_SEEK_END) == 899995);
        char bytes[16];
        std::size_t count = 0;
        while (const std::size_t some = *reader->read(bytes + count, sizeof bytes - count)) {
            count += some;
        }
        CHECK(count == 5 && *reader->tell() == 900000 && reader->buffered()->second == 900000);
        CHECK(reader->window(0) && reader->cancel());
        CHECK(reader->read(bytes, 1).error().code() == PDTP_E_CANCELLED);
        CHECK(session->open("/missing").error().code() == PDTP_E_NOT_FOUND);

        auto listing = session->list("/", 1 | PDTP_LIST_RICH);
        CHECK(listing && listing->rdl()->find("rdl") != std::string_view::npos);
        for (auto entry : *listing) {
            CHECK(!entry.attr("dc.nonsense"));
            entry.for_each_attr([](const char *name, const char *value) { CHECK(name && value); });
        }
        CHECK(!session->list("/")->rdl());

        auto file = session->download("/file.bin", dir + "/the_rest");
        CHECK(file && file->rate(1 << 30) && file->priority(PDTP_PRIORITY_HIGH));
        CHECK(file->wait(pdtp::milliseconds(60000)) && file->error().code() == PDTP_OK);
        CHECK(client->cache()->files == 1 && session->pin("/file.bin") && client->purge());
        CHECK(client->cache()->files == 1 && session->pin("/file.bin", false) && client->purge());
        CHECK(client->cache()->files == 0);
        CHECK(client->metrics()->find("# TYPE") != std::string::npos);

        auto share = session->share("/file.bin", dir + "/the_rest");
        CHECK(share && share->id() != 0);
        while (share->state() == PDTP_SHARE_CHECKING) {
            CHECK(client->dispatch(pdtp::milliseconds(100)));
        }
        CHECK(share->state() == PDTP_SHARE_OFFERED && share->error().code() == PDTP_OK);
        CHECK(client->cache()->shares == 1);

        CHECK(client->unfinished()->empty());
        auto slow = session->request("/file.bin");
        CHECK(slow && slow->to_file(dir + "/slow") && slow->set("rate", "1"));
        auto under_way = slow->start();
        CHECK(under_way);
        auto list = client->unfinished();
        while (list->empty()) {
            CHECK(client->dispatch(pdtp::milliseconds(100)));
            list = client->unfinished();
        }
        CHECK(list->size() == 1);
        for (const auto &one : *list) {
            CHECK(std::string(one.uri).find("/file.bin") != std::string::npos && one.active == 1);
            CHECK(client->resume(one.id).error().code() == PDTP_E_LOCKED);
            CHECK(client->forget("nonsense").error().code() == PDTP_E_NOT_FOUND);
        }
        CHECK(under_way->cancel(PDTP_CANCEL_DELETE));

        auto watch = session->watch("/");
        CHECK(watch && *watch != 0 && session->unwatch(*watch));
        CHECK(session->start_list("/") && session->start_stat("/small"));
        CHECK(client->dispatch(pdtp::milliseconds(0)));
    }
    CHECK(lines > 0 && lines_destroyed == 1);
}

} // namespace

int main(int argc, char **argv)
{
    CHECK(argc == 3 && std::string(pdtp::version()) == PDTP_VERSION_STRING);
    results();
    empty_handles();
    config();
    transfers(argv[1], argv[2]);
    the_rest(argv[1], argv[2]);
    return 0;
}
