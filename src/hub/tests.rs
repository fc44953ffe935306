use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::catalogue::{BROKEN_NAME, FILE_NAME};
use super::stamp::Stamp;
use super::*;
use crate::content::{Layout, hash_piece, merkle_root};
use crate::wire::Entry;

mod changes;

/// Far beyond what anything here takes, so that a busy machine is no failure.
const DEADLINE: Duration = Duration::from_secs(180);

/// A directory to be served, with a place for state beside it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree").join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn hub(&self) -> Hub {
        self.hub_with(HubConfig::default())
    }

    /// One that follows symlinks.
    fn following(&self) -> Hub {
        self.hub_with(HubConfig { follow_symlinks: true, ..HubConfig::default() })
    }

    fn hub_with(&self, config: HubConfig) -> Hub {
        Hub::open(&self.path(""), config).unwrap()
    }

    fn kept(&self) -> HubConfig {
        HubConfig { state_dir: Some(self.state()), ..HubConfig::default() }
    }
}

fn url(text: &str) -> UrlPath {
    UrlPath::parse(text).unwrap()
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::yield_now();
    }
}

fn wait_hashed(hub: &Hub) -> HubStats {
    wait_until("everything hashed", || {
        let stats = hub.stats();
        stats.scanned && stats.hashed_files == stats.files
    });
    hub.stats()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await.expect("in time") })
}

fn version(hub: &Hub, path: &str) -> Result<Arc<FileVersion>, HubError> {
    run(hub.version(&url(path), |_, _| {}))
}

fn root_of(content: &[u8]) -> Digest {
    let piece = PieceSize::for_file(content.len() as u64).bytes() as usize;
    merkle_root(&content.chunks(piece).map(hash_piece).collect::<Vec<_>>())
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(len)
    .collect()
}

