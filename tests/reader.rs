//! Promises of readers to a programmer, against the real server: the bytes are the file's wherever one reads, nothing is
//! fetched twice, and whoever waits can be stopped.

pub mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, assert_same_file, content, make_tree, scratch, wait_until};
use pdtp::client::{
    Client, Config, ErrorKind, Overwrite, Reader, ReaderOptions, Request, Seeding, Session, Target,
};
use pdtp::content::trust::Policy;
use pdtp::wire::{PdtpUri, UrlPath};

const WAIT: Option<Duration> = Some(PATIENCE);
const NO_ARGS: [&str; 0] = [];
const MIB: u64 = 1 << 20;

struct Served {
    _dir: tempfile::TempDir,
    server: Pdtpd,
    bytes: Vec<u8>,
    path: std::path::PathBuf,
}

/// A server with a file of so many bytes, `/film`.
fn serve(size: usize, args: &[&str]) -> Served {
    let dir = make_tree(&[("film", size), ("empty", 0), ("dir/x", 10)]);
    let path = dir.path().join("film");
    let bytes = std::fs::read(&path).unwrap();
    Served { server: Pdtpd::start(dir.path(), args), _dir: dir, bytes, path }
}

fn client(limit_down: u64) -> Client {
    let config = Config { agent: "reader-test/1".into(), down_limit: limit_down, ..Config::default() };
    Client::new(config).unwrap()
}

fn session(client: &Client, served: &Served) -> Session {
    client.open_session(&served.server.uri("/").parse::<PdtpUri>().unwrap(), 0).unwrap()
}

fn path(text: &str) -> UrlPath {
    UrlPath::parse(text).unwrap()
}

fn open(session: &Session, window: u64) -> Reader {
    session.open_reader(&path("/film"), ReaderOptions { window, ..ReaderOptions::default() }, WAIT).unwrap()
}

/// Reads until so many bytes are there.
fn read_full(reader: &Reader, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match reader.read(&mut bytes[done..], WAIT).unwrap() {
            0 => break,
            n => done += n,
        }
    }
    bytes.truncate(done);
    bytes
}

fn received(client: &Client) -> u64 {
    let stats = client.stats();
    stats.from_origin + stats.from_peers
}

/// Each byte was sent once. What has come may be read a moment before it is counted.
#[track_caller]
fn assert_received(client: &Client, bytes: u64) {
    wait_until("all is counted", PATIENCE, || received(client) >= bytes);
    assert_eq!(received(client), bytes, "each byte was sent once");
}

#[test]
fn a_file_is_read_from_front_to_back() {
    let served = serve(20_000_001, &NO_ARGS);
    let client = client(0);
    let reader = open(&session(&client, &served), MIB);
    assert_eq!((reader.size(), reader.tell()), (20_000_001, 0));
    assert!(read_full(&reader, 30_000_000) == served.bytes);
    assert_eq!(reader.tell(), 20_000_001);
    assert_eq!(reader.read(&mut [0; 10], WAIT).unwrap(), 0, "the end, again and again");
    assert_received(&client, 20_000_001);
    assert_eq!(reader.buffered(), 20_000_001..20_000_001);
}

#[test]
fn jumps_land_where_they_should_and_fetch_little() {
    let served = serve(64 * MIB as usize, &NO_ARGS);
    let client = client(0);
    let reader = open(&session(&client, &served), 0);
    let mut seed = 7u64;
    for _ in 0..20 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) % (64 * MIB - 5000);
        reader.seek(at);
        assert_eq!(reader.tell(), at);
        assert!(read_full(&reader, 5000) == served.bytes[at as usize..at as usize + 5000], "at {at}");
    }
    let once = received(&client);
    assert!(once <= 48 * MIB, "{once} bytes for 20 places");
    // Back to where it was: what was verified is still here.
    seed = 7;
    for _ in 0..20 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let at = (seed >> 33) % (64 * MIB - 5000);
        reader.seek(at);
        assert!(reader.buffered().end > at);
        assert!(read_full(&reader, 5000) == served.bytes[at as usize..at as usize + 5000], "at {at}");
    }
    // What was on its way may have been counted since.
    let now = received(&client);
    assert!(now <= once + 2 * MIB, "nothing is fetched again: {once}, {now}");
    // Past the end.
    reader.seek(u64::MAX);
    assert_eq!(reader.read(&mut [0; 10], WAIT).unwrap(), 0);
    reader.seek(64 * MIB - 3);
    assert_eq!(read_full(&reader, 10), served.bytes[served.bytes.len() - 3..]);
}

#[test]
fn a_window_is_fetched_ahead_and_no_more() {
    let served = serve(64 * MIB as usize, &NO_ARGS);
    let client = client(0);
    let reader = open(&session(&client, &served), 4 * MIB);
    wait_until("the window is here", PATIENCE, || reader.buffered().end >= 4 * MIB);
    assert!(received(&client) <= 8 * MIB, "{}", received(&client));
    reader.seek(40 * MIB);
    wait_until("the new window is here", PATIENCE, || reader.buffered().end >= 44 * MIB);
    assert!(received(&client) <= 16 * MIB, "{}", received(&client));
    reader.set_window(64 * MIB);
    wait_until("all after it is here", PATIENCE, || reader.buffered().end == 64 * MIB);
    reader.seek(0);
    wait_until("all is here", PATIENCE, || reader.buffered().end == 64 * MIB);
    assert_received(&client, 64 * MIB);
    assert!(read_full(&reader, 100 << 20) == served.bytes);
}

