//! `pdtpd` as a program: how it starts, what it prints, how it fails, how it ends, and what it tells about itself.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, Proc, make_file, make_tree, scratch, wait_until};
use pdtp::wire::{self, Message};
use raw::Raw;

fn pdtpd(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pdtpd"));
    command.args(args).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY");
    command
}

#[test]
fn prints_where_it_is_to_be_found() {
    let dir = make_tree(&[("a", 10), ("d/b", 20)]);
    let proc = Proc::spawn(pdtpd(&["serve", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]));
    wait_until("three lines", PATIENCE, || proc.stdout().lines().count() == 3);
    let said = proc.stdout();
    let lines: Vec<_> = said.lines().collect();
    let uri: wire::PdtpUri = lines[0].parse().unwrap();
    assert_eq!((uri.host.as_str(), uri.path.is_root()), ("127.0.0.1", true));
    assert_eq!(lines[1], format!("http://127.0.0.1:{}/.pdtp/status", uri.port));
    assert_eq!(lines[2], format!("{}: 2 files, 30 bytes", dir.path().display()));
    assert_eq!(proc.stderr(), "");
}

#[test]
fn the_name_is_that_of_the_operator() {
    let dir = make_tree(&[("a", 10)]);
    let path = dir.path().to_str().unwrap();
    let proc = Proc::spawn(pdtpd(&["serve", path, "--listen", "127.0.0.1:0", "--name", "h.example"]));
    wait_until("a line", PATIENCE, || proc.stdout().starts_with("pdtp://h.example:"));
    let proc = Proc::spawn(pdtpd(&["serve", path, "--listen", "127.0.0.1:0", "--json"]));
    wait_until("a line", PATIENCE, || proc.stdout().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&proc.stdout()).unwrap();
    assert_eq!(line["event"], "listening");
    assert_eq!(line["uris"][0], format!("pdtp://127.0.0.1:{}/", line["port"]));
    assert_eq!(line["pid"], proc.pid());
}

#[test]
fn all_addresses_are_listened_on() {
    let dir = make_tree(&[("a", 10)]);
    let path = dir.path().to_str().unwrap();
    let proc =
        Proc::spawn(pdtpd(&["serve", path, "--listen", "127.0.0.1:0", "--listen", "[::]:0", "--json"]));
    wait_until("a line", PATIENCE, || proc.stdout().ends_with('\n'));
    let line: serde_json::Value = serde_json::from_str(&proc.stdout()).unwrap();
    for address in line["addresses"].as_array().unwrap() {
        let address: std::net::SocketAddr = address.as_str().unwrap().parse().unwrap();
        // The second one takes IPv4, too.
        assert_eq!(common::http(address.port(), "GET", "/a", &[]).status, 200, "{address}");
    }
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = scratch();
    let run = Pdtpd::run(&["serve", dir.path().to_str().unwrap(), "--listen", &address]).expect(3);
    assert!(run.stderr.contains(&address) && run.stderr.contains("is taken"), "{}", run.stderr);
    assert!(run.stderr.contains("--listen"), "says what to do: {}", run.stderr);
    assert_eq!(run.text(), "");
}

#[test]
fn an_address_of_another_machine() {
    let dir = scratch();
    let run = Pdtpd::run(&["serve", dir.path().to_str().unwrap(), "--listen", "192.0.2.1:0"]).expect(3);
    assert!(run.stderr.contains("not an address of this machine"), "{}", run.stderr);
}

#[test]
fn a_directory_that_is_none() {
    let run = Pdtpd::run(&["serve", "/nonexistent/dir"]).expect(4);
    assert!(run.stderr.contains("no such directory"), "{}", run.stderr);
    let dir = make_tree(&[("file", 1)]);
    let run = Pdtpd::run(&["serve", dir.path().join("file").to_str().unwrap()]).expect(4);
    assert!(run.stderr.contains("not a directory"), "{}", run.stderr);
    let state = dir.path().join("file/state");
    let args = [
        "serve",
        dir.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--state",
        state.to_str().unwrap(),
    ];
    let run = Pdtpd::run(&args).expect(5);
    assert!(run.stderr.contains("state directory"), "{}", run.stderr);
}

