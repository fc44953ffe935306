/*
 * qt_loop.cpp - the library inside the event loop of Qt
 *
 *     qt_loop URI FILE
 *
 * A QSocketNotifier watches the library's descriptor: no thread, no lock, no queued connection, and every callback is
 * called from the event loop, where widgets may be touched. No moc is needed.
 *
 *     c++ -std=c++17 qt_loop.cpp -o qt_loop $(pkg-config --cflags --libs pdtp Qt6Core)
 */

#include <pdtp.hpp>

#include <QCoreApplication>
#include <QSocketNotifier>
#include <QString>
#include <QTextStream>
#include <QTimer>

namespace {

int complain(const pdtp::error &why)
{
    QTextStream(stderr) << "qt_loop: " << QString::fromStdString(why.message()) << " (" << why.name() << ")\n";
    return 1;
}

} // namespace

int main(int argc, char **argv)
{
    QCoreApplication application(argc, argv);
    QTextStream out(stdout);

    if (argc != 3) {
        QTextStream(stderr) << "usage: qt_loop URI FILE\n";
        return 2;
    }
    auto client = pdtp::client::make();
    if (!client) {
        return complain(client.error());
    }

    pdtp_progress progress{};
    const auto draw = [&out, &progress] {
        const auto percent = progress.total ? progress.done * 100 / progress.total : 0;
        out << '\r' << QString::number(percent).rightJustified(3) << '%' << Qt::flush;
    };
    const auto on_event = [&](pdtp::event event) {
        if (const auto *numbers = event.progress()) {
            progress = *numbers;
        }
        if (const auto *done = event.done()) {
            progress = *done->progress;
            draw();
            out << ' ' << (done->code < 0 ? pdtp_error_name(done->code) : "done") << '\n' << Qt::flush;
            application.exit(done->code < 0 ? complain({done->code, done->message}) : 0);
        }
    };
    if (auto set = client->on_event(on_event); !set) {
        return complain(set.error());
    }
    auto session = client->open(argv[1]);
    if (!session) {
        return complain(session.error());
    }
    auto transfer = session->download(argv[1], argv[2]);
    if (!transfer) {
        return complain(transfer.error());
    }

    QSocketNotifier notifier(static_cast<qintptr>(client->event_fd()), QSocketNotifier::Read);
    QObject::connect(&notifier, &QSocketNotifier::activated, [&] {
        // A bounded number at a time: what is left makes the notifier fire again.
        if (auto count = client->dispatch(pdtp::milliseconds(0), 32); !count) {
            application.exit(complain(count.error()));
        }
    });
    QTimer timer; // Draws, as a widget would.
    QObject::connect(&timer, &QTimer::timeout, draw);
    timer.start(100);
    return application.exec();
} // The notifier ends before the client, whose descriptor it watches.
