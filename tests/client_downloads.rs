//! Promises of the client library to a programmer, against the real server: what is downloaded is what is served,
//! whatever happens meanwhile; clients help each other; nothing is left running.

pub mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{
    PATIENCE, Pdtpd, assert_same_file, assert_same_tree, content, make_file, make_tree, scratch, wait_until,
};
use pdtp::client::{
    Client, ClientStats, Config, ErrorKind, EventBody, EventMask, Flow, Overwrite, Request, Seeding, Session,
    SessionState, Target, Transfer, TransferState, Tuning,
};
use pdtp::wire::{ByteRange, PdtpUri, UrlPath};

const WAIT: Option<Duration> = Some(PATIENCE);
const NO_ARGS: [&str; 0] = [];

fn client(configure: impl FnOnce(&mut Config)) -> Client {
    let mut config = Config { agent: "client-test/1".into(), ..Config::default() };
    configure(&mut config);
    Client::new(config).unwrap()
}

fn session(client: &Client, server: &Pdtpd) -> Session {
    let session = client.open_session(&server.uri("/").parse::<PdtpUri>().unwrap(), 7).unwrap();
    session.wait_ready(WAIT).unwrap();
    session
}

fn path(text: &str) -> UrlPath {
    UrlPath::parse(text).unwrap()
}

fn request(from: &str, target: Target) -> Request {
    Request {
        path: path(from),
        target,
        overwrite: Overwrite::Resume,
        recursive: true,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    }
}

fn get(session: &Session, from: &str, to: &Path) -> Transfer {
    session.start(request(from, Target::File(to.to_owned())), 9).unwrap()
}

fn ended(stats: ClientStats) -> u64 {
    stats.from_origin + stats.from_peers
}

/// Threads of the library in this process. Every test is a process of its own only under nextest, so this waits for
/// the threads of a particular end, not for all.
fn library_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.filter_map(Result::ok).map(name).filter(|name| name.starts_with("pdtp")).count()
}

#[test]
fn files_of_every_size_arrive_as_they_are() {
    let sizes = [0, 1, 65535, 65536, 65537, 3 * 65536, 5_000_001];
    let files: Vec<_> = sizes.iter().map(|size| (format!("file {size}"), *size)).collect();
    let served = make_tree(&files);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    for (name, size) in &files {
        let to = local.path().join(name);
        let transfer = get(&session, &format!("/file%20{size}"), &to);
        transfer.wait(WAIT).unwrap();
        assert_same_file(&served.path().join(name), &to);
        let progress = transfer.progress();
        assert_eq!((progress.done, progress.total), (*size as u64, *size as u64), "{name}");
        assert_eq!(progress.from_origin, *size as u64, "{name}");
        assert_eq!((progress.files_done, progress.files_total), (1, 1));
        assert_eq!(transfer.state(), TransferState::Done);
        let mtime = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
        let age = mtime(&to).duration_since(mtime(&served.path().join(name))).unwrap_or_default();
        assert!(age < Duration::from_secs(2), "the time of modification is that of the server");
    }
    assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), files.len(), "nothing else is left there");
    assert_eq!(ended(client.stats()), sizes.iter().sum::<usize>() as u64);
}

#[test]
fn a_tree_arrives_with_all_its_names() {
    let served = make_tree(&[("a/b/c/deep", 200_000), ("x", 10), ("x.part", 70_000), ("x.part.part", 5)]);
    for n in 0..300 {
        make_file(served.path(), format!("many/{}/{n}", n % 7), n * 37);
    }
    std::fs::create_dir_all(served.path().join("empty/er")).unwrap();
    make_file(served.path(), "space and 100% and \u{e4}\u{4e2d}.txt", 99);
    {
        use std::os::unix::ffi::OsStrExt as _;
        make_file(served.path(), std::ffi::OsStr::from_bytes(b"latin-\xe4\xff"), 77);
    }
    let mut at = served.path().to_owned();
    (0..40).for_each(|n| at.push(n.to_string()));
    std::fs::create_dir_all(&at).unwrap();
    make_file(&at, "bottom", 12);

    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let (client, local) = (client(|_| {}), scratch());
    client.enable_events(EventMask(u32::MAX));
    let session = session(&client, &server);
    let target = local.path().join("new/dir");
    let transfer = session.start(request("/", Target::Dir(target.clone())), 9).unwrap();
    transfer.wait(WAIT).unwrap();
    assert_same_tree(served.path(), &target);
    let progress = transfer.progress();
    assert_eq!(progress.done, progress.total);
    assert_eq!((progress.files_done, progress.files_total), (307, 307));

    let mut files = 0;
    loop {
        match client.next_event(WAIT).expect("an end").body {
            EventBody::FileDone { .. } => files += 1,
            EventBody::Overflow { count, .. } => files += count,
            EventBody::Done { transfer: id, result, .. } => {
                assert_eq!(id, transfer.id());
                result.unwrap();
                break;
            }
            _ => {}
        }
    }
    assert!(files > 0);

    // Again: nothing is fetched twice.
    let again = session.start(request("/", Target::Dir(target.clone())), 9).unwrap();
    again.wait(WAIT).unwrap();
    let progress = again.progress();
    assert_eq!((progress.from_disk, progress.from_origin), (progress.total, 0));
    assert_same_tree(served.path(), &target);
}