/// Started by root, the tests run it as a user who may not read everything.
#[test]
fn what_the_daemon_may_not_read() {
    // The superuser reads everything, and nobody else can reach what cargo built, wherever that is.
    let place = scratch();
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(place.path(), 0o755);
    let program = place.path().join("pdtpd");
    std::fs::copy(env!("CARGO_BIN_EXE_pdtpd"), &program).unwrap();
    open(&program, 0o755);
    let command = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(args).env_remove("RUST_LOG").env_remove("STATE_DIRECTORY").current_dir("/");
        // SAFETY: plain system call.
        if unsafe { libc::geteuid() } == 0 {
            command.uid(65_534).gid(65_534);
        }
        command
    };

    let closed = make_tree(&[("file", 1)]);
    open(closed.path(), 0o000);
    let run = Proc::spawn(command(&["serve", closed.path().to_str().unwrap()])).finish(PATIENCE).expect(4);
    assert!(run.stderr.contains("cannot be read by this user"), "{}", run.stderr);
    open(closed.path(), 0o700);

    let dir = make_tree(&[("open", 20_000), ("closed", 20_000), ("hidden/file", 5)]);
    open(dir.path(), 0o755);
    open(&dir.path().join("closed"), 0o600 & !0o400);
    open(&dir.path().join("hidden"), 0o000);
    let args = ["serve", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut server = Proc::spawn(command(&args));
    let port = Pdtpd::read_port(&mut server);
    let local = scratch();
    let get = |name: &str| {
        let (uri, to) = (format!("pdtp://127.0.0.1:{port}/{name}"), local.path().join("copy"));
        common::pdtp(&["get", "--overwrite=replace", &uri, "-o", to.to_str().unwrap()])
    };
    get("open").expect(0);
    for name in ["closed", "hidden/file"] {
        let run = get(name);
        assert_ne!(run.status.code(), Some(0), "{name}");
        assert!(run.stderr.contains("may not read it"), "{name}: {}", run.stderr);
        assert_eq!(common::http(port, "GET", &format!("/{name}"), &[]).status, 403, "{name}");
    }
    open(&dir.path().join("hidden"), 0o700);
}

#[test]
fn mistakes_on_the_command_line() {
    for (args, says) in [
        (&["serve", ".", "--lisen", "x"][..], "--listen"),
        (&["serve", ".", "--listen", "nowhere"][..], "not an address and port"),
        (&["serve", ".", "--piece-size", "17"][..], "power of two"),
        (&["serve", ".", "--grace", "soon"][..], "a time"),
        (&["serve", ".", "--name", "a b"][..], "host name"),
        (&["serve"][..], "DIR"),
        (&["sreve", "."][..], "serve"),
        (&["serve", ".", "--config", "/nonexistent.toml"][..], "/nonexistent.toml"),
    ] {
        let run = Pdtpd::run(args).expect(2);
        assert!(run.stderr.contains(says), "{args:?}: {}", run.stderr);
    }
    let help = Pdtpd::run(&["serve", "--help"]).expect(0).text();
    for word in ["Examples:", "Exit codes:", "Signals:", "--limit-up", "/.pdtp/status"] {
        assert!(help.contains(word), "{word}");
    }
    Pdtpd::run(&["--version"]).expect(0);
}