fn list_all(hub: &Hub, dir: &str, depth: u32, max_entries: usize, max_bytes: usize) -> Vec<Entry> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page =
            hub.list(&url(dir), depth, cursor.as_deref(), max_entries, max_bytes, View::ENTRIES).unwrap();
        assert!(page.entries.len() <= max_entries);
        assert!(!page.entries.is_empty() || page.next.is_none());
        all.extend(page.entries);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return all,
        }
    }
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn versions_of_all_sizes_have_the_right_root() {
    let site = Site::new();
    let sizes = [0, 1, 65_535, 65_536, 65_537, 1_000_000, 40_000_000];
    for size in sizes {
        site.write(&format!("f{size}"), noise(size, size as u64));
    }
    let hub = site.hub();
    for size in sizes {
        let content = noise(size, size as u64);
        let version = version(&hub, &format!("/f{size}")).unwrap();
        assert_eq!(version.hashes.layout().size(), size as u64);
        assert_eq!(version.root(), root_of(&content), "of {size} bytes");
        assert_eq!(version.digest, (size <= 65_536).then(|| hash_piece(&content)));
        let mut first = [0; 1];
        assert_eq!(version.open().unwrap().read_at(&mut first, 0).unwrap(), size.min(1));
    }
    let stats = wait_hashed(&hub);
    assert_eq!(stats.files, sizes.len() as u64);
    assert_eq!(stats.bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(stats.hashed_bytes, stats.bytes);
}

#[test]
fn piece_size_of_the_operator() {
    let site = Site::new();
    let content = noise(100_000, 1);
    site.write("f", &content);
    let piece = PieceSize::new(16_384).unwrap();
    let hub = site.hub_with(HubConfig { piece_size: Some(piece), ..site.kept() });
    let found = version(&hub, "/f").unwrap();
    assert_eq!(found.hashes.layout(), Layout::new(100_000, piece).unwrap());
    assert_eq!(found.hashes.all(), content.chunks(16_384).map(hash_piece).collect::<Vec<_>>());
    hub.close();
    // Another piece size is another version, whatever the catalogue says.
    let hub = site.hub_with(site.kept());
    assert_eq!(version(&hub, "/f").unwrap().root(), root_of(&content));
}

#[test]
fn a_sparse_file_over_4_gib() {
    let site = Site::new();
    let size = (4 << 30) + 3;
    fs::File::create(site.path("big")).unwrap().set_len(size).unwrap();
    let hub = site.hub_with(HubConfig { hash_threads: 2, ..HubConfig::default() });
    let mut last = 0;
    let version = run(hub.version(&url("/big"), |done, total| {
        assert_eq!(total, size);
        assert!(done <= total);
        last = done;
    }))
    .unwrap();
    assert!(last > 0, "progress was told");
    let layout = version.hashes.layout();
    assert_eq!((layout.size(), layout.count()), (size, 1025));
    let zeros = vec![0; 4 << 20];
    assert!(version.hashes.is_right(0, &hash_piece(&zeros)));
    assert!(version.hashes.is_right(1023, &hash_piece(&zeros)));
    assert!(version.hashes.is_right(1024, &hash_piece(&[0; 3])));
}

#[test]
fn a_small_file_does_not_wait_for_a_large_one() {
    let site = Site::new();
    // Hours of work, if it were done first.
    fs::File::create(site.path("huge")).unwrap().set_len(1 << 42).unwrap();
    site.write("small", "now");
    let hub = site.hub_with(HubConfig { hash_threads: 1, ..HubConfig::default() });
    run(async {
        let begun = AtomicBool::new(false);
        let (path, small) = (url("/huge"), url("/small"));
        let huge = hub.version(&path, |_, _| begun.store(true, Ordering::Relaxed));
        tokio::pin!(huge);
        // Behind one that somebody waits for.
        while !begun.load(Ordering::Relaxed) {
            tokio::select! {
                _ = &mut huge => unreachable!("hours of work"),
                () = tokio::task::yield_now() => {}
            }
        }
        tokio::select! {
            _ = &mut huge => unreachable!("hours of work"),
            small = hub.version(&small, |_, _| {}) => assert_eq!(small.unwrap().root(), root_of(b"now")),
        }
    });
    // And behind the same in the background, now that nobody waits for it.
    site.write("small2", "now too");
    assert_eq!(version(&hub, "/small2").unwrap().root(), root_of(b"now too"));
    let start = Instant::now();
    hub.close();
    assert!(start.elapsed() < Duration::from_secs(5), "closing waits for a slice only");
}

#[test]
fn everybody_shares_one_hashing() {
    let site = Site::new();
    site.write("f", noise(30_000_000, 5));
    let hub = site.hub();
    let path = url("/f");
    let all = run(async { tokio::join!(hub.version(&path, |_, _| {}), hub.version(&path, |_, _| {})) });
    assert!(Arc::ptr_eq(&all.0.unwrap(), &all.1.unwrap()));
    assert!(Arc::ptr_eq(&version(&hub, "/f").unwrap(), &hub.stat(&path).unwrap().version.unwrap()));
}

#[test]
fn symlinks_lead_within_the_tree_and_never_out() {
    let site = Site::new();
    site.write("dir/file", "inside");
    fs::write(site.dir.path().join("secret"), "outside").unwrap();
    symlink("dir/file", site.path("relative")).unwrap();
    symlink("dir", site.path("to-dir")).unwrap();
    symlink("../file", site.path("dir/up-and-out")).unwrap();
    symlink("../../secret", site.path("dir/out")).unwrap();
    symlink("../tree/dir/file", site.path("out-and-in")).unwrap();
    symlink(site.dir.path().join("secret"), site.path("absolute")).unwrap();
    symlink("/", site.path("to-root")).unwrap();
    symlink("nowhere", site.path("dangling")).unwrap();
    symlink("ring", site.path("ring")).unwrap();
    let hub = site.following();
    assert_eq!(version(&hub, "/relative").unwrap().root(), root_of(b"inside"));
    assert_eq!(version(&hub, "/to-dir/file").unwrap().root(), root_of(b"inside"));
    for (path, error) in [
        ("/dir/out", HubError::Denied),
        ("/out-and-in", HubError::Denied),
        ("/absolute", HubError::Denied),
        ("/to-root/etc/passwd", HubError::Denied),
        ("/dangling", HubError::NotFound),
        ("/dir/up-and-out", HubError::NotFound),
        ("/ring", HubError::NotFound),
        ("/dir/file/x", HubError::NotFound),
    ] {
        assert_eq!(version(&hub, path).err(), Some(error.clone()), "version of {path}");
        assert_eq!(hub.stat(&url(path)).err(), Some(error.clone()), "stat of {path}");
        assert_eq!(hub.open_file(&url(path)).err(), Some(error), "opening {path}");
    }
    assert_eq!(hub.list(&url("/to-root"), 1, None, 10, 9999, View::ENTRIES).err(), Some(HubError::Denied));
    assert_eq!(names(&list_all(&hub, "/", 1, 100, 60_000)), ["dir", "relative", "to-dir"]);
}

#[test]
fn links_to_a_hashed_file_are_not_hashed_again() {
    let site = Site::new();
    site.write("a", noise(200_000, 1));
    symlink("a", site.path("link")).unwrap();
    let hub = site.following();
    wait_hashed(&hub);
    // Nothing is hashed by being listed.
    wait_until("the catalogue written", || {
        hub.list(&url("/"), 1, None, 10, 9999, View::ENTRIES)
            .unwrap()
            .entries
            .iter()
            .all(|entry| entry.root.is_some())
    });
    assert_eq!(version(&hub, "/link").unwrap().root(), root_of(&noise(200_000, 1)));
}

#[test]
fn special_files_are_not_there() {
    let site = Site::new();
    site.write("f", "x");
    let made = std::process::Command::new("mkfifo").arg(site.path("pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(site.path("socket")).unwrap();
    let hub = site.hub();
    for path in ["/pipe", "/socket"] {
        assert_eq!(version(&hub, path).err(), Some(HubError::NotFound));
        assert_eq!(hub.open_file(&url(path)).err(), Some(HubError::NotFound));
    }
    assert_eq!(names(&list_all(&hub, "/", 9, 100, 60_000)), ["f"]);
    assert_eq!(wait_hashed(&hub).files, 1);
}

#[test]
fn hidden_names_are_hidden_unless_wanted() {
    let site = Site::new();
    site.write(".secret", "x");
    site.write(".dir/file", "x");
    site.write("plain", "x");
    site.write(".pdtp/status", "forged");
    let hub = site.hub();
    for path in ["/.secret", "/.dir", "/.dir/file", "/.pdtp/status", "/.pdtp"] {
        assert_eq!(hub.stat(&url(path)).err(), Some(HubError::NotFound), "{path}");
        assert_eq!(version(&hub, path).err(), Some(HubError::NotFound), "{path}");
    }
    assert_eq!(names(&list_all(&hub, "/", 9, 100, 60_000)), ["plain"]);
    assert_eq!(wait_hashed(&hub).files, 1);

    let hub = site.hub_with(HubConfig { hidden: true, ..HubConfig::default() });
    assert_eq!(version(&hub, "/.dir/file").unwrap().root(), root_of(b"x"));
    assert_eq!(hub.stat(&url("/.pdtp/status")).err(), Some(HubError::NotFound));
    assert_eq!(names(&list_all(&hub, "/", 9, 100, 60_000)), [".dir", ".dir/file", ".secret", "plain"]);
}

#[test]
fn only_what_the_patterns_choose_is_there() {
    let site = Site::new();
    for name in ["a.iso", "a.tmp", "cache/x.iso", "d/b.iso", "d/cache", "d/notes.txt"] {
        site.write(name, name);
    }
    let globs = |include: &[&str], exclude: &[&str]| {
        let owned = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        HubConfig { globs: Globs::new(&owned(include), &owned(exclude)).unwrap(), ..HubConfig::default() }
    };
    let hub = site.hub_with(globs(&[], &["*.tmp", "cache/"]));
    assert_eq!(
        names(&list_all(&hub, "/", 9, 100, 60_000)),
        ["a.iso", "d", "d/b.iso", "d/cache", "d/notes.txt"]
    );
    for path in ["/a.tmp", "/cache", "/cache/x.iso", "/cache/none"] {
        assert_eq!(hub.stat(&url(path)).err(), Some(HubError::NotFound), "{path}");
        assert_eq!(version(&hub, path).err(), Some(HubError::NotFound), "{path}");
        assert_eq!(hub.open_file(&url(path)).err(), Some(HubError::NotFound), "{path}");
        assert_eq!(
            hub.list(&url(path), 1, None, 9, 999, View::ENTRIES).err(),
            Some(HubError::NotFound),
            "{path}"
        );
    }
    assert_eq!(wait_hashed(&hub).files, 4);
    let hub = site.hub_with(globs(&["*.iso"], &[]));
    assert_eq!(
        names(&list_all(&hub, "/", 9, 100, 60_000)),
        ["a.iso", "cache", "cache/x.iso", "d", "d/b.iso"]
    );
    assert_eq!(version(&hub, "/d/notes.txt").err(), Some(HubError::NotFound));
}

#[test]
fn symlinks_are_not_there_unless_they_are_to_be_followed() {
    let site = Site::new();
    site.write("dir/file", "inside");
    symlink("dir/file", site.path("link")).unwrap();
    symlink("dir", site.path("to-dir")).unwrap();
    let hub = site.hub();
    for path in ["/link", "/to-dir", "/to-dir/file"] {
        assert_eq!(hub.stat(&url(path)).err(), Some(HubError::NotFound), "{path}");
        assert_eq!(version(&hub, path).err(), Some(HubError::NotFound), "{path}");
    }
    assert_eq!(names(&list_all(&hub, "/", 9, 100, 60_000)), ["dir", "dir/file"]);
    assert_eq!(hub.list(&url("/to-dir"), 1, None, 10, 9999, View::ENTRIES).err(), Some(HubError::NotFound));
    assert!(version(&hub, "/dir/file").is_ok());
    // A file that becomes a link is one, too.
    fs::rename(site.path("dir"), site.path("moved")).unwrap();
    symlink("moved", site.path("dir")).unwrap();
    assert_eq!(version(&hub, "/dir/file").err(), Some(HubError::NotFound));
    assert!(version(&hub, "/moved/file").is_ok());
}

#[test]
fn the_state_directory_is_not_served() {
    let site = Site::new();
    site.write("f", "x");
    let state = site.path("state/of pdtpd");
    let config = HubConfig { state_dir: Some(state), hidden: true, ..HubConfig::default() };
    let hub = site.hub_with(config);
    assert_eq!(hub.stat(&url("/state/of%20pdtpd/catalogue.redb")).err(), Some(HubError::NotFound));
    assert_eq!(names(&list_all(&hub, "/", 9, 100, 60_000)), ["f", "state"]);
    assert_eq!(wait_hashed(&hub).files, 1);
}

#[test]
fn names_that_are_not_utf8_are_served() {
    let site = Site::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 <b>.txt");
    fs::write(site.path("").join(name), "latin").unwrap();
    site.write("utf-8 \u{e9}", "x");
    let hub = site.hub();
    let entries = list_all(&hub, "/", 1, 100, 60_000);
    assert_eq!(names(&entries), ["caf\u{fffd} <b>.txt", "utf-8 \u{e9}"]);
    assert_eq!(entries[0].path.as_deref(), Some("caf%E9%20%3Cb%3E.txt"));
    assert_eq!(entries[1].path, None);
    assert_eq!(version(&hub, "/caf%E9%20%3Cb%3E.txt").unwrap().root(), root_of(b"latin"));
}

#[test]
fn unreadable_files_are_denied() {
    let site = Site::new();
    let path = site.write("f", "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        return; // The superuser reads everything.
    }
    let hub = site.hub();
    assert_eq!(version(&hub, "/f").err(), Some(HubError::Denied));
}

#[test]
fn directories_and_files_are_told_apart() {
    let site = Site::new();
    let file = site.write("dir/file", "x");
    let hub = site.hub();
    assert_eq!(version(&hub, "/dir").err(), Some(HubError::IsDirectory));
    assert_eq!(hub.open_file(&url("/dir")).err(), Some(HubError::IsDirectory));
    assert_eq!(
        hub.list(&url("/dir/file"), 1, None, 9, 9999, View::ENTRIES).err(),
        Some(HubError::NotDirectory)
    );
    assert_eq!(hub.list(&url("/no"), 1, None, 9, 9999, View::ENTRIES).err(), Some(HubError::NotFound));
    assert_eq!(hub.stat(&url("/dir")).unwrap().kind, EntryKind::Dir);
    assert_eq!(Hub::open(&file, HubConfig::default()).err(), Some(HubError::NotDirectory));
    assert_eq!(Hub::open(&site.path("no"), HubConfig::default()).err(), Some(HubError::NotFound));
}

#[test]
fn a_replaced_file_is_a_new_version_and_the_old_one_stays_readable() {
    let site = Site::new();
    site.write("f", "old content");
    let hub = site.hub();
    let old = version(&hub, "/f").unwrap();
    let file = old.open().unwrap();
    fs::rename(site.write("new", "new!"), site.path("f")).unwrap();
    let new = version(&hub, "/f").unwrap();
    assert_eq!(new.root(), root_of(b"new!"));
    // The old one had its only link taken away, which changes its times but not its bytes.
    assert!(old.is_unchanged(&file));
    assert!(hub.still_good(&old));
    let mut bytes = [0; 11];
    old.open().unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"old content");
}

#[test]
fn a_file_overwritten_in_place_is_retired() {
    let site = Site::new();
    let path = site.write("f", "old content");
    let hub = site.hub();
    let old = version(&hub, "/f").unwrap();
    let file = old.open().unwrap();
    assert!(hub.still_good(&old));
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"OLD").unwrap();
    // Even if somebody sets the clock of the file back.
    writer.set_modified(std::time::UNIX_EPOCH + Duration::new(old.mtime as u64, 0)).unwrap();
    assert!(!old.is_unchanged(&file));
    assert!(old.open().is_err());
    assert!(!hub.still_good(&old));
    assert_eq!(version(&hub, "/f").unwrap().root(), root_of(b"OLD content"));
}

#[test]
fn a_removed_file_is_not_found() {
    let site = Site::new();
    let path = site.write("f", "x");
    let hub = site.hub();
    let old = version(&hub, "/f").unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!(version(&hub, "/f").err(), Some(HubError::NotFound));
    assert!(old.open().is_ok(), "whoever has the version can read on");
}

#[test]
fn hashes_of_a_file_that_changes_meanwhile_are_never_mixed() {
    let site = Site::new();
    let size = 24 << 20;
    let path = site.write("f", vec![0; size]);
    let hub = site.hub();
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            // Ends by itself, so that the last state is a stable one.
            let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            for round in 1u8..=60 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                file.seek(SeekFrom::Start(0)).unwrap();
                for _ in 0..size >> 20 {
                    file.write_all(&vec![round; 1 << 20]).unwrap();
                }
            }
        });
        let result = version(&hub, "/f");
        stop.store(true, Ordering::Relaxed);
        result
    });
    // Either it was caught at rest, or not at all; it is at rest now.
    assert!(matches!(result, Ok(_) | Err(HubError::Unstable)), "{result:?}");
    assert_eq!(version(&hub, "/f").unwrap().root(), root_of(&fs::read(&path).unwrap()));
    let first = fs::read(&path).unwrap()[0];
    assert!(fs::read(&path).unwrap().iter().all(|&byte| byte == first));
}