#[test]
fn clients_give_each_other_what_a_slow_origin_sends_once() {
    const SIZE: usize = 8_000_000;
    let served = make_tree(&[("big", SIZE)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let local = scratch();
    let clients: Vec<_> = (0..3).map(|_| client(|config| config.seeding = Seeding::Always)).collect();
    let sessions: Vec<_> = clients.iter().map(|client| session(client, &server)).collect();
    let transfers: Vec<_> = sessions
        .iter()
        .enumerate()
        .map(|(n, session)| get(session, "/big", &local.path().join(n.to_string())))
        .collect();
    for (n, transfer) in transfers.iter().enumerate() {
        transfer.wait(WAIT).unwrap();
        assert_same_file(&served.path().join("big"), &local.path().join(n.to_string()));
        let progress = transfer.progress();
        assert_eq!(progress.from_origin + progress.from_peers, SIZE as u64, "{progress:?}");
    }
    let stats: Vec<_> = clients.iter().map(Client::stats).collect();
    let from_peers: u64 = stats.iter().map(|s| s.from_peers).sum();
    let from_origin: u64 = stats.iter().map(|s| s.from_origin).sum();
    assert_eq!(from_peers + from_origin, 3 * SIZE as u64);
    assert!(from_peers > SIZE as u64 / 2, "peers {from_peers}, origin {from_origin}");
    assert!(stats.iter().all(|s| s.listen_port != 0));
    wait_until("what was received was sent by somebody", PATIENCE, || {
        clients.iter().map(|client| client.stats().uploaded).sum::<u64>() >= from_peers
    });
}

#[test]
fn a_client_that_does_not_seed_has_no_listener_and_gives_nothing() {
    let served = make_tree(&[("big", 3_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let local = scratch();
    let clients: Vec<_> = (0..2).map(|_| client(|config| config.seeding = Seeding::Off)).collect();
    let transfers: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(n, client)| get(&session(client, &server), "/big", &local.path().join(n.to_string())))
        .collect();
    for transfer in &transfers {
        transfer.wait(WAIT).unwrap();
    }
    for client in &clients {
        let stats = client.stats();
        assert_eq!((stats.listen_port, stats.uploaded, stats.from_peers), (0, 0, 0));
    }
}

#[test]
fn a_restart_of_the_server_costs_time_only() {
    let served = make_tree(&[("big", 6_000_000)]);
    let mut server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = local.path().join("big");
    let transfer = get(&session, "/big", &to);
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 500_000);
    server.kill9();
    wait_until("the loss is noticed", PATIENCE, || matches!(session.state(), SessionState::Lost { .. }));
    assert!(!transfer.state().is_end());
    server.restart();
    transfer.wait(WAIT).unwrap();
    assert_same_file(&served.path().join("big"), &to);
    let progress = transfer.progress();
    assert_eq!(progress.done, 6_000_000);
    assert!(progress.from_origin <= 6_000_000, "{progress:?}");
}

#[test]
fn what_was_verified_is_not_fetched_again() {
    let served = make_tree(&[("big", 6_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let local = scratch();
    let to = local.path().join("big");
    {
        let client = client(|_| {});
        let transfer = get(&session(&client, &server), "/big", &to);
        wait_until("some of it is here", PATIENCE, || transfer.progress().done > 1_000_000);
        transfer.cancel(true);
        transfer.cancel(false);
        assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Cancelled);
        assert_eq!(transfer.state(), TransferState::Cancelled);
        client.shutdown(Duration::ZERO);
    }
    assert!(!to.exists());
    let client = client(|_| {});
    let transfer = get(&session(&client, &server), "/big", &to);
    transfer.wait(WAIT).unwrap();
    assert_same_file(&served.path().join("big"), &to);
    let progress = transfer.progress();
    assert!(progress.from_disk >= 900_000, "{progress:?}");
    assert_eq!(progress.from_disk + progress.from_origin, 6_000_000, "{progress:?}");
}

#[test]
fn a_cancelled_download_can_be_started_again_at_once() {
    let served = make_tree(&[("big", 3_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "3M"]);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = local.path().join("big");
    for round in 1..=5 {
        let transfer = get(&session, "/big", &to);
        let enough = round * 200_000;
        wait_until("some of it is here", PATIENCE, || {
            let state = transfer.state();
            assert!(!state.is_end(), "{:?}", transfer.error());
            transfer.progress().done > enough
        });
        transfer.cancel(true);
        assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Cancelled);
    }
    get(&session, "/big", &to).wait(WAIT).unwrap();
    assert_same_file(&served.path().join("big"), &to);
}

#[test]
fn cancelling_for_good_leaves_nothing() {
    let served = make_tree(&[("big", 6_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "1M"]);
    let (client, local) = (client(|_| {}), scratch());
    let transfer = get(&session(&client, &server), "/big", &local.path().join("big"));
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 0);
    transfer.cancel(false);
    assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 0);
}

#[test]
fn a_pause_stops_the_flow_and_a_resume_starts_it() {
    let served = make_tree(&[("big", 4_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "1M"]);
    let (client, local) = (client(|_| {}), scratch());
    let transfer = get(&session(&client, &server), "/big", &local.path().join("big"));
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 0);
    transfer.pause();
    wait_until("it is paused", PATIENCE, || transfer.state() == TransferState::Paused);
    wait_until("what was under way is here", PATIENCE, || transfer.progress().givers == 0);
    let done = transfer.progress().done;
    assert_eq!(transfer.wait(Some(Duration::from_millis(700))).unwrap_err().kind, ErrorKind::Timeout);
    assert_eq!(transfer.progress().done, done);
    assert!(done < 4_000_000, "paused too late to tell");
    transfer.resume();
    transfer.wait(WAIT).unwrap();
    assert_same_file(&served.path().join("big"), &local.path().join("big"));
}

#[test]
fn a_file_that_changes_meanwhile_is_never_mixed() {
    let served = make_tree(&[("big", 5_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = local.path().join("big");
    let transfer = get(&session, "/big", &to);
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 300_000);
    // In its place and by a rename, as people and programs do.
    let new = content(4711, 5_500_000);
    std::fs::write(served.path().join(".new"), &new).unwrap();
    std::fs::rename(served.path().join(".new"), served.path().join("big")).unwrap();
    match transfer.wait(WAIT) {
        Ok(()) => {
            let got = std::fs::read(&to).unwrap();
            assert!(got == new || got == old("big", 5_000_000), "a mix of versions");
        }
        Err(error) => assert_eq!(error.kind, ErrorKind::Changed, "{error}"),
    }
    // Asked again, it is the new one.
    let again = get(&session, "/big", &to);
    again.wait(WAIT).unwrap();
    assert!(std::fs::read(&to).unwrap() == new);
}

/// What [`make_file`] wrote.
fn old(name: &str, size: usize) -> Vec<u8> {
    let dir = scratch();
    std::fs::read(make_file(dir.path(), name, size)).unwrap()
}

#[test]
fn a_file_that_vanishes_is_told_or_complete() {
    let served = make_tree(&[("big", 5_000_000), ("other", 10)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "2M"]);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = local.path().join("big");
    let transfer = get(&session, "/big", &to);
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 300_000);
    std::fs::remove_file(served.path().join("big")).unwrap();
    match transfer.wait(WAIT) {
        Ok(()) => assert!(std::fs::read(&to).unwrap() == old("big", 5_000_000)),
        Err(error) => {
            assert!(matches!(error.kind, ErrorKind::NotFound | ErrorKind::Changed), "{error}");
            assert!(!to.exists());
        }
    }
    let error = get(&session, "/big", &local.path().join("again")).wait(WAIT).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
    get(&session, "/other", &local.path().join("other")).wait(WAIT).unwrap();
}

#[test]
fn a_full_disk_fails_one_transfer_resumably() {
    let mount = scratch();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "none"])
        .arg(mount.path())
        .output();
    if !mounted.is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED: a_full_disk_fails_one_transfer_resumably needs the right to mount");
        return;
    }
    struct Unmount(tempfile::TempDir);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0.path()).output();
        }
    }
    let mount = Unmount(mount);
    let served = make_tree(&[("big", 4_000_000), ("small", 100_000)]);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let full = || get(&session, "/big", &mount.0.path().join("big"));
    let fits = get(&session, "/small", &local.path().join("small"));
    assert_eq!(full().wait(WAIT).unwrap_err().kind, ErrorKind::NoSpace);
    fits.wait(WAIT).unwrap();
    assert!(!mount.0.path().join("big").exists());
    assert!(mount.0.path().join("big.part").exists(), "can be resumed");
    // The same version elsewhere, and meanwhile again where there is no room: copied there from the other.
    let fits = get(&session, "/big", &local.path().join("big"));
    let error = full().wait(WAIT).unwrap_err();
    fits.wait(WAIT).unwrap();
    assert_same_file(&served.path().join("big"), &local.path().join("big"));
    assert_eq!(error.kind, ErrorKind::NoSpace);
    let done =
        std::process::Command::new("mount").args(["-o", "remount,size=16m"]).arg(mount.0.path()).output();
    assert!(done.unwrap().status.success());
    let resumed = full();
    resumed.wait(WAIT).unwrap();
    assert!(resumed.progress().from_disk > 0);
    assert_same_file(&served.path().join("big"), &mount.0.path().join("big"));
    client.shutdown(Duration::ZERO);
}

