//! `pdtp stream`: what players meet, over real sockets.

#![cfg(unix)]

pub mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use common::*;

const MIB: usize = 1 << 20;
const NO_ARGS: [&str; 0] = [];

/// A gateway under test.
struct Gateway {
    proc: Proc,
    port: u16,
}

impl Gateway {
    fn start(args: &[&str]) -> Self {
        let mut all = vec!["stream", "--http", "0", "--json"];
        all.extend(args);
        let mut proc = pdtp_start(&all);
        let mut port = None;
        wait_until("it listens", PATIENCE, || {
            assert!(proc.is_running(), "{}", proc.stderr());
            let said = proc.stdout();
            let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
            let line = whole.lines().find(|line| line.contains("\"listening\""));
            port = line.and_then(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["url"].as_str()?.trim_end_matches('/').rsplit(':').next()?.parse::<u16>().ok()
            });
            port.is_some()
        });
        Self { proc, port: port.unwrap() }
    }

    fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        http(self.port, "GET", target, headers)
    }

    fn events(&self, name: &str) -> Vec<serde_json::Value> {
        let said = self.proc.stdout();
        let whole = &said[..said.rfind('\n').map_or(0, |at| at + 1)];
        let all = whole.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        all.filter(|event| event["event"] == name).collect()
    }

    /// Ctrl-C; the numbers at the end.
    fn stop(self) -> serde_json::Value {
        self.proc.signal(libc::SIGINT);
        self.proc.finish(PATIENCE).expect(130).event("stopped")
    }
}

fn film(size: usize) -> (tempfile::TempDir, Vec<u8>) {
    let dir = make_tree(&[("film.mp4", size)]);
    let bytes = std::fs::read(dir.path().join("film.mp4")).unwrap();
    (dir, bytes)
}

#[test]
fn a_player_gets_what_it_asks_for() {
    let (dir, bytes) = film(24 * MIB + 7);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let gateway = Gateway::start(&["--window", "1M", &server.uri("/film.mp4")]);
    let size = bytes.len();

    let head = http(gateway.port, "HEAD", "/film.mp4", &[]);
    assert_eq!((head.status, head.header("content-type")), (200, "video/mp4"));
    assert_eq!(head.header("content-length"), size.to_string());
    assert_eq!(head.header("accept-ranges"), "bytes");
    let tag = head.header("etag").to_owned();
    assert!(tag.len() > 60, "{tag}");

    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=20000000-20099999", 20_000_000..20_100_000),
        ("bytes=25000000-", 25_000_000..size),
        ("bytes=-1000", size - 1000..size),
        ("bytes=5-99999999999999", 5..size),
    ] {
        let answer = gateway.get("/film.mp4", &[("Range", range)]);
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.header("content-range"), format!("bytes {}-{}/{size}", part.start, part.end - 1));
        assert!(answer.body == bytes[part], "{range}");
    }
    let answer = gateway.get("/film.mp4", &[("Range", "bytes=99999999-")]);
    assert_eq!((answer.status, answer.header("content-range")), (416, &*format!("bytes */{size}")));
    let answer = gateway.get("/film.mp4", &[("Range", "bytes=0-9"), ("If-Range", &tag)]);
    assert_eq!((answer.status, answer.body.len()), (206, 10));
    let answer = gateway.get("/film.mp4", &[("Range", "bytes=0-9"), ("If-Range", "\"another\"")]);
    assert!(answer.status == 200 && answer.body == bytes, "all of the version that there is");
    assert_eq!(gateway.get("/film.mp4", &[("If-None-Match", &tag)]).status, 304);

    // What else one may say to it.
    let answer = gateway.get("/", &[]);
    assert_eq!((answer.status, answer.header("location")), (302, "/film.mp4"));
    assert_eq!(gateway.get("/other", &[]).status, 404);
    assert_eq!(gateway.get("/../etc/passwd", &[]).status, 400);
    assert_eq!(http(gateway.port, "POST", "/film.mp4", &[("Content-Length", "0")]).status, 405);
    assert_eq!(http(gateway.port, "OPTIONS", "/film.mp4", &[]).header("allow"), "GET, HEAD, OPTIONS");
    let end = gateway.stop();
    assert_eq!(end["from_origin"], size, "each byte was sent once");
}