#[test]
fn a_file_that_never_rests_is_unstable() {
    let site = Site::new();
    let path = site.path("disk.img");
    let file = fs::File::create(&path).unwrap();
    file.set_len(512 << 20).unwrap();
    let hub = site.hub();
    let mut writes = 0;
    let result = run(hub.version(&url("/disk.img"), |done, _| {
        if done > 0 {
            file.write_all_at(b"x", 1000).unwrap();
            writes += 1;
        }
    }));
    assert_eq!(result.err(), Some(HubError::Unstable));
    assert!(writes > 2, "it was tried again");
    assert!(version(&hub, "/disk.img").is_ok(), "it rests now");
}

#[test]
fn a_restart_hashes_nothing_that_is_unchanged() {
    let site = Site::new();
    site.write("small", "x");
    site.write("dir/large", noise(10_000_000, 3));
    let changed = site.write("changed", "before");
    let removed = site.write("removed", "x");
    let hub = site.hub_with(site.kept());
    let roots = [version(&hub, "/small").unwrap().root(), version(&hub, "/dir/large").unwrap().root()];
    wait_hashed(&hub);
    hub.close();
    assert_eq!(version(&hub, "/nothing").err(), Some(HubError::NotFound), "a closed hub does not hang");
    fs::write(changed, "after!").unwrap();
    fs::remove_file(removed).unwrap();

    let hub = site.hub_with(site.kept());
    // Known at once, without any hashing, which would tell of its progress.
    let found = run(hub.version(&url("/dir/large"), |_, _| panic!("hashed again"))).unwrap();
    assert_eq!(found.root(), roots[1]);
    assert_eq!(found.hashes.all().len(), 153);
    assert_eq!(version(&hub, "/small").unwrap().root(), roots[0]);
    assert_eq!(hub.stat(&url("/small")).unwrap().version.unwrap().digest, Some(hash_piece(b"x")));
    assert_eq!(version(&hub, "/changed").unwrap().root(), root_of(b"after!"));
    assert_eq!(wait_hashed(&hub).files, 3);
}

