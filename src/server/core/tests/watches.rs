//! Who watches is told, once, and only what it watches.

use super::*;
use crate::hub::Change;

fn path(text: &str) -> UrlPath {
    UrlPath::parse(text).unwrap()
}

fn file(text: &str, byte: u8) -> Change {
    Change::File { path: path(text), root: Digest([byte; 32]), size: u64::from(byte), mtime: 7 }
}

fn watch(url: &str) -> wire::Watch {
    wire::Watch { url: url.to_owned() }
}

impl Rig {
    /// Lets all who wait hear as much as they have room for, `turns` times.
    fn make_room(&mut self, turns: usize) {
        for _ in 0..turns {
            let waiting: Vec<_> = self.core.waiting_watchers().collect();
            waiting.into_iter().for_each(|conn| self.feed(Input::Room { conn }));
        }
    }

    fn told(&mut self, conn: ConnId) -> Vec<wire::Changed> {
        self.make_room(100);
        let changed = |message| match message {
            Message::Changed(changed) => changed,
            other => panic!("{other:?}"),
        };
        self.heard(conn).into_iter().map(changed).collect()
    }

    fn watcher(conn: ConnId, url: &str) -> Self {
        let mut rig = Self::new(&[]);
        rig.join_v3(conn, "a");
        rig.heard(conn);
        rig.say(conn, watch(url));
        assert_eq!(rig.kinds(conn), [""; 0]);
        rig
    }
}

#[test]
fn what_is_watched_is_told_in_the_words_of_the_watcher() {
    let mut rig = Rig::watcher(A, "pdtp://Mirror.Example/dir/");
    for change in [
        file("/dir/a", 1),
        file("/dir2/a", 2),
        file("/a", 3),
        Change::Dir { path: path("/dir/sub") },
        Change::Removed { path: path("/dir/b") },
    ] {
        rig.feed(Input::News(change));
    }
    let told = rig.told(A);
    let changed = |url: &str| wire::Changed { url: url.to_owned(), ..Default::default() };
    assert_eq!(
        told,
        [
            wire::Changed {
                root: Some(Digest([1; 32])),
                size: Some(1),
                mtime: Some(7),
                ..changed("pdtp://Mirror.Example/dir/a")
            },
            wire::Changed { kind: Some(EntryKind::Dir), ..changed("pdtp://Mirror.Example/dir/sub") },
            wire::Changed { removed: true, ..changed("pdtp://Mirror.Example/dir/b") },
        ]
    );
    // What is above it, and gone, took it along.
    rig.feed(Input::News(Change::Removed { path: path("/dir") }));
    assert!(rig.told(A)[0].removed);
    rig.say(A, wire::Unwatch { url: "http://other-spelling/dir".to_owned() });
    rig.feed(Input::News(file("/dir/a", 5)));
    assert_eq!(rig.told(A), []);
}

#[test]
fn only_the_latest_of_each_path_is_told() {
    let mut rig = Rig::watcher(A, "http://h/");
    for round in 1..=9 {
        rig.feed(Input::News(file("/a", round)));
        rig.feed(Input::News(file("/b", round)));
    }
    let roots: Vec<_> = rig.told(A).into_iter().map(|told| (told.url, told.root)).collect();
    let nine = Some(Digest([9; 32]));
    assert_eq!(roots, [("http://h/a".to_owned(), nine), ("http://h/b".to_owned(), nine)]);
}

#[test]
fn who_is_too_slow_is_told_to_look_again() {
    let mut rig = Rig::watcher(A, "http://h/x");
    rig.say(A, watch("http://h/y/z"));
    for n in 0..10_000 {
        rig.feed(Input::News(file(&format!("/x/{n}"), 1)));
    }
    let mut told = rig.told(A);
    told.sort_by(|a, b| a.url.cmp(&b.url));
    let again = |url: &str| wire::Changed { url: url.to_owned(), rescan: true, ..Default::default() };
    assert_eq!(told, [again("http://h/x"), again("http://h/y/z")]);
    // And from then on as before.
    rig.feed(Input::News(file("/x/1", 2)));
    assert_eq!(rig.told(A).len(), 1);
    rig.feed(Input::News(Change::Much { path: UrlPath::root() }));
    assert_eq!(rig.told(A).len(), 2);
}

#[test]
fn watches_are_bounded_and_end_with_the_connection() {
    let mut rig = Rig::watcher(A, "http://h/0");
    for n in 0..limits::MAX_WATCHES {
        rig.say(A, watch(&format!("http://h/{n}")));
    }
    assert_eq!(rig.heard(A), [], "the first one twice is one");
    rig.say(A, watch("http://h/more"));
    let error = rig.error(A);
    assert_eq!((error.code, error.re.as_deref()), (ErrorCode::Limit, Some("watch")));
    rig.say(A, watch("http://h/../x"));
    assert_eq!(rig.error(A).code, ErrorCode::NotFound);
    rig.feed(Input::News(file("/1/x", 1)));
    rig.feed(Input::Closed { conn: A });
    assert_eq!(rig.core.waiting_watchers().count(), 0);
    rig.feed(Input::News(file("/1/x", 2)));
    assert_eq!(rig.heard(A), []);
}