#[test]
fn players_are_served_at_once_and_keep_their_connections() {
    let (dir, bytes) = film(16 * MIB);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let gateway = Gateway::start(&["--window", "1M", &server.uri("/film.mp4")]);
    std::thread::scope(|scope| {
        for player in 0..6 {
            let (port, bytes) = (gateway.port, &bytes);
            scope.spawn(move || {
                let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut from = BufReader::new(stream.try_clone().unwrap());
                let mut to = stream;
                for jump in 0..12 {
                    let at = (player * 5 + jump * 7) % 15 * MIB;
                    let range = format!("bytes={at}-{}", at + 99_999);
                    write!(to, "GET /film.mp4 HTTP/1.1\r\nHost: localhost\r\nRange: {range}\r\n\r\n")
                        .unwrap();
                    let mut line = String::new();
                    from.read_line(&mut line).unwrap();
                    assert!(line.starts_with("HTTP/1.1 206"), "{line}");
                    while line.trim() != "" {
                        line.clear();
                        from.read_line(&mut line).unwrap();
                    }
                    let mut body = vec![0; 100_000];
                    from.read_exact(&mut body).unwrap();
                    assert!(body == bytes[at..at + 100_000], "player {player} at {at}");
                }
            });
        }
    });
    let end = gateway.stop();
    assert!(end["from_origin"].as_u64().unwrap() <= 16 * MIB as u64, "{end}");
}

#[test]
fn a_jump_is_not_kept_waiting_by_what_was_asked_before() {
    // The whole of it would take half a minute.
    let (dir, bytes) = film(32 * MIB);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let gateway = Gateway::start(&["--limit-down", "1M", &server.uri("/film.mp4")]);
    // A player that begins at the start, and hangs up.
    let mut player = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    player.write_all(b"GET /film.mp4 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut some = [0; 1000];
    player.read_exact(&mut some).unwrap();
    drop(player);
    let answer = gateway.get("/film.mp4", &[("Range", "bytes=30000000-30009999")]);
    assert!(answer.body == bytes[30_000_000..30_010_000]);
    // The first is noticed to have gone although nothing came for it.
    wait_until("the first has ended", PATIENCE, || gateway.events("sent").len() >= 2);
    let end = gateway.stop();
    assert!(end["from_origin"].as_u64().unwrap() < 16 * MIB as u64, "{end}");
}

#[test]
fn a_directory_is_several_files() {
    let dir = make_tree(&[
        ("a & b.mp4", 100_000),
        ("sub/x.webm", 200_000),
        ("sub/<i>.txt", 10),
        ("elsewhere/y", 5),
    ]);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let gateway = Gateway::start(&[&server.uri("/")]);
    let urls = gateway.events("url");
    assert_eq!(urls.len(), 4, "{urls:?}");
    for event in &urls {
        let url = event["url"].as_str().unwrap();
        let target = url.strip_prefix(&format!("http://127.0.0.1:{}", gateway.port)).expect(url);
        let name = percent_encoding::percent_decode_str(target).decode_utf8().unwrap().into_owned();
        let answer = gateway.get(target, &[]);
        assert!(answer.body == std::fs::read(dir.path().join(&name[1..])).unwrap(), "{name}");
    }
    assert_eq!(gateway.get("/sub/x.webm", &[]).header("content-type"), "video/webm");
    let page = gateway.get("/", &[]);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text().contains("<a href=\"/a%20&amp;%20b.mp4\">a &amp; b.mp4</a>"), "{}", page.text());
    let page = gateway.get("/sub/", &[]).text();
    assert!(
        page.contains("&lt;i&gt;.txt") && page.contains("/sub/x.webm") && !page.contains("<i>"),
        "{page}"
    );
    assert_eq!(gateway.get("/sub", &[]).header("location"), "/sub/");
    assert_eq!(gateway.get("/nothing", &[]).status, 404);
    gateway.stop();
    // Only what is below it.
    let gateway = Gateway::start(&[&server.uri("/sub/")]);
    assert_eq!(gateway.get("/elsewhere/y", &[]).status, 404);
    assert_eq!(gateway.get("/sub/x.webm", &[]).status, 200);
}