#[test]
fn a_second_process_is_refused() {
    let site = Site::new();
    let _hub = site.hub_with(site.kept());
    let Err(HubError::Io(message)) = Hub::open(&site.path(""), site.kept()) else { panic!("not refused") };
    assert!(message.contains("another process"), "{message}");
}

#[test]
fn a_broken_catalogue_is_set_aside() {
    let site = Site::new();
    for i in 0..50 {
        site.write(&format!("f{i}"), noise(70_000, i));
    }
    let hub = site.hub_with(site.kept());
    wait_hashed(&hub);
    hub.close();
    let file = site.state().join(FILE_NAME);
    let good = fs::read(&file).unwrap();

    let mut damaged: Vec<(String, Vec<u8>)> = vec![
        ("not a database".into(), b"something else".to_vec()),
        ("cut short".into(), good[..good.len() / 2].to_vec()),
        ("all zero".into(), vec![0; good.len()]),
    ];
    for step in 0..24 {
        let mut bytes = good.clone();
        let at = step * bytes.len() / 24 + 7;
        for byte in bytes.iter_mut().skip(at).step_by(97).take(40) {
            *byte ^= 0xa5;
        }
        damaged.push((format!("damaged at {at}"), bytes));
    }
    for (what, bytes) in damaged {
        fs::write(&file, bytes).unwrap();
        let hub = site.hub_with(site.kept());
        for i in [0, 7, 49] {
            let expected = root_of(&noise(70_000, i));
            assert_eq!(version(&hub, &format!("/f{i}")).unwrap().root(), expected, "{what}");
        }
        hub.close();
    }
    assert!(site.state().join(BROKEN_NAME).exists());
}