#[test]
fn several_readers_share_what_comes() {
    let served = serve(32 * MIB as usize, &NO_ARGS);
    let client = client(0);
    let session = session(&client, &served);
    std::thread::scope(|scope| {
        for part in 0..4u64 {
            let (session, bytes) = (&session, &served.bytes);
            scope.spawn(move || {
                let reader = open(session, 2 * MIB);
                // Each from somewhere else, round the end, to where it began.
                let start = (part * 8 * MIB) as usize;
                reader.seek(start as u64);
                assert!(read_full(&reader, bytes.len() - start) == bytes[start..]);
                reader.seek(0);
                assert!(read_full(&reader, start) == bytes[..start]);
                // The others may still be at it.
                assert_eq!(reader.tell(), start as u64);
            });
        }
        // So that the pieces live as long as any of them.
        let anchor = open(&session, 0);
        wait_until("all of them are through", PATIENCE, || received(&client) >= 32 * MIB);
        drop(anchor);
    });
    assert_received(&client, 32 * MIB);
}

#[test]
fn waiting_ends_in_time_and_by_cancel() {
    let served = serve(8 * MIB as usize, &NO_ARGS);
    let client = client(100_000);
    let reader = open(&session(&client, &served), MIB);
    reader.seek(6 * MIB);
    let mut buffer = [0; 4096];
    let again = reader.read(&mut buffer, Some(Duration::ZERO)).unwrap_err();
    assert_eq!(again.kind, ErrorKind::Again, "{again}");
    let again = reader.read(&mut buffer, Some(Duration::from_millis(20))).unwrap_err();
    assert_eq!(again.kind, ErrorKind::Again, "{again}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut buffer = vec![0; MIB as usize];
            loop {
                match reader.read(&mut buffer, None) {
                    Ok(n) => assert!(n > 0 && reader.tell() < 8 * MIB, "nobody reads so fast"),
                    Err(error) => break error,
                }
            }
        });
        reader.cancel();
        assert_eq!(waiting.join().unwrap().kind, ErrorKind::Cancelled);
    });
    let cancelled = reader.read(&mut buffer, WAIT).unwrap_err();
    assert_eq!(cancelled.kind, ErrorKind::Cancelled, "for good");
}

#[test]
fn a_wait_is_interrupted_and_ends_with_the_client() {
    let served = serve(8 * MIB as usize, &NO_ARGS);
    let client = client(20_000);
    let reader = open(&session(&client, &served), MIB);
    reader.seek(6 * MIB);
    let read = |expected| {
        let error = reader.read(&mut [0; 10], None).unwrap_err();
        assert_eq!(error.kind, expected, "{error}");
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| read(ErrorKind::Interrupted));
        while !waiting.is_finished() {
            client.interrupt();
            std::thread::yield_now();
        }
        waiting.join().unwrap();
        // The last interruption may still be on its way.
        let waiting = scope.spawn(|| {
            let error = reader.read(&mut [0; 10], None).unwrap_err();
            assert!(matches!(error.kind, ErrorKind::State | ErrorKind::Interrupted), "{error}");
        });
        let begun = Instant::now();
        client.shutdown(Duration::from_secs(3));
        waiting.join().unwrap();
        assert!(begun.elapsed() < PATIENCE);
    });
    read(ErrorKind::State);
}

#[test]
fn what_cannot_be_read_is_said() {
    let served = serve(1000, &NO_ARGS);
    let client = client(0);
    let session = session(&client, &served);
    let open = |at: &str, options: ReaderOptions| session.open_reader(&path(at), options, WAIT);
    let kind = |at: &str| open(at, ReaderOptions::default()).unwrap_err().kind;
    assert_eq!(kind("/nowhere"), ErrorKind::NotFound);
    assert_eq!(kind("/dir"), ErrorKind::Argument);
    assert_eq!(kind("/"), ErrorKind::Argument);
    let unsigned = ReaderOptions { verify: Some(Policy::Require), ..ReaderOptions::default() };
    assert_eq!(open("/film", unsigned).unwrap_err().kind, ErrorKind::Unsigned);
    let other = ReaderOptions { expect_root: Some(Default::default()), ..ReaderOptions::default() };
    assert_eq!(open("/film", other).unwrap_err().kind, ErrorKind::Changed);
    let empty = open("/empty", ReaderOptions::default()).unwrap();
    assert_eq!(empty.size(), 0);
    assert_eq!(empty.read(&mut [0; 10], WAIT).unwrap(), 0);
    let late = session.open_reader(&path("/film"), ReaderOptions::default(), Some(Duration::ZERO));
    if let Err(error) = late {
        assert_eq!(error.kind, ErrorKind::Timeout);
    }
    // Whatever went wrong before: it can be read.
    let reader = open("/film", ReaderOptions::default()).unwrap();
    assert!(read_full(&reader, 2000) == served.bytes);
}