#[test]
fn two_downloads_of_one_file_in_one_client_both_arrive() {
    let served = make_tree(&[("big", 3_000_000)]);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    for seeding in [Seeding::Off, Seeding::Downloading, Seeding::Always] {
        let (client, local) = (client(|config| config.seeding = seeding), scratch());
        let session = session(&client, &server);
        let transfers: Vec<_> =
            (0..3).map(|n| get(&session, "/big", &local.path().join(n.to_string()))).collect();
        for (n, transfer) in transfers.iter().enumerate() {
            transfer.wait(WAIT).unwrap_or_else(|error| panic!("{seeding:?} {n}: {error}"));
            assert_same_file(&served.path().join("big"), &local.path().join(n.to_string()));
        }
    }
}

#[test]
fn a_stream_comes_in_order_and_can_be_stopped() {
    let served = make_tree(&[("big", 5_000_001)]);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let client = client(|_| {});
    let session = session(&client, &server);
    let got = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&got);
    let function = move |offset: u64, bytes: &[u8]| {
        let mut got = sink.lock().unwrap();
        assert_eq!(offset, got.len() as u64);
        got.extend_from_slice(bytes);
        Flow::Continue
    };
    let transfer = session.start(request("/big", Target::Stream(Box::new(function))), 9).unwrap();
    transfer.wait(WAIT).unwrap();
    assert!(*got.lock().unwrap() == std::fs::read(served.path().join("big")).unwrap());

    let stop = session.start(request("/big", Target::Stream(Box::new(|_, _| Flow::Abort))), 9).unwrap();
    assert_eq!(stop.wait(WAIT).unwrap_err().kind, ErrorKind::Cancelled);
    let error = session.start(request("/", Target::Stream(Box::new(|_, _| Flow::Continue))), 9).unwrap();
    assert_eq!(error.wait(WAIT).unwrap_err().kind, ErrorKind::Argument);
}