#[test]
fn a_page_from_elsewhere_reads_nothing() {
    let (dir, _) = film(1000);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let gateway = Gateway::start(&[&server.uri("/film.mp4")]);
    let ask = |host: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
        write!(stream, "GET /film.mp4 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    };
    assert!(ask("evil.example").starts_with("HTTP/1.1 421"));
    assert!(ask("localhost:1").starts_with("HTTP/1.1 200"));
    let answer = gateway.get("/film.mp4", &[("Origin", "http://evil.example")]);
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[test]
fn what_cannot_be_played_is_said_at_once() {
    let (dir, _) = film(1000);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    pdtp(&["stream", "--http", "0", &server.uri("/nothing")]).expect(4);
    pdtp(&["stream", "--http", "0", &server.uri("/film.mp4#root=00")]).expect(2);
    let closed = format!("pdtp://127.0.0.1:{}/x", closed_port());
    pdtp(&["stream", "--http", "0", &closed]).expect(3);
    let taken = pdtp(&["stream", "--http", &server.port().to_string(), &server.uri("/film.mp4")]).expect(7);
    assert!(taken.stderr.contains("another port may be free"), "{}", taken.stderr);
    let run = pdtp(&["stream", "--player", "/no/such/player", &server.uri("/film.mp4")]).expect(2);
    assert!(run.stderr.contains("cannot start the player"), "{}", run.stderr);
    pdtp(&["stream", &server.uri("/")]).expect(2);
    pdtp(&["stream", "--http", "example.org:80", &server.uri("/")]).expect(2);
    pdtp(&["stream", "--verify", "require", "--http", "0", &server.uri("/film.mp4")]).expect(10);
}

#[test]
fn standard_output_gets_it_from_anywhere() {
    let (dir, bytes) = film(3 * MIB + 1);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let uri = server.uri("/film.mp4");
    let played = |args: &[&str]| {
        let mut all = vec!["stream"];
        all.extend(args);
        all.push(&uri);
        pdtp(&all).expect(0).stdout
    };
    assert!(played(&[]) == bytes);
    assert!(played(&["--offset", "2000000"]) == bytes[2_000_000..]);
    assert!(played(&["--offset", "-5"]) == bytes[bytes.len() - 5..]);
    assert!(played(&["--offset", "99999999"]).is_empty());
    pdtp(&["stream", "--offset", "-99999999", &uri]).expect(2);
}

#[test]
fn a_player_is_started_and_ends_it() {
    let (dir, bytes) = film(2 * MIB);
    let server = Pdtpd::start(dir.path(), &NO_ARGS);
    let here = scratch();
    // A player: reads all of it over HTTP/1.0, and leaves the body where the test finds it.
    let player = here.path().join("player");
    let copy = here.path().join("copy");
    let script = format!(
        "#!/bin/bash\nurl=${{2#http://}}\nexec 3<>/dev/tcp/${{url%%:*}}/$(p=${{url#*:}}; echo ${{p%%/*}})\n\
         printf 'GET /%s HTTP/1.0\\r\\n\\r\\n' \"${{url#*/}}\" >&3\n\
         sed -u '/^\\r$/q' <&3 >/dev/null\ncat <&3 >{}\n[ \"$1\" = --loud ]\n",
        copy.display()
    );
    std::fs::write(&player, script).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&player, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!("{} --loud", player.display());
    pdtp(&["stream", "--player", &command, &server.uri("/film.mp4")]).expect(0);
    assert!(std::fs::read(&copy).unwrap() == bytes);
    let command = format!("{} --broken", player.display());
    let run = pdtp(&["stream", "--player", &command, &server.uri("/film.mp4")]).expect(1);
    assert!(run.stderr.contains("the player ended with"), "{}", run.stderr);
}