#[test]
fn a_catalogue_is_inspected() {
    let site = Site::new();
    for (name, size) in [("a", 0), ("b", 5), ("c/d", 200_000)] {
        site.write(name, noise(size, 1));
    }
    assert_eq!(Inspection::open(&site.state()).err(), Some(HubError::NotFound));
    let hub = site.hub_with(site.kept());
    wait_hashed(&hub);
    let Err(HubError::Io(message)) = Inspection::open(&site.state()) else { panic!("not refused") };
    assert!(message.contains("another process"), "{message}");
    hub.close();
    let mut inspection = Inspection::open(&site.state()).unwrap();
    let stats = inspection.stats().unwrap();
    assert_eq!((stats.format, stats.files, stats.bytes, stats.pieces), (1, 3, 200_005, 5));
    assert_eq!(inspection.check(), Ok(Problems { records: 3, ..Problems::default() }));
    let mut text = Vec::new();
    inspection.export(&mut text).unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(text).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[2]["path"]), (3, &"/c/d".into()));
    assert_eq!(lines[2]["root"], root_of(&noise(200_000, 1)).to_string());
    assert_eq!(lines[2]["pieces"].as_array().unwrap().len(), 4);
    drop(inspection);
    // One hash is another: found, and named.
    {
        let db = redb::Database::open(site.state().join(FILE_NAME)).unwrap();
        let transaction = db.begin_write().unwrap();
        let table = redb::TableDefinition::<&str, &[u8]>::new("pieces");
        transaction.open_table(table).unwrap().insert("/c/d", &[7; 128][..]).unwrap();
        transaction.commit().unwrap();
    }
    let problems = Inspection::open(&site.state()).unwrap().check().unwrap();
    assert_eq!(problems.broken, 1);
    assert!(problems.told[0].starts_with("/c/d: "), "{problems:?}");
}