#[test]
fn a_file_that_is_downloaded_is_read_meanwhile() {
    let served = serve(16 * MIB as usize, &NO_ARGS);
    let client = client(4 * MIB);
    let (session, local) = (session(&client, &served), scratch());
    let target = local.path().join("copy");
    let request = Request {
        path: path("/film"),
        target: Target::File(target.clone()),
        overwrite: Overwrite::Resume,
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    let transfer = session.start(request, 0).unwrap();
    wait_until("it is under way", PATIENCE, || transfer.progress().done > 0);
    let reader = open(&session, MIB);
    // The end of it comes first, because somebody reads it.
    reader.seek(15 * MIB);
    assert!(read_full(&reader, MIB as usize) == served.bytes[15 << 20..]);
    assert!(transfer.progress().done < 12 * MIB, "before most of the rest: {}", transfer.progress().done);
    transfer.wait(WAIT).unwrap();
    reader.seek(0);
    assert!(read_full(&reader, 32 << 20) == served.bytes, "also when it is complete");
    drop(reader);
    assert_same_file(&served.path, &target);
    assert_received(&client, 16 * MIB);
}

#[test]
fn a_file_that_is_read_is_downloaded_meanwhile() {
    let served = serve(16 * MIB as usize, &NO_ARGS);
    let client = client(8 * MIB);
    let (session, local) = (session(&client, &served), scratch());
    let reader = open(&session, 2 * MIB);
    reader.seek(8 * MIB);
    assert!(read_full(&reader, 3 << 20) == served.bytes[8 << 20..11 << 20]);
    let target = local.path().join("copy");
    let request = Request {
        path: path("/film"),
        target: Target::File(target.clone()),
        overwrite: Overwrite::Resume,
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    let transfer = session.start(request, 0).unwrap();
    assert!(read_full(&reader, 5 << 20) == served.bytes[11 << 20..], "it goes on");
    transfer.wait(WAIT).unwrap();
    assert_same_file(&served.path, &target);
    reader.seek(0);
    assert!(read_full(&reader, 32 << 20) == served.bytes);
    // What was on its way when the one took over from the other may come again.
    let received = received(&client);
    assert!(received <= 20 * MIB, "{received}");
}

#[test]
fn a_file_that_changes_is_never_mixed() {
    let served = serve(8 * MIB as usize, &["--settle", "100ms"]);
    let client = client(2 * MIB);
    let session = session(&client, &served);
    let reader = open(&session, 0);
    assert!(read_full(&reader, 100_000) == served.bytes[..100_000]);
    let new = content(99, 8 * MIB as usize);
    std::fs::write(&served.path, &new).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut buffer = vec![0; 65536];
        let at = reader.tell() as usize;
        match reader.read(&mut buffer, WAIT) {
            Ok(0) => break,
            Ok(n) => assert!(buffer[..n] == served.bytes[at..at + n], "at {at}"),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Changed, "{error}");
                break;
            }
        }
        assert!(Instant::now() < deadline);
    }
    drop(reader);
    wait_until("the new version is served", PATIENCE, || {
        let reader = session.open_reader(&path("/film"), ReaderOptions::default(), WAIT);
        reader.is_ok_and(|reader| {
            let mut buffer = [0; 1000];
            reader.read(&mut buffer, WAIT).is_ok_and(|n| n > 0 && buffer[..n] == new[..n])
        })
    });
}

#[test]
fn readers_give_to_others_what_they_have() {
    // The origin is slow: whoever comes second gets it from the first.
    let served = serve(8 * MIB as usize, &["--limit-up", "4M"]);
    let (first, second) = (client(0), client(0));
    let (reader, other) = (open(&session(&first, &served), 8 * MIB), session(&second, &served));
    wait_until("the first has all of it", PATIENCE, || reader.buffered().end == 8 * MIB);
    let reader = open(&other, 8 * MIB);
    assert!(read_full(&reader, 16 << 20) == served.bytes);
    assert_received(&second, 8 * MIB);
    let stats = second.stats();
    assert!(stats.from_peers > 4 * MIB, "{stats:?}");
    // The last pieces may be sent by both, or called off on their way: what the giver sent in vain, the origin brought.
    wait_until("the giver has counted it", PATIENCE, || first.stats().uploaded >= stats.from_peers);
    let uploaded = first.stats().uploaded;
    assert!(uploaded <= stats.from_peers + stats.from_origin, "{uploaded}, {stats:?}");
}

#[test]
fn nothing_is_left_on_the_disk() {
    let served = serve(4 * MIB as usize, &NO_ARGS);
    let cache = scratch();
    let config =
        Config { cache_dir: Some(cache.path().to_owned()), seeding: Seeding::Off, ..Config::default() };
    let client = Client::new(config).unwrap();
    let reader = open(&session(&client, &served), MIB);
    assert!(read_full(&reader, 8 << 20) == served.bytes);
    drop((reader, client));
    assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
}
