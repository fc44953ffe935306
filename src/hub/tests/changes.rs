//! "Manipulate the file system, and whoever listens hears of it."

use std::collections::BTreeMap;

use super::*;
use crate::hub::touches::GATHER;

/// What a listener believes to be in the tree.
struct Follower {
    runtime: tokio::runtime::Runtime,
    listener: Listener,
    files: BTreeMap<String, Digest>,
    dirs: BTreeSet<String>,
    /// It was told to look for itself.
    is_lost: bool,
    removals: Vec<String>,
    /// Every file it was ever told of.
    told: BTreeSet<String>,
}

impl Follower {
    /// Listens once the tree is known as it is.
    fn of(hub: &Hub) -> Self {
        wait_hashed(hub);
        wait_until("the first scan over", || hub.owner.shared.pool.tells());
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
            listener: hub.listen(),
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
            is_lost: false,
            removals: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    fn next(&mut self, patience: Duration) -> Option<Change> {
        let next = self.listener.next();
        let change = self.runtime.block_on(async { tokio::time::timeout(patience, next).await.ok()? })?;
        match &change {
            Change::File { path, root, .. } => {
                self.told.insert(path.to_string());
                self.files.insert(path.to_string(), *root);
            }
            Change::Dir { path } => drop(self.dirs.insert(path.to_string())),
            Change::Removed { path } => {
                self.removals.push(path.to_string());
                let stays = |at: &String| !url(at).is_under(path);
                self.files.retain(|at, _| stays(at));
                self.dirs.retain(stays);
            }
            Change::Much { .. } => self.is_lost = true,
        }
        Some(change)
    }

    #[track_caller]
    fn until(&mut self, what: &str, is_true: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_true(self) {
            assert!(start.elapsed() < DEADLINE, "{what}: {:?} {:?}", self.files, self.removals);
            self.next(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_file_copied_in_is_hashed_and_told() {
    let site = Site::new();
    site.write("before", "was here");
    let hub = site.hub();
    let mut follower = Follower::of(&hub);
    assert!(hub.stats().watched);
    site.write("new", "content");
    site.write("dir/below", "more");
    follower.until("all told", |f| f.files.len() == 2);
    assert_eq!(follower.files["/new"], root_of(b"content"));
    assert_eq!(follower.files["/dir/below"], root_of(b"more"));
    assert!(follower.dirs.contains("/dir"));
    assert!(hub.stat(&url("/dir/below")).unwrap().version.is_some(), "nobody has to wait for it");
    // And another one in its place, in both ways.
    site.write("new", "in place");
    follower.until("overwritten", |f| f.files["/new"] == root_of(b"in place"));
    fs::rename(site.write(".hidden", "renamed"), site.path("new")).unwrap();
    follower.until("replaced", |f| f.files["/new"] == root_of(b"renamed"));
    assert!(follower.removals.is_empty(), "{:?}", follower.removals);
    assert!(!follower.files.contains_key("/before"));
}

#[test]
fn what_goes_is_told_once_with_all_below_it() {
    let site = Site::new();
    for name in ["tree/a", "tree/deep/b", "tree/deep/c", "tree-too", "single"] {
        site.write(name, name);
    }
    let hub = site.hub();
    let mut follower = Follower::of(&hub);
    fs::rename(site.path("tree"), site.dir.path().join("away")).unwrap();
    fs::remove_file(site.path("single")).unwrap();
    follower.until("both told", |f| f.removals.len() == 2);
    follower.removals.sort();
    assert_eq!(follower.removals, ["/single", "/tree"]);
    assert!(hub.stat(&url("/tree-too")).unwrap().version.is_some());
    // It comes back under another name, and nothing is hashed for that.
    fs::rename(site.dir.path().join("away"), site.path("back")).unwrap();
    follower.until("all back", |f| f.files.len() == 3);
    assert_eq!(follower.files["/back/deep/b"], root_of(b"tree/deep/b"));
    assert!(follower.dirs.contains("/back/deep"));
    // What happens in there is seen as well.
    site.write("back/deep/new", "x");
    follower.until("below", |f| f.files.contains_key("/back/deep/new"));
}

#[test]
fn a_file_is_not_offered_while_somebody_writes_to_it() {
    let site = Site::new();
    // The time that nobody waits for: it is closing the file that counts.
    let hub = site.hub_with(HubConfig { settle: Duration::from_secs(3600), ..HubConfig::default() });
    let mut follower = Follower::of(&hub);
    let mut writer = fs::File::create(site.path("growing")).unwrap();
    for _ in 0..10 {
        writer.write_all(&[7; 1000]).unwrap();
        assert_eq!(follower.next(Duration::from_millis(20)), None);
    }
    wait_until("seen", || hub.owner.shared.touches.is_writing(&url("/growing")));
    let listed = &list_all(&hub, "/", 1, 10, 9999)[0];
    assert_eq!((listed.size, listed.root), (10_000, None));
    let asked = run(async {
        tokio::time::timeout(Duration::from_millis(200), hub.version(&url("/growing"), |_, _| {})).await
    });
    assert!(asked.is_err(), "whoever asks waits: {asked:?}");
    drop(writer);
    follower.until("closed", |f| f.files.contains_key("/growing"));
    assert_eq!(version(&hub, "/growing").unwrap().root(), root_of(&[7; 10_000]));
}

#[test]
fn a_writer_that_is_quiet_counts_as_done() {
    let site = Site::new();
    let hub = site.hub_with(HubConfig { settle: Duration::from_millis(200), ..HubConfig::default() });
    let mut follower = Follower::of(&hub);
    let mut log = fs::File::create(site.path("log")).unwrap();
    log.write_all(b"one line").unwrap();
    follower.until("quiet", |f| f.files.contains_key("/log"));
    assert_eq!(follower.files["/log"], root_of(b"one line"));
    log.write_all(b", and another").unwrap();
    follower.until("quiet again", |f| f.files["/log"] == root_of(b"one line, and another"));
}

#[test]
fn names_that_come_and_go_are_not_worth_a_word() {
    // Who is looked at between two calls of this thread is seen, and rightly so. So all of it has to take less time than events
    // are gathered, which it does unless the machine is busy: then it is done anew.
    assert!((0..200).any(|_| names_came_and_went_unseen()), "this machine is too busy to tell");
}

/// `false` if it took too long to say anything.
fn names_came_and_went_unseen() -> bool {
    let site = Site::new();
    let hub = site.hub();
    let mut follower = Follower::of(&hub);
    let started = Instant::now();
    for round in 0..10 {
        fs::rename(site.write("temporary", format!("{round}")), site.path("final")).unwrap();
    }
    if started.elapsed() >= GATHER {
        return false;
    }
    site.write(".hidden", "x");
    site.write("end", "x");
    follower
        .until("the last", |f| f.files.get("/final") == Some(&root_of(b"9")) && f.files.contains_key("/end"));
    wait_hashed(&hub);
    // It may be told twice of what it knows already.
    while follower.next(Duration::from_millis(300)).is_some() {}
    assert_eq!(follower.told.into_iter().collect::<Vec<_>>(), ["/end", "/final"]);
    assert!(follower.removals.is_empty(), "{:?}", follower.removals);
    true
}

#[test]
fn ten_thousand_changes_in_a_burst_are_not_lost() {
    let site = Site::new();
    for n in 0..1000 {
        site.write(&format!("old{}/{n}", n % 10), "old");
    }
    let hub = site.hub();
    let mut follower = Follower::of(&hub);
    for n in 0..9000 {
        site.write(&format!("d{}/f{n}", n % 30), format!("new {n}"));
    }
    for n in 0..10 {
        fs::remove_dir_all(site.path(&format!("old{n}"))).unwrap();
    }
    // One by one, or with the word to look for oneself when it is too much at once.
    follower.until("all told", |f| f.is_lost || f.files.len() == 9000);
    wait_until("all hashed", || {
        (0..9000)
            .all(|n| hub.stat(&url(&format!("/d{}/f{n}", n % 30))).is_ok_and(|found| found.version.is_some()))
    });
    for n in [0, 4711, 8999] {
        let found = version(&hub, &format!("/d{}/f{n}", n % 30)).unwrap();
        assert_eq!(found.root(), root_of(format!("new {n}").as_bytes()));
    }
}

#[test]
fn a_storm_of_renames_ends_with_what_is_there() {
    let site = Site::new();
    for n in 0..20 {
        site.write(&format!("a/{n}"), format!("{n}"));
    }
    let hub = site.hub();
    let mut follower = Follower::of(&hub);
    for round in 0..300 {
        let (from, to) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        fs::rename(site.path(from), site.path(to)).unwrap();
        let name = |n: usize| site.path(&format!("{to}/{n}"));
        fs::rename(name(round % 20), name(100)).unwrap();
        fs::rename(name((round + 1) % 20), name(round % 20)).unwrap();
        fs::rename(name(100), name((round + 1) % 20)).unwrap();
    }
    fs::rename(site.path("a"), site.path("end")).unwrap();
    let there = |n: usize| root_of(&fs::read(site.path(&format!("end/{n}"))).unwrap());
    follower.until("all told", |f| {
        f.is_lost || (0..20).all(|n| f.files.get(&format!("/end/{n}")) == Some(&there(n)))
    });
    for n in 0..20 {
        assert_eq!(version(&hub, &format!("/end/{n}")).unwrap().root(), there(n));
    }
    assert_eq!(hub.stat(&url("/a")).err(), Some(HubError::NotFound));
}

#[test]
fn without_eyes_changes_are_found_by_looking() {
    let site = Site::new();
    site.write("gone", "x");
    site.write("other", "x");
    let config = HubConfig { watch: false, settle: Duration::from_millis(50), ..HubConfig::default() };
    let hub = site.hub_with(config);
    let mut follower = Follower::of(&hub);
    assert!(!hub.stats().watched);
    site.write("dir/new", "content");
    fs::remove_file(site.path("gone")).unwrap();
    follower.until("found", |f| f.files.len() == 1 && f.removals == ["/gone"]);
    assert_eq!(follower.files["/dir/new"], root_of(b"content"));
}
