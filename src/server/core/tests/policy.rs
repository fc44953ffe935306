//! Where only so many may download at once.

use super::*;
use crate::peer::RateLimiter;
use crate::server::rules::DirectoryRules;
use crate::swarm::WaitReason;

const C: ConnId = ConnId(3);

impl Rig {
    /// With these rules for everything.
    fn ruled(files: &[(&str, usize)], rules: DirectoryRules) -> Self {
        let mut rig = Self::new(files);
        let rules = Rules::new(&vec![(UrlPath::root(), rules)], &RateLimiter::new(0));
        rig.core.rules = Arc::new(rules);
        rig
    }

    fn with_places(most: u32, files: &[(&str, usize)]) -> Self {
        Self::ruled(files, DirectoryRules { max_peers: Some(most), ..Default::default() })
    }

    /// Time passes in which these are awake.
    fn pass_with(&mut self, awake: &[ConnId], seconds: u64) {
        for _ in 0..seconds {
            self.pass(SECOND);
            awake.iter().for_each(|&conn| self.say(conn, wire::Pong {}));
        }
    }

    /// Whether a client was told to wait for a place, and whether it was sent something to fetch, since the last call.
    fn full_and_sent(&mut self, conn: ConnId) -> (bool, bool) {
        let heard = self.heard(conn);
        let full = |m: &Message| matches!(m, Message::Waiting(w) if w.reason == WaitReason::Full);
        (heard.iter().any(full), heard.iter().any(|m| matches!(m, Message::Transfer(_))))
    }

    fn pending(&self, conn: ConnId) -> usize {
        self.core.clients[&conn].session().unwrap().pending
    }
}

#[test]
fn who_is_silent_leaves_its_place_and_is_the_next_when_it_wakes() {
    let mut rig = Rig::with_places(1, &[("f", 40 * PIECE)]);
    for (conn, id) in [(A, "a"), (B, "b"), (C, "c")] {
        rig.join_v3(conn, id);
        rig.say(conn, request("f"));
    }
    assert_eq!(rig.full_and_sent(A), (false, true));
    assert_eq!(rig.full_and_sent(B), (true, false));
    assert_eq!(rig.full_and_sent(C), (true, false));
    // It is asked after five seconds, and has five to answer.
    rig.pass_with(&[B, C], 9);
    assert_eq!(rig.pending(A), 0, "too early");
    rig.pass_with(&[B, C], 2);
    assert!(rig.full_and_sent(A).0);
    assert_eq!(rig.full_and_sent(B), (false, true));
    assert_eq!((rig.pending(A), rig.pending(B)), (1, 0));
    // It was there before C.
    rig.say(A, wire::Pong {});
    assert_eq!(rig.full_and_sent(A), (false, false));
    rig.say(B, wire::Unrequest { url: url("f"), range: None, root: None });
    rig.pass(SECOND / 5);
    assert_eq!(rig.full_and_sent(A), (false, true));
    assert_eq!(rig.full_and_sent(C), (false, false));
    assert_eq!(rig.pending(A), 0);
}

#[test]
fn who_fetches_nothing_leaves_its_place_too() {
    let mut rig = Rig::with_places(1, &[("f", 40 * PIECE)]);
    for (conn, id) in [(A, "a"), (B, "b")] {
        rig.join_v3(conn, id);
        rig.say(conn, request("f"));
    }
    rig.full_and_sent(A);
    rig.pass_with(&[A, B], 25);
    assert!(!rig.full_and_sent(A).0, "too early");
    rig.pass_with(&[A, B], 35);
    assert!(rig.full_and_sent(A).0);
    assert!(rig.full_and_sent(B).1);
    // Nor does the next, who leaves it to the first again.
    rig.pass_with(&[A, B], 60);
    assert!(rig.full_and_sent(B).0);
    assert!(rig.full_and_sent(A).1);
}

#[test]
fn a_place_is_lost_to_somebody_who_is_awake_only() {
    let mut rig = Rig::with_places(1, &[("f", 40 * PIECE)]);
    rig.join_v3(A, "a");
    rig.say(A, request("f"));
    rig.full_and_sent(A);
    rig.pass(20 * SECOND);
    assert!(!rig.full_and_sent(A).0, "nobody else wants it");
    // Now both are silent.
    rig.join_v3(B, "b");
    rig.say(B, request("f"));
    assert_eq!(rig.full_and_sent(B), (true, false));
    rig.core.clients.get_mut(&B).unwrap().asked = Some(Time(0));
    rig.pass(10 * SECOND);
    assert_eq!((rig.full_and_sent(A).0, rig.full_and_sent(B)), (false, (false, false)));
}