#[test]
fn a_catalogue_of_a_newer_format_is_left_alone() {
    let site = Site::new();
    site.write("f", "x");
    of_format(&site, 99);
    let Err(HubError::Io(message)) = Hub::open(&site.path(""), site.kept()) else { panic!("not refused") };
    assert!(message.contains("format 99") && message.contains("newer"), "{message}");
    assert!(site.state().join(FILE_NAME).exists() && !site.state().join(BROKEN_NAME).exists());
}

/// A catalogue that says that it has this format.
fn of_format(site: &Site, format: u64) {
    fs::create_dir(site.state()).unwrap();
    let db = redb::Database::create(site.state().join(FILE_NAME)).unwrap();
    let transaction = db.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u64>::new("about");
    transaction.open_table(table).unwrap().insert("format", format).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn a_catalogue_of_an_older_format_is_set_aside() {
    let site = Site::new();
    site.write("f", "x");
    of_format(&site, 0);
    let hub = site.hub_with(site.kept());
    assert_eq!(version(&hub, "/f").unwrap().root(), root_of(b"x"));
    assert!(site.state().join(BROKEN_NAME).exists());
}

#[test]
fn listings_are_in_byte_order_at_any_page_size() {
    let site = Site::new();
    for name in
        ["a/b", "a/c/d", "a!b", "a!b2/x", "a b", "a.txt", "b/x", "B", "ab", "a-/y", "z%41", "\u{e9}/1"]
    {
        site.write(name, name);
    }
    fs::create_dir(site.path("empty")).unwrap();
    let hub = site.hub();
    let relative = |entry: &Entry| {
        let name =
            entry.path.clone().map(String::into_bytes).unwrap_or_else(|| entry.name.clone().into_bytes());
        UrlPath::from_components(name.split(|b| *b == b'/')).unwrap().as_str()[1..].to_owned()
    };
    for depth in [1, 2, 3, 100] {
        let whole = list_all(&hub, "/", depth, 1000, 60_000);
        let paths: Vec<String> = whole.iter().map(relative).collect();
        assert!(paths.is_sorted(), "{paths:?}");
        assert_eq!(paths.len(), if depth == 1 { 12 } else { 17 + depth.min(3) as usize - 1 });
        for page in 1..8 {
            assert_eq!(names(&list_all(&hub, "/", depth, page, 60_000)), names(&whole), "pages of {page}");
        }
        for bytes in [1, 200, 300, 700] {
            assert_eq!(
                names(&list_all(&hub, "/", depth, 1000, bytes)),
                names(&whole),
                "pages of {bytes} bytes"
            );
        }
    }
    let inner = list_all(&hub, "/a", 2, 1, 60_000);
    assert_eq!(names(&inner), ["b", "c", "c/d"]);
    assert_eq!(inner[1].kind, EntryKind::Dir);
}

#[test]
fn a_new_listing_sees_what_came_and_went() {
    let site = Site::new();
    for n in 0..3000 {
        fs::write(site.path(&format!("f{n:04}")), "").unwrap();
    }
    let hub = site.hub();
    let all = || list_all(&hub, "/", 1, 5000, 1 << 20);
    // Once the last change is some seconds ago, the names are kept from one listing to the next.
    wait_until("names are kept", || {
        assert_eq!(all().len(), 3000);
        let stamp = Stamp::of(&fs::metadata(site.path("")).unwrap());
        hub.owner.shared.runs.find_first(&UrlPath::root(), stamp).is_some()
    });
    assert_eq!(all().len(), 3000);
    fs::write(site.path("new"), "").unwrap();
    assert_eq!(all().len(), 3001);
    fs::remove_file(site.path("f0000")).unwrap();
    fs::rename(site.path("f0001"), site.path("g")).unwrap();
    assert_eq!(all().len(), 3000);
    assert_eq!(names(&all())[0], "f0002");
}

#[test]
fn pages_of_a_large_directory() {
    let site = Site::new();
    for i in 0..3000 {
        fs::write(site.path(&format!("n{i}")), "").unwrap();
    }
    let hub = site.hub();
    let all = list_all(&hub, "/", 1, 100, 60_000);
    assert_eq!(all.len(), 3000);
    assert!(names(&all).is_sorted());
}

#[test]
fn a_long_directory_is_read_once_and_every_entry_looked_at() {
    let site = Site::new();
    for i in 0..5000 {
        fs::write(site.path(&format!("n{i:04}")), "").unwrap();
    }
    let hub = site.hub();
    let page = |cursor: Option<&str>| hub.list(&url("/"), 1, cursor, 100, 60_000, View::ENTRIES).unwrap();
    let first = page(None);
    for name in ["n0150", "n4000"] {
        fs::remove_file(site.path(name)).unwrap();
    }
    fs::write(site.path("n0200"), "longer").unwrap();
    fs::write(site.path("n0150+"), "new").unwrap();
    let second = page(first.next.as_deref());
    assert!(!names(&second.entries).contains(&"n0150"), "what is gone is not listed");
    assert_eq!(second.entries.iter().find(|entry| entry.name == "n0200").unwrap().size, 6);
    let mut all: Vec<String> =
        [first, second.clone()].into_iter().flat_map(|page| page.entries).map(|e| e.name).collect();
    let mut cursor = second.next;
    while let Some(next) = cursor {
        let page = page(Some(&next));
        all.extend(page.entries.into_iter().map(|entry| entry.name));
        cursor = page.next;
    }
    assert!(all.is_sorted());
    all.retain(|name| name != "n0150+");
    assert_eq!(all.len(), 4998);
    // Whoever begins anew sees what is new.
    assert!(names(&list_all(&hub, "/", 1, 1000, 99_999)).contains(&"n0150+"));
}

#[test]
fn names_that_come_to_nothing_do_not_end_a_listing() {
    let site = Site::new();
    // More than are looked at in one go, between a directory and what is in it, as paths are ordered.
    for i in 0..2000 {
        symlink("nowhere", site.path(&format!("a!{i}"))).unwrap();
    }
    site.write("a/b", "");
    site.write("a!/c", "");
    site.write("z", "");
    let hub = site.following();
    for page in [1, 2, 1000] {
        let all = list_all(&hub, "/", 2, page, 60_000);
        assert_eq!(names(&all), ["a", "a!", "a!/c", "a/b", "z"], "pages of {page}");
    }
}

#[test]
fn pages_stay_within_their_bytes() {
    let site = Site::new();
    for i in 0..40 {
        let name = std::ffi::OsString::from(format!("{}{i}", "\u{1}\"\u{e9}\\".repeat(25)));
        fs::write(site.path("").join(name), "").unwrap();
        let bytes = [&[0xff, 0x7f][..], &[b'a' + i % 26; 200], &[b'a' + i / 26]].concat();
        fs::write(site.path("").join(std::ffi::OsStr::from_bytes(&bytes)), "").unwrap();
    }
    let hub = site.hub();
    wait_hashed(&hub);
    let (mut seen, mut cursor, mut pages) = (0, None::<String>, 0);
    loop {
        let page = hub.list(&url("/"), 1, cursor.as_deref(), 1024, 8000, View::ENTRIES).unwrap();
        assert!(serde_json::to_vec(&page).unwrap().len() <= 8000);
        seen += page.entries.len();
        pages += 1;
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, 80);
    assert!(pages > 3);
}

#[test]
fn what_stays_is_listed_once_while_the_rest_changes() {
    let site = Site::new();
    for i in 0..200 {
        site.write(&format!("d{}/stay{i:03}", i % 7), "");
        site.write(&format!("d{}/go{i:03}", i % 7), "");
    }
    let hub = site.hub();
    let (mut seen, mut cursor, mut round) = (Vec::new(), None::<String>, 0);
    loop {
        let page = hub.list(&url("/"), 2, cursor.as_deref(), 10, 60_000, View::ENTRIES).unwrap();
        seen.extend(page.entries.into_iter().map(|entry| entry.name));
        // The cursor's own file goes, others go and come.
        let Some(next) = page.next else { break };
        if next.contains("/go") {
            let _ = fs::remove_file(site.path(&next));
        }
        for i in 0..7 {
            let _ = fs::remove_file(site.path(&format!("d{i}/go{:03}", 199 - round)));
            fs::write(site.path(&format!("d{i}/new{round:03}")), "").unwrap();
        }
        cursor = Some(next);
        round += 1;
    }
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "nothing twice");
    assert_eq!(seen.iter().filter(|name| name.contains("/stay")).count(), 200);
}

