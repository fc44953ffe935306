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