#[test]
fn a_part_of_a_file_is_streamed_and_nothing_else_is_fetched() {
    let served = make_tree(&[("big", 5_000_001)]);
    let content = std::fs::read(served.path().join("big")).unwrap();
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let client = client(|_| {});
    let session = session(&client, &server);
    let stream = |range: &str| {
        let got = Arc::new(Mutex::new((None, Vec::new())));
        let sink = Arc::clone(&got);
        let function = move |offset: u64, bytes: &[u8]| {
            let mut got = sink.lock().unwrap();
            let first = *got.0.get_or_insert(offset);
            assert_eq!(offset - first, got.1.len() as u64, "in order");
            got.1.extend_from_slice(bytes);
            Flow::Continue
        };
        let range = Some(ByteRange::from_text(range).unwrap());
        let tuning = Tuning { range, pace: 500_000, ..Tuning::default() };
        let request = Request { tuning, ..request("/big", Target::Stream(Box::new(function))) };
        let transfer = session.start(request, 9).unwrap();
        let ended = transfer.wait(WAIT);
        let (first, bytes) = std::mem::take(&mut *got.lock().unwrap());
        ended.map(|()| (first, bytes, transfer.progress()))
    };

    let (first, bytes, progress) = stream("1234567-1234999").unwrap();
    assert_eq!(first, Some(1_234_567));
    assert!(bytes == content[1_234_567..=1_234_999]);
    assert!(progress.total < 1_000_000 && progress.done == progress.total, "{progress:?}");
    assert_eq!(progress.from_origin, progress.total, "whole pieces, and no others");

    let (first, bytes, _) = stream("4999000-").unwrap();
    assert_eq!(first, Some(4_999_000));
    assert!(bytes == content[4_999_000..]);
    let (_, bytes, _) = stream("5000000-9999999999").unwrap();
    assert!(bytes == content[5_000_000..], "what ends past the end ends with the file");
    let (first, bytes, _) = stream("5000001-").unwrap();
    assert_eq!((first, bytes), (None, Vec::new()));
    let error = stream("5000002-").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Argument);
    assert!(error.to_string().contains("5000001"), "{error}");
    // All of it is still to be had, whatever was told to the server of the parts.
    let (_, bytes, _) = stream("0-").unwrap();
    assert!(bytes == content);

    let tuning = Tuning { range: Some(ByteRange::new(0, 5)), ..Tuning::default() };
    let file = Request { tuning, ..request("/big", Target::File("nowhere".into())) };
    assert_eq!(session.start(file, 0).unwrap_err().kind, ErrorKind::Argument);
}

