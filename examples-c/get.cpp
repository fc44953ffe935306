/*
 * get.cpp - downloads a file or a directory, with a line of progress, in C++17
 *
 *     get URI [FILE|DIR]
 *
 * A URI that ends in "/" means a directory with all below it.
 *
 *     c++ -std=c++17 get.cpp -o get $(pkg-config --cflags --libs pdtp)
 */

#include <pdtp.hpp>

#include <cstdio>
#include <optional>
#include <string>

namespace {

int complain(const pdtp::error &why)
{
    std::fprintf(stderr, "get: %s (%s)\n", why.message().c_str(), why.name());
    return 1;
}

void print(const pdtp_progress &p)
{
    constexpr double mib = 1024.0 * 1024.0;
    std::fprintf(stderr, "\r%8.1f of %.1f MiB, %6.1f MiB/s  ", static_cast<double>(p.done) / mib,
                 static_cast<double>(p.total) / mib, static_cast<double>(p.rate) / mib);
}

} // namespace

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        std::fprintf(stderr, "usage: get URI [FILE|DIR]\n");
        return 2;
    }
    const std::string uri = argv[1];
    auto name = pdtp::uri_part(uri, "name"); // The last component of the path: safe as a local name.
    if (!name) {
        return complain(name.error());
    }
    const std::string local = argc > 2 ? argv[2] : name->empty() ? "." : *name;

    auto client = pdtp::client::make();
    if (!client) {
        return complain(client.error());
    }
    std::optional<pdtp::error> ended; // With code 0 if all is well.
    const auto on_event = [&ended](pdtp::event event) {
        if (const auto *progress = event.progress()) {
            print(*progress);
        }
        if (const auto *done = event.done()) {
            print(*done->progress);
            std::fputc('\n', stderr);
            ended = pdtp::error(done->code, done->message ? done->message : "");
        }
    };
    if (auto set = client->on_event(on_event); !set) {
        return complain(set.error());
    }
    auto session = client->open(uri);
    if (!session) {
        return complain(session.error());
    }
    auto transfer = session->download(uri, local);
    if (!transfer) {
        return complain(transfer.error());
    }
    while (!ended) {
        if (auto count = client->dispatch(); !count) {
            return complain(count.error());
        }
    }
    return ended->code() < 0 ? complain(*ended) : 0;
} // Transfer, session and client end here by themselves.