#[test]
fn symlinks_that_lead_up_are_not_followed_for_ever() {
    let site = Site::new();
    site.write("a/file", "");
    site.write("b/file", "");
    symlink(".", site.path("here")).unwrap();
    symlink("..", site.path("a/up")).unwrap();
    symlink("../b", site.path("a/to-b")).unwrap();
    symlink("../a", site.path("b/to-a")).unwrap();
    let hub = site.following();
    assert_eq!(
        names(&list_all(&hub, "/", u32::MAX, 3, 60_000)),
        ["a", "a/file", "a/to-b", "a/to-b/file", "b", "b/file", "b/to-a", "b/to-a/file"]
    );
    assert_eq!(names(&list_all(&hub, "/a/to-b", 1, 3, 60_000)), ["file"]);
    assert_eq!(wait_hashed(&hub).files, 2);
}

#[test]
fn cursors_that_no_page_ended_with() {
    let site = Site::new();
    site.write("a", "");
    let hub = site.hub();
    for cursor in ["", "/", "../a", "a/../b", "a//b", "a b", "%61", "a%2fb", &"x".repeat(9999)] {
        assert_eq!(
            hub.list(&url("/"), 1, Some(cursor), 9, 9999, View::ENTRIES).err(),
            Some(HubError::Cursor),
            "{cursor:?}"
        );
    }
    assert_eq!(hub.list(&url("/"), 1, Some("zzz"), 9, 9999, View::ENTRIES).unwrap(), Listing::default());
}