#[test]
fn wishes_that_cannot_be_met_are_told_so() {
    let served = make_tree(&[("dir/file", 100_000)]);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = |name: &str| local.path().join(name);
    let kind = |request| session.start(request, 0).unwrap().wait(WAIT).unwrap_err().kind;
    assert_eq!(kind(request("/none", Target::File(to("a")))), ErrorKind::NotFound);
    assert_eq!(kind(request("/dir", Target::File(to("a")))), ErrorKind::Argument);
    let flat = Request { recursive: false, ..request("/dir", Target::Dir(to("d"))) };
    assert_eq!(kind(flat), ErrorKind::Argument);
    let root = Some("00".repeat(32).parse().unwrap());
    let other = Request { expect_root: root, ..request("/dir/file", Target::File(to("a"))) };
    assert_eq!(kind(other), ErrorKind::Changed);
    std::fs::write(to("exists"), "something else").unwrap();
    let never = Request { overwrite: Overwrite::Never, ..request("/dir/file", Target::File(to("exists"))) };
    assert_eq!(kind(never), ErrorKind::Exists);
    assert_eq!(std::fs::read(to("exists")).unwrap(), b"something else");
    assert_eq!(session.list(&path("/none"), 1, WAIT).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(session.stat(&path("/none"), WAIT).unwrap_err().kind, ErrorKind::NotFound);
    assert!(session.list(&path("/dir/file"), 1, WAIT).is_err());
    // A file into a directory has its own name there.
    session.start(request("/dir/file", Target::Dir(to("into"))), 0).unwrap().wait(WAIT).unwrap();
    assert_same_file(&served.path().join("dir/file"), &to("into/file"));
}

#[test]
fn listings_come_whole_or_page_by_page() {
    let served = scratch();
    for n in 0..2500 {
        make_file(served.path(), format!("d/{n:04}"), 1);
    }
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let client = client(|_| {});
    let session = session(&client, &server);
    let listing = session.list(&path("/d"), 1, WAIT).unwrap();
    assert!(listing.complete);
    let names: Vec<_> = listing.entries.iter().map(|entry| entry.name.clone()).collect();
    assert!(names.len() == 2500 && names.is_sorted());
    let op = session.list_start(&path("/"), 2, 55).unwrap();
    let mut entries = 0;
    loop {
        let event = client.next_event(WAIT).expect("a page");
        let EventBody::Listing { op: of, result, last } = event.body else { continue };
        assert_eq!((of, event.user_data), (op, 55));
        entries += result.unwrap().entries.len();
        if last {
            break;
        }
    }
    assert_eq!(entries, 2501);
    let stat = session.stat(&path("/d/0007"), WAIT).unwrap();
    assert_eq!((stat.entries[0].name.as_str(), stat.entries[0].size), ("0007", 1));
    assert!(stat.entries[0].root.is_some());
}

#[test]
fn the_end_of_a_client_is_the_end_of_its_threads() {
    let served = make_tree(&[("big", 5_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "1M"]);
    let (client, local) = (client(|_| {}), scratch());
    let session = session(&client, &server);
    let to = local.path().join("big");
    let transfer = get(&session, "/big", &to);
    wait_until("some of it is here", PATIENCE, || transfer.progress().done > 0);
    assert!(library_threads() > 0);
    let started = Instant::now();
    client.shutdown(Duration::from_secs(5));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    if std::env::var_os("NEXTEST").is_some() {
        assert_eq!(library_threads(), 0);
    }
    assert!(transfer.state().is_end());
    assert!(local.path().join("big.part").exists(), "resumable");
    let ends = std::iter::from_fn(|| client.next_event(Some(Duration::ZERO)))
        .filter(|event| matches!(event.body, EventBody::Done { .. }))
        .count();
    assert_eq!(ends, 1);
    // What is left of it answers, and does not hang.
    let state = |error: pdtp::client::Error| assert_eq!(error.kind, ErrorKind::State, "{error}");
    state(session.list(&path("/"), 1, None).unwrap_err());
    state(session.stat(&path("/"), None).unwrap_err());
    state(session.wait_ready(None).unwrap_err());
    state(session.start(request("/big", Target::File(to)), 0).unwrap_err());
    state(client.open_session(&server.uri("/").parse().unwrap(), 0).unwrap_err());
    state(client.set("limit_up", "1").unwrap_err());
    assert_eq!(session.state(), SessionState::Closed);
    assert!(client.next_event(None).is_none());
    transfer.pause();
    transfer.cancel(false);
    assert!(transfer.wait(None).is_err());
    client.shutdown(Duration::ZERO);
}

#[test]
fn the_last_handle_ends_the_client_whichever_it_is() {
    let served = make_tree(&[("big", 5_000_000)]);
    let server = Pdtpd::start(served.path(), &["--limit-up", "1M"]);
    let local = scratch();
    let transfer = {
        let client = client(|config| config.grace = Duration::ZERO);
        get(&session(&client, &server), "/big", &local.path().join("big"))
    };
    wait_until("it goes on without its client and session", PATIENCE, || transfer.progress().done > 0);
    drop(transfer);
    if std::env::var_os("NEXTEST").is_some() {
        assert_eq!(library_threads(), 0);
    }
}

#[test]
fn a_client_works_inside_another_runtime() {
    let served = make_tree(&[("file", 300_000)]);
    let server = Pdtpd::start(served.path(), &NO_ARGS);
    let local = scratch();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let client = client(|_| {});
        let session = session(&client, &server);
        get(&session, "/file", &local.path().join("file")).wait(WAIT).unwrap();
        client.shutdown(Duration::ZERO);
        drop((session, client));
    });
    assert_same_file(&served.path().join("file"), &local.path().join("file"));
    wait_until("its threads have gone", PATIENCE, || {
        std::env::var_os("NEXTEST").is_none() || library_threads() == 0
    });
}