#[test]
fn who_waits_for_the_rate_of_the_directory_keeps_its_place() {
    // One piece in eight seconds.
    let rules = DirectoryRules { max_peers: Some(1), max_origin_rate: Some(2048), ..Default::default() };
    let mut rig = Rig::ruled(&[("f", 12 * PIECE)], rules);
    for (conn, id) in [(A, "a"), (B, "b")] {
        rig.join_v3(conn, id);
        rig.say(conn, request("f"));
    }
    let mut got = 0;
    for _ in 0..150 {
        let heard = rig.heard(A);
        let full = |m: &Message| matches!(m, Message::Waiting(w) if w.reason == WaitReason::Full);
        assert!(!heard.iter().any(full), "after {got} pieces");
        for message in heard {
            let Message::Transfer(t) = message else { continue };
            rig.pass_with(&[A, B], 7);
            got += (t.range.max.unwrap() + 1 - t.range.min) / PIECE as u64;
            let (bytes, ms) = (Some(t.range.max.unwrap() + 1 - t.range.min), Some(7000));
            let (id, url, range, peer_id) = (t.id, t.url, t.range, t.peer_id);
            rig.say(A, wire::Completed { id, url, range, peer_id, bytes, ms, ..Default::default() });
        }
        rig.pass_with(&[A, B], 1);
    }
    assert_eq!(got, 12);
    assert!(rig.full_and_sent(B).1, "its turn has come");
}

#[test]
fn what_comes_late_to_who_has_lost_its_place_is_not_asked_for_again() {
    let mut rig = Rig::with_places(1, &[("f", 4 * PIECE)]);
    for (conn, id) in [(A, "a"), (B, "b")] {
        rig.join_v3(conn, id);
        rig.say(conn, request("f"));
    }
    let mut fetched = rig.transfers(A);
    rig.pass_with(&[B], 11);
    fetched.extend(rig.transfers(A));
    assert_eq!(rig.pending(A), 1);
    // All it was sent is there when it wakes; and of the rest it wants no more than the last piece.
    rig.say(A, wire::Pong {});
    for t in fetched {
        let (bytes, ms) = (Some(t.range.max.unwrap() + 1 - t.range.min), Some(7000));
        let (id, url, range, peer_id) = (t.id, t.url, t.range, t.peer_id);
        rig.say(A, wire::Completed { id, url, range, peer_id, bytes, ms, ..Default::default() });
    }
    let but_last = ByteRange { min: 0, max: Some(3 * PIECE as u64 - 1) };
    rig.say(A, wire::Unrequest { url: url("f"), range: Some(but_last), root: None });
    assert_eq!(rig.take_all(B, "f").values().sum::<u64>(), 4 * PIECE as u64);
    rig.pass_with(&[A, B], 1);
    let left: u64 = rig.take_all(A, "f").values().sum();
    assert!(left <= PIECE as u64, "{left}");
    let session = rig.core.clients[&A].session().unwrap();
    assert!(session.files.values().all(|entry| entry.wants.is_empty()), "its place is free again");
    assert_eq!((session.pending, session.wanted), (0, 0));
}

#[test]
fn a_reader_in_line_is_one_request_and_the_latest() {
    let mut rig = Rig::with_places(1, &[("f", 40 * PIECE)]);
    for (conn, id) in [(A, "a"), (B, "b")] {
        rig.join_v3(conn, id);
        rig.say(conn, request("f"));
    }
    for piece in 0..20 {
        let (position, window) = (Some(piece * PIECE as u64), Some(PIECE as u64));
        rig.say(B, wire::Request { position, window, ..request("f") });
    }
    assert_eq!(rig.pending(B), 1);
    rig.heard(B);
    rig.feed(Input::Closed { conn: A });
    rig.pass(SECOND / 5);
    let first = &rig.transfers(B)[0];
    assert_eq!(first.range.min, 19 * PIECE as u64, "where it reads");
}