#[test]
fn entries_say_what_is_known() {
    let site = Site::new();
    let path = site.write("page.html", "hello");
    fs::create_dir(site.path("sub.txt")).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .unwrap();
    let hub = site.hub();
    version(&hub, "/page.html").unwrap();
    let entries = list_all(&hub, "/", 1, 10, 9999);
    assert_eq!(
        entries[0],
        Entry {
            name: "page.html".into(),
            size: 5,
            mtime: Some(1_000_000_000),
            root: Some(root_of(b"hello")),
            chunk_size: Some(65_536),
            mime: Some("text/html".into()),
            ..Entry::default()
        }
    );
    assert_eq!((entries[1].kind, entries[1].size, &entries[1].mime), (EntryKind::Dir, 0, &None));
    // A root is told of the content that is there now only.
    fs::write(&path, "HELLO").unwrap();
    assert_ne!(list_all(&hub, "/", 1, 10, 9999)[0].root, Some(root_of(b"hello")));
}

#[test]
fn open_files_need_no_hashes() {
    let site = Site::new();
    fs::File::create(site.path("huge.iso")).unwrap().set_len(1 << 42).unwrap();
    let hub = site.hub_with(HubConfig { hash_threads: 1, ..HubConfig::default() });
    let plain = hub.open_file(&url("/huge.iso")).unwrap();
    assert_eq!(plain.size, 1 << 42);
    assert!(plain.version.is_none());
    assert!(hub.stat(&url("/huge.iso")).unwrap().version.is_none());
}