/// A downloads `f`, B has all of an older one, and another file takes its place.
fn replaced() -> (Rig, FileId, Digest) {
    let mut rig = Rig::new(&[("f", 50 * PIECE)]);
    rig.join_v3(A, "a");
    rig.join_v3(B, "b");
    let old = rig.version("f").root();
    rig.say(A, request("f"));
    rig.say(B, wire::Provide { url: url("f"), range: None, root: Some(old) });
    std::fs::write(rig.dir.path().join(".new"), bytes_of("other", 60 * PIECE)).unwrap();
    std::fs::rename(rig.dir.path().join(".new"), rig.dir.path().join("f")).unwrap();
    let new = rig.version("f").root();
    let news = Change::File { path: path("/f"), root: new, size: 60 * PIECE as u64, mtime: 1 };
    rig.feed(Input::News(news));
    assert_eq!(rig.checks.len(), 1, "is the old one whole?");
    let file = rig.checks[0];
    rig.feed(Input::Checked { file, good: true });
    rig.heard(A);
    rig.heard(B);
    (rig, file, old)
}

#[test]
fn a_replaced_version_is_given_until_its_takers_are_done() {
    let (mut rig, _, old) = replaced();
    rig.pass(20 * SECOND);
    assert!(!rig.kinds(A).contains(&"changed"));
    rig.heard(B);
    rig.say(B, ask("f"));
    let new = match &rig.heard(B)[..] {
        [Message::TellInfo(info)] => info.root.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_ne!(new, old, "who asks anew gets the new one");
    rig.say(A, wire::Unrequest { url: url("f"), range: None, root: None });
    for t in rig.core.open.keys().copied().collect::<Vec<_>>() {
        rig.say(A, wire::Completed { id: Some(t.0), url: url("f"), bytes: Some(1), ..Default::default() });
    }
    rig.heard(A);
    rig.pass(10 * SECOND);
    let told = rig.heard(B);
    assert!(
        told.iter().any(|m| matches!(m, Message::Changed(m) if m.root == Some(new))),
        "nobody needs it to be given any more: {told:?}"
    );
    rig.say(B, wire::Request { root: Some(old), ..request("f") });
    assert_eq!(rig.error(B).code, ErrorCode::Changed);
}

#[test]
fn a_replaced_version_is_not_given_for_ever() {
    let (mut rig, _, _) = replaced();
    rig.pass(40 * SECOND);
    assert!(!rig.kinds(A).contains(&"changed"));
    rig.pass(30 * SECOND);
    assert!(rig.kinds(A).contains(&"changed"));
}

#[test]
fn the_same_bytes_in_another_file_go_on_from_there() {
    let mut rig = Rig::new(&[("f", 50 * PIECE)]);
    rig.join_v3(A, "a");
    let old = rig.version("f");
    rig.say(A, request("f"));
    rig.heard(A);
    std::fs::write(rig.dir.path().join(".new"), bytes_of("f", 50 * PIECE)).unwrap();
    std::fs::rename(rig.dir.path().join(".new"), rig.dir.path().join("f")).unwrap();
    let size = 50 * PIECE as u64;
    rig.feed(Input::News(Change::File { path: path("/f"), root: old.root(), size, mtime: 1 }));
    assert_eq!(rig.checks, []);
    assert!(!rig.kinds(A).contains(&"changed"));
    let now = rig.core.files.version(FileId(0)).unwrap();
    assert!(!Arc::ptr_eq(now, &old) && now.root() == old.root());
}

#[test]
fn version_2_does_not_watch() {
    let mut rig = Rig::new(&[]);
    rig.join_v2(A, "old");
    rig.heard(A);
    rig.say(A, watch("http://h/"));
    assert_eq!(rig.kinds(A), ["protocol_warn"]);
    rig.feed(Input::News(file("/a", 1)));
    rig.make_room(2);
    assert_eq!(rig.heard(A), []);
}

#[test]
fn who_watches_what_is_open_in_something_closed_hears_when_that_goes() {
    let mut rig = Rig::watcher(A, "pdtp://files.example/a/open");
    let networks = |all: &str| crate::server::rules::DirectoryRules {
        networks: Some(vec![all.parse().unwrap()]),
        ..Default::default()
    };
    let rules = vec![(path("/a"), networks("10.0.0.0/8")), (path("/a/open"), networks("192.0.2.0/24"))];
    rig.core.rules = Arc::new(Rules::new(&rules, &crate::peer::RateLimiter::new(0)));
    rig.say(A, watch("pdtp://files.example/"));
    rig.feed(Input::News(Change::Removed { path: path("/a/other") }));
    assert_eq!(rig.told(A), []);
    rig.feed(Input::News(Change::Removed { path: path("/a") }));
    let told = rig.told(A);
    let urls: Vec<_> = told.iter().map(|changed| (changed.url.as_str(), changed.removed)).collect();
    assert_eq!(urls, [("pdtp://files.example/a/open", true)]);
}