#[test]
fn the_file_says_what_the_command_line_does_not() {
    let dir = make_tree(&[("a", 10), (".hidden", 5)]);
    let scratch = scratch();
    let file = scratch.path().join("pdtpd.toml");
    let config = format!(
        "dir = {:?}\nlisten = [\"127.0.0.1:0\"]\nname = \"from-file\"\nhidden = true\nnotice = \"hello\"\npiece-size = \"16K\"\n",
        dir.path().to_str().unwrap()
    );
    std::fs::write(&file, &config).unwrap();
    let proc = Proc::spawn(pdtpd(&["serve", "--config", file.to_str().unwrap(), "--name", "from-line"]));
    wait_until("a line", PATIENCE, || proc.stdout().starts_with("pdtp://from-line:"));
    let uri: wire::PdtpUri = proc.stdout().lines().next().unwrap().parse().unwrap();
    assert_eq!(common::http(uri.port, "GET", "/.hidden", &[]).status, 200);
    let mut client = Raw::connect(uri.port);
    assert_eq!(client.register_v3("c").notice.as_deref(), Some("hello"));
    client.send(wire::AskInfo { url: "http://h/a".to_owned(), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    assert_eq!(info.chunk_size, Some(16 * 1024));

    std::fs::write(&file, config.replace("notice", "notise")).unwrap();
    let run = Pdtpd::run(&["serve", "--config", file.to_str().unwrap()]).expect(2);
    assert!(run.stderr.contains("did you mean \"notice\"?"), "{}", run.stderr);
}

#[test]
fn ends_in_good_order() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let dir = make_tree(&[("big", 30_000_000)]);
        let path = dir.path().to_str().unwrap();
        let mut proc = Proc::spawn(pdtpd(&["serve", path, "--listen", "127.0.0.1:0", "--grace", "60s"]));
        wait_until("a line", PATIENCE, || proc.stdout().lines().count() >= 2);
        let uri: wire::PdtpUri = proc.stdout().lines().next().unwrap().parse().unwrap();
        let mut client = Raw::connect(uri.port);
        client.register_v3("c");
        // Kept alive and idle: not worth waiting for.
        let mut idle = TcpStream::connect(("127.0.0.1", uri.port)).unwrap();
        idle.write_all(b"HEAD /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_ne!(idle.read(&mut [0; 1024]).unwrap(), 0);
        // In the middle of a body.
        let mut slow = TcpStream::connect(("127.0.0.1", uri.port)).unwrap();
        slow.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut received = slow.read(&mut [0; 1000]).unwrap();
        assert_ne!(received, 0);

        proc.signal(signal);
        client.expect("goaway");
        wait_until("nobody is let in any more", PATIENCE, || {
            TcpStream::connect(("127.0.0.1", uri.port)).is_err()
        });
        assert!(proc.is_running(), "a body is still under way");
        let mut rest = Vec::new();
        slow.set_read_timeout(Some(PATIENCE)).unwrap();
        received += slow.read_to_end(&mut rest).unwrap();
        assert!(received > 30_000_000, "all of it: {received}");
        let before = Instant::now();
        assert_eq!(proc.wait(PATIENCE).code(), Some(0), "{}", proc.stderr());
        assert!(before.elapsed() < Duration::from_secs(10), "then there is nothing left to wait for");
        client.expect_end();
    }
}

#[test]
fn does_not_wait_for_ever() {
    let dir = make_tree(&[("big", 30_000_000)]);
    let path = dir.path().to_str().unwrap();
    for second_signal in [false, true] {
        let grace = if second_signal { "10m" } else { "1s" };
        let mut proc = Proc::spawn(pdtpd(&["serve", path, "--listen", "127.0.0.1:0", "--grace", grace]));
        wait_until("a line", PATIENCE, || proc.stdout().lines().count() >= 2);
        let uri: wire::PdtpUri = proc.stdout().lines().next().unwrap().parse().unwrap();
        let mut stuck = TcpStream::connect(("127.0.0.1", uri.port)).unwrap();
        stuck.write_all(b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_ne!(stuck.read(&mut [0; 1000]).unwrap(), 0);
        proc.signal(libc::SIGTERM);
        if second_signal {
            wait_until("it has heard", PATIENCE, || TcpStream::connect(("127.0.0.1", uri.port)).is_err());
            proc.signal(libc::SIGTERM);
        }
        let code = proc.wait(PATIENCE).code();
        assert_eq!(code, Some(if second_signal { 128 + libc::SIGTERM } else { 0 }));
    }
}

#[test]
fn keeps_its_hashes_over_a_restart() {
    let dir = make_tree(&[("a", 100_000)]);
    let mut server = Pdtpd::start(dir.path(), &[] as &[&str]);
    wait_until("hashed", PATIENCE, || server.status()["files"]["hashed"] == 1);
    assert_eq!(server.terminate().code(), Some(0));
    server.restart();
    wait_until("known", PATIENCE, || server.status()["files"]["hashed"] == 1);
}

#[test]
fn a_state_directory_in_use_is_waited_for_but_not_for_long() {
    let dir = make_tree(&[("a", 100_000)]);
    let state = scratch();
    let state = state.path().to_str().unwrap();
    let mut first = Pdtpd::start(dir.path(), &["--state", state]);
    let args = ["serve", dir.path().to_str().unwrap(), "--listen", "127.0.0.1:0", "--state", state];
    let refused = Pdtpd::run(&args).expect(5);
    assert!(refused.stderr.contains("another process uses it"), "{}", refused.stderr);
    let inspected = Pdtpd::run(&["catalogue", state]).expect(5);
    assert!(inspected.stderr.contains("another process uses it"), "{}", inspected.stderr);

    let mut second = Proc::spawn(pdtpd(&args));
    wait_until("it waits", PATIENCE, || second.stderr().contains("waiting a moment"));
    first.kill9();
    let port = Pdtpd::read_port(&mut second);
    assert_eq!(common::http(port, "GET", "/a", &[]).status, 200);
}

#[test]
fn its_catalogue_survives_a_kill_at_any_moment() {
    let served = scratch();
    for index in 0..400 {
        make_file(served.path(), format!("{}/{index}", index % 10), index * 700);
    }
    let state = scratch();
    let state_dir = state.path().to_str().unwrap();
    for round in 0..6 {
        let mut server = Pdtpd::start(served.path(), &["--state", state_dir, "--hash-rate", "40M"]);
        let enough = round * 80;
        wait_until("some hashed", PATIENCE, || {
            server.status()["files"]["hashed"].as_u64().unwrap_or(0) >= enough.min(400)
        });
        server.kill9();
        let checked = Pdtpd::run(&["catalogue", state_dir, "check"]).expect(0);
        assert!(checked.text().contains("all sound"), "{}", checked.text());
    }
    let mut server = Pdtpd::start(served.path(), &["--state", state_dir]);
    wait_until("all hashed", PATIENCE, || server.status()["files"]["hashed"] == 400);
    server.terminate();
    let exported = Pdtpd::run(&["catalogue", state_dir, "export"]).expect(0);
    assert_eq!(exported.text().lines().count(), 400);
    assert!(Pdtpd::run(&["catalogue", state_dir]).expect(0).text().contains("files    400"));
}

#[test]
fn tells_about_itself() {
    let dir = make_tree(&[("f.bin", 300_000)]);
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    let mut client = Raw::connect(server.port());
    client.register_v3("the-client");
    client.send(wire::Request { url: "http://h/f.bin".to_owned(), ..Default::default() });
    let Message::Transfer(transfer) = client.expect("transfer") else { unreachable!() };
    let status = server.status();
    assert_eq!(status["clients"][0]["id"], "the-client");
    assert_eq!(status["clients"][0]["address"], "127.0.0.1");
    assert_eq!(status["clients"][0]["version"], 3);
    assert!(status["transfers"]["active"].as_u64().unwrap() > 0);
    assert!(status["uptime_s"].is_u64());
    let body = raw::fetch(&transfer, "the-client").body;
    assert_eq!(common::http(server.port(), "GET", "/f.bin", &[]).body.len(), 300_000);
    wait_until("bytes are counted", PATIENCE, || {
        let bytes = &server.status()["bytes"];
        bytes["pieces_sent"] == body.len() && bytes["http"].as_u64().unwrap() >= 300_000
    });

    let metrics = common::http(server.port(), "GET", "/.pdtp/metrics", &[]);
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    assert!(text.contains("\npdtp_clients 1\n"), "{text}");
    assert!(text.contains(&format!("\npdtp_piece_bytes_sent_total {}\n", body.len())), "{text}");
    assert_eq!(common::http(server.port(), "HEAD", "/.pdtp/status", &[]).status, 200);
    assert_eq!(common::http(server.port(), "POST", "/.pdtp/status", &[("Content-Length", "0")]).status, 405);
    assert_eq!(common::http(server.port(), "GET", "/.pdtp/other", &[]).status, 404);
}

#[test]
fn limits_what_the_origin_sends() {
    const SIZE: usize = 600_000;
    let dir = make_tree(&[("f.bin", SIZE)]);
    let server = Pdtpd::start(dir.path(), &["--limit-up", "200000"]);
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    client.send(wire::Request { url: "http://h/f.bin".to_owned(), ..Default::default() });
    let start = Instant::now();
    let mut got = 0;
    while got < SIZE {
        let Message::Transfer(t) = client.expect("transfer") else { unreachable!() };
        let bytes = raw::fetch(&t, "c").body.len();
        got += bytes;
        client.send(wire::Completed {
            id: t.id,
            url: t.url,
            range: t.range,
            peer_id: t.peer_id,
            bytes: Some(bytes as u64),
            ms: Some(1),
            ..Default::default()
        });
    }
    // 3 s at that rate; a bucket may begin full.
    assert!(start.elapsed() > Duration::from_millis(1500), "{:?}", start.elapsed());
}