#[test]
fn an_unreachable_server_is_told_and_tried_again() {
    let client = client(|_| {});
    let uri = format!("pdtp://127.0.0.1:{}/", common::closed_port());
    let session = client.open_session(&uri.parse().unwrap(), 3).unwrap();
    assert_eq!(session.wait_ready(WAIT).unwrap_err().kind, ErrorKind::Connect);
    assert!(matches!(session.state(), SessionState::Lost { .. }));
    let lost = std::iter::from_fn(|| client.next_event(WAIT))
        .find(|e| matches!(e.body, EventBody::Session { state: SessionState::Lost { .. }, .. }));
    assert_eq!(lost.unwrap().user_data, 3);
    let error = session.list(&path("/"), 1, Some(Duration::from_millis(50))).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    let unknown = client.open_session(&"pdtp://name.invalid/".parse().unwrap(), 0).unwrap();
    assert_eq!(unknown.wait_ready(WAIT).unwrap_err().kind, ErrorKind::Resolve);
}

#[test]
fn waiting_can_be_interrupted() {
    let client = client(|_| {});
    let uri = format!("pdtp://127.0.0.1:{}/", common::closed_port());
    let session = client.open_session(&uri.parse().unwrap(), 3).unwrap();
    let waiting = std::thread::spawn(move || session.list(&UrlPath::root(), 1, None));
    wait_until("the interruption is noticed", PATIENCE, || {
        client.interrupt();
        waiting.is_finished()
    });
    assert_eq!(waiting.join().unwrap().unwrap_err().kind, ErrorKind::Interrupted);
}
