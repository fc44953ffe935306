//! Promises of the client library when others misbehave: a server of the test's own making sends it to peers that
//! lie, keep silent, stop early, dribble or die. They cost time, never integrity; and the client tells what happened.

pub mod common;
#[path = "common/scripted.rs"]
pub mod scripted;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use common::{PATIENCE, scratch, wait_until};
use pdtp::client::{
    ErrorKind, EventBody, EventMask, Flow, Overwrite, ReaderOptions, Request, Seeding, SessionState, Target,
    Tuning,
};
use pdtp::content::{PieceHashes, hash_piece};
use pdtp::wire::token::{self, Method, Secret, TokenScope};
use pdtp::wire::{self, ByteRange, Digest, ErrorCode, FailureKind, Message, UrlPath};
use scripted::{
    HttpPeer, PIECE, Peer, Served, Server, WAIT, ask_client, client, completed, head, open, origin, start,
    started, until_request,
};

/// What a browser needs, too: one round trip to connect, and one from the question to the first byte.
#[test]
fn the_first_bytes_come_with_the_answer() {
    let served = Served::new(30, 5 * PIECE as usize + 9);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    // Nothing is answered before all of it is asked.
    let Message::AskInfo(ask) = peer.expect() else { panic!("no ask_info") };
    let Message::Request(request) = peer.expect() else { panic!("no request") };
    let name = request.early.expect("a GET waits");
    let mut get = server.early(&name);

    let all = served.all();
    let transfer_1 = wire::Transfer { early: true, ..served.transfer(1, origin(&server), all.clone()) };
    let (first, last) = (0, 3 * PIECE as usize);
    let run = wire::Transfer { range: ByteRange::new(0, last as u64 - 1), ..transfer_1 };
    get.write_all(head(&served.bytes, &(first..last), "no proof").as_bytes()).unwrap();
    get.write_all(&served.bytes[first..last]).unwrap();
    peer.send(wire::Transfer { peer_id: "origin".into(), ..run });
    peer.send(served.tell_info(&ask));
    let told = completed(&mut peer, 1);
    assert_eq!((told.error, told.bytes), (None, Some(last as u64)));
    let honest = HttpPeer::honest(served.bytes.clone());
    peer.send(served.transfer(2, honest.address, last as u64..all.end));
    assert_eq!(completed(&mut peer, 2).error, None);
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
    let progress = transfer.progress();
    assert_eq!((progress.from_origin, progress.from_peers), (last as u64, all.end - last as u64));
}

#[test]
fn an_early_get_that_fails_is_sent_again_with_its_token() {
    let served = Served::new(31, 3 * PIECE as usize);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    let Message::Request(request) = peer.expect() else { panic!("no request") };
    let mut get = server.early(&request.early.expect("a GET waits"));
    get.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
    drop(get);
    peer.send(served.tell_info(&ask));
    let honest = HttpPeer::honest(served.bytes.clone());
    peer.send(wire::Transfer { early: true, ..served.transfer(1, honest.address, served.all()) });
    assert_eq!(completed(&mut peer, 1).error, None);
    assert_eq!(honest.requests(), 1);
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// Nothing is asked ahead that would send what is here already, or more than once.
#[test]
fn what_is_partly_here_is_looked_at_before_it_is_requested() {
    let served = Served::new(32, 4 * PIECE as usize);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    std::fs::write(local.path().join("file.part"), &served.bytes[..2 * PIECE as usize]).unwrap();
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    peer.send(served.tell_info(&ask));
    let request = until_request(&mut peer, &served);
    assert_eq!(request.range, Some(ByteRange::new(2 * u64::from(PIECE), served.all().end - 1)));
    assert_eq!((request.root, request.early), (Some(served.hashes.root()), None));
    transfer.cancel(true);
    assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Cancelled);
}

/// What was asked ahead is taken back when the answer is not to the purpose, and what was arranged is refused.
#[test]
fn what_was_asked_in_vain_is_taken_back() {
    let served = Served::new(33, 2 * PIECE as usize);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    let Message::Request(_) = peer.expect() else { panic!("no request") };
    peer.send(served.transfer(1, honest.address, served.all()));
    peer.send(wire::TellInfo { url: ask.url, kind: Some(wire::EntryKind::Dir), ..wire::TellInfo::default() });
    let mut seen = HashMap::new();
    while seen.len() < 2 {
        match peer.expect() {
            Message::Completed(told) => seen.insert("completed", told.error == Some(FailureKind::Cancelled)),
            Message::Unrequest(told) => seen.insert("unrequest", told.root.is_none() && told.range.is_none()),
            message => panic!("unexpected {message:?}"),
        };
    }
    assert!(seen.values().all(|&good| good), "{seen:?}");
    assert_eq!(
        transfer.wait(WAIT).unwrap_err().kind,
        ErrorKind::Argument,
        "a directory needs more than that"
    );
    assert_eq!(honest.requests(), 0);
    assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 0);
}

#[test]
fn peers_that_misbehave_cost_time_and_never_integrity() {
    let served = Arc::new(Served::new(5, 20 * PIECE as usize + 77));
    let bytes = served.bytes.clone();
    let lie = {
        let bytes = bytes.clone();
        HttpPeer::new(move |mut stream, range| {
            let mut wrong = bytes[range.clone()].to_vec();
            wrong[3 * PIECE as usize] ^= 1;
            let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
            let _ = stream.write_all(&wrong);
        })
    };
    let stranger = {
        let bytes = bytes.clone();
        HttpPeer::new(move |mut stream, range| {
            let _ = stream.write_all(head(&bytes, &range, "another proof").as_bytes());
            let _ = stream.write_all(&bytes[range]);
        })
    };
    let short = {
        let bytes = bytes.clone();
        HttpPeer::new(move |mut stream, range| {
            let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
            let _ = stream.write_all(&bytes[range.start..range.start + 2 * PIECE as usize + 5]);
        })
    };
    let silent = {
        let hold = Mutex::new(Vec::new());
        HttpPeer::new(move |stream, _| hold.lock().unwrap().push(stream))
    };
    let refuses = HttpPeer::new(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    });
    let garbage = HttpPeer::new(|mut stream, _| {
        let _ = stream.write_all(&[0xff; 5000]);
    });
    let dead = SocketAddr::from(([127, 0, 0, 1], common::closed_port()));
    let honest = HttpPeer::honest(bytes.clone());

    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    client.enable_events(EventMask(u32::MAX));
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    let request = until_request(&mut peer, &served);
    assert_eq!((request.range, request.root), (None, None), "all of it, before it is known what it is");

    let piece = u64::from(PIECE);
    let mut id = 0;
    let mut arrange = |peer: &mut Peer, to, range| {
        id += 1;
        peer.send(served.transfer(id, to, range));
        completed(peer, id)
    };
    let told = arrange(&mut peer, stranger.address, served.all());
    assert_eq!(
        (told.error, told.bytes),
        (Some(FailureKind::Refused), Some(0)),
        "nothing counts without the proof"
    );
    assert_eq!(arrange(&mut peer, refuses.address, served.all()).error, Some(FailureKind::Refused));
    assert!(arrange(&mut peer, garbage.address, served.all()).error.is_some());
    assert_eq!(arrange(&mut peer, dead, served.all()).error, Some(FailureKind::Unreachable));
    assert_eq!(arrange(&mut peer, silent.address, served.all()).error, Some(FailureKind::Timeout));
    assert_eq!(transfer.progress().done, 0);
    let told = arrange(&mut peer, lie.address, served.all());
    assert_eq!(told.error, Some(FailureKind::Hash), "{told:?}");
    let done = transfer.progress().done;
    assert!(done < bytes.len() as u64 && done.is_multiple_of(piece), "only what was right: {done}");
    let told = arrange(&mut peer, short.address, 10 * piece..15 * piece);
    assert_eq!(told.error, Some(FailureKind::Gone), "{told:?}");
    // A port of the system's own services is not dialled whoever says so, nor a host inside that is not the server's.
    let privileged = SocketAddr::from(([127, 0, 0, 1], 25));
    assert_eq!(arrange(&mut peer, privileged, served.all()).error, Some(FailureKind::Unreachable));
    let inside = SocketAddr::from(([10, 0, 0, 1], 5000));
    assert_eq!(arrange(&mut peer, inside, served.all()).error, Some(FailureKind::Unreachable));
    // Ranges that are not whole pieces, or of nothing, are not taken.
    for range in [0..5, 1..piece, bytes.len() as u64..bytes.len() as u64 + 5] {
        assert_eq!(
            arrange(&mut peer, honest.address, range.clone()).error,
            Some(FailureKind::Refused),
            "{range:?}"
        );
    }
    assert_eq!(honest.requests(), 0);
    assert!(!local.path().join("file").exists());

    let told = arrange(&mut peer, honest.address, served.all());
    assert_eq!(told.error, None);
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == bytes);
    let progress = transfer.progress();
    assert_eq!((progress.done, progress.from_origin), (bytes.len() as u64, 0));
    assert_eq!(progress.from_peers, bytes.len() as u64);
    assert!(progress.wasted > 0);
    let exchanges: Vec<_> = std::iter::from_fn(|| client.next_event(Some(Duration::ZERO)))
        .filter_map(|event| match event.body {
            EventBody::Peer { transfer: of, exchange } if of == transfer.id() => Some(exchange),
            _ => None,
        })
        .collect();
    assert!(exchanges.iter().any(|e| e.error == Some(FailureKind::Hash) && e.peer_id.starts_with("peer-")));
    assert!(exchanges.iter().any(|e| e.error.is_none() && e.received && !e.is_origin));
}

/// A peer that sends so many pieces of what is asked for, and the rest when it is told to go on.
fn halting(bytes: Vec<u8>, pieces: usize) -> (HttpPeer, mpsc::Sender<()>) {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let peer = HttpPeer::new(move |mut stream, range| {
        let halt = range.start + pieces * PIECE as usize;
        let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
        let _ = stream.write_all(&bytes[range.start..halt]);
        if wait.lock().unwrap().recv().is_ok() {
            let _ = stream.write_all(&bytes[halt..range.end]);
        }
    });
    (peer, go_on)
}

#[test]
fn a_run_is_told_piece_by_piece_and_can_be_called_off() {
    let served = Served::new(6, 8 * PIECE as usize);
    let bytes = served.bytes.clone();
    let (slow, go_on) = halting(bytes.clone(), 3);
    let honest = HttpPeer::honest(bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    peer.send(served.transfer(1, slow.address, served.all()));
    let mut told = Vec::new();
    while told.len() < 3 {
        if let Message::Progress(progress) = peer.hear().unwrap() {
            assert_eq!(progress.id, 1);
            told.extend(progress.pieces);
        }
    }
    assert_eq!(told, [0, 1, 2]);
    assert_eq!(transfer.progress().givers, 1);
    peer.send(wire::Cancel { id: 1 });
    assert_eq!(completed(&mut peer, 1).error, Some(FailureKind::Cancelled));
    let rest = 3 * u64::from(PIECE)..bytes.len() as u64;
    peer.send(served.transfer(2, honest.address, rest));
    assert_eq!(completed(&mut peer, 2).error, None);
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == bytes);
    drop(go_on);
}

/// What the order before has said need not be said again. What was never said is nothing that could be done, or refused.
#[test]
fn an_order_leaves_out_what_the_one_before_has_said() {
    let served = Served::new(45, 8 * PIECE as usize);
    let (one, other) = (HttpPeer::honest(served.bytes.clone()), HttpPeer::honest(served.bytes.clone()));
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    assert!(peer.features.iter().any(|feature| feature == wire::FEATURE_BRIEF));
    until_request(&mut peer, &served);
    let piece = u64::from(PIECE);
    let same_file = |order: wire::Transfer| wire::Transfer { url: String::new(), root: None, ..order };
    let same_giver = |order: wire::Transfer| wire::Transfer {
        host: String::new(),
        port: 0,
        peer_id: String::new(),
        ..order
    };
    let order = |id, giver: &HttpPeer, first: u64| {
        served.transfer(id, giver.address, first * piece..(first + 2) * piece)
    };
    peer.send(same_giver(same_file(order(1, &one, 0))));
    for full_or_brief in [
        order(2, &one, 0),
        same_giver(same_file(order(3, &one, 2))),
        same_file(order(4, &other, 4)),
        same_giver(order(5, &other, 6)),
    ] {
        let id = full_or_brief.id.unwrap();
        peer.send(full_or_brief);
        assert_eq!(completed(&mut peer, id).error, None);
    }
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
    let requests = |giver: &HttpPeer| giver.requests.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!((requests(&one), requests(&other)), (2, 2));
}

/// A server with one client need not hear of each piece at once; but no server gets a client to be silent for long.
#[test]
fn pieces_are_told_as_seldom_as_the_server_wants() {
    let served = Served::new(44, 8 * PIECE as usize);
    let (slow, go_on) = halting(served.bytes.clone(), 3);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    let ordered = std::time::Instant::now();
    peer.send(wire::Transfer {
        progress_ms: Some(u64::MAX),
        ..served.transfer(1, slow.address, served.all())
    });
    let told = loop {
        if let Message::Progress(progress) = peer.hear().unwrap() {
            break progress.pieces;
        }
    };
    assert_eq!(told, [0, 1, 2], "all at once");
    assert!(ordered.elapsed() >= Duration::from_millis(500), "{:?}", ordered.elapsed());
    go_on.send(()).unwrap();
    assert_eq!(completed(&mut peer, 1).error, None);
    transfer.wait(WAIT).unwrap();
}

#[test]
fn what_a_reader_has_left_behind_is_called_off() {
    let served = Served::new(41, 64 * PIECE as usize);
    let bytes = served.bytes.clone();
    let piece = u64::from(PIECE);
    // Two pieces, and then it would take for ever.
    let (slow, go_on) = halting(bytes.clone(), 2);
    let honest = HttpPeer::honest(bytes.clone());
    let server = Server::start();
    let client = client(|_| {});
    let session = open(&client, &server);
    let opening = std::thread::spawn(move || {
        let options = ReaderOptions { window: 16 * piece, ..ReaderOptions::default() };
        session.open_reader(&UrlPath::parse("/file").unwrap(), options, WAIT).unwrap()
    });
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    peer.send(served.transfer(1, slow.address, 0..8 * piece));
    peer.send(served.transfer(2, slow.address, 12 * piece..20 * piece));
    let progress = |peer: &mut Peer, count: usize| {
        let mut told = Vec::new();
        while told.len() < count {
            match peer.hear().unwrap() {
                Message::Progress(progress) => told.extend(progress.pieces),
                Message::AskInfo(ask) => peer.send(served.tell_info(&ask)),
                Message::AskHashes(ask) => peer.send(served.tell_hashes(&ask)),
                _ => {}
            }
        }
        told.sort_unstable();
        told
    };
    assert_eq!(progress(&mut peer, 4), [0, 1, 12, 13]);
    let reader = opening.join().unwrap();
    // A little further on: some of what is under way is of use, and so all of it goes on.
    reader.seek(6 * piece);
    loop {
        match peer.expect() {
            Message::Unrequest(_) => break,
            Message::Completed(completed) => panic!("{completed:?}"),
            _ => {}
        }
    }
    let mut some = vec![0; PIECE as usize];
    assert_eq!(reader.read(&mut some, Some(Duration::ZERO)).unwrap_err().kind, ErrorKind::Again);
    // Far away: nothing of it is.
    reader.seek(40 * piece);
    let mut is_taken_back = false;
    let mut ends = Vec::new();
    while ends.len() < 2 {
        match peer.expect() {
            Message::Unrequest(_) => is_taken_back = true,
            Message::Completed(completed) => {
                assert!(is_taken_back, "the server must know why");
                ends.push((completed.id.unwrap(), completed.error, completed.bytes));
            }
            _ => {}
        }
    }
    ends.sort_unstable_by_key(|end| end.0);
    assert_eq!(ends.iter().map(|end| end.0).collect::<Vec<_>>(), [1, 2]);
    assert!(ends.iter().all(|end| end.1 == Some(FailureKind::Cancelled)), "{ends:?}");
    // What is needed now comes, and what had come before is still there.
    peer.send(served.transfer(3, honest.address, 40 * piece..48 * piece));
    assert_eq!(completed(&mut peer, 3).error, None);
    assert_eq!(reader.read(&mut some, WAIT).unwrap(), PIECE as usize);
    assert!(some == bytes[40 * PIECE as usize..][..PIECE as usize]);
    reader.seek(13 * piece);
    assert_eq!(reader.read(&mut some, Some(Duration::ZERO)).unwrap(), PIECE as usize);
    assert!(some == bytes[13 * PIECE as usize..][..PIECE as usize]);
    drop((reader, go_on));
}

/// Who knows where a stream stands can see what it waits for. Asking for more tells it, but here all was asked for at once.
#[test]
fn a_stream_that_has_asked_for_everything_goes_on_telling_where_it_is() {
    const MIB: u64 = 1 << 20;
    let served = Served::new(42, 160 * PIECE as usize);
    let (honest, server) = (HttpPeer::honest(served.bytes.clone()), Server::start());
    let client = client(|_| {});
    let session = open(&client, &server);
    let (sender, taken) = mpsc::channel();
    let request = Request {
        path: UrlPath::parse("/file").unwrap(),
        target: Target::Stream(Box::new(move |_, bytes| {
            sender.send(bytes.len()).unwrap();
            Flow::Continue
        })),
        overwrite: Overwrite::default(),
        recursive: false,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Tuning { pace: 500_000, ..Tuning::default() },
    };
    let transfer = session.start(request, 0).unwrap();
    let mut peer = server.welcome();
    let first = until_request(&mut peer, &served);
    assert_eq!((first.position, first.pace), (Some(0), Some(500_000)));
    let here = 100 * u64::from(PIECE);
    peer.send(served.transfer(1, honest.address, 0..here));
    // What stands there may be told after the last piece has come, too.
    let told = loop {
        match peer.expect() {
            Message::Request(request) => break request,
            Message::Completed(completed) => assert_eq!(completed.id, Some(1)),
            Message::Provide(_) | Message::Progress(_) => {}
            message => panic!("unexpected {message:?}"),
        }
    };
    assert!(told.position.is_some_and(|position| (MIB..=here).contains(&position)), "{told:?}");
    assert_eq!(
        (told.window, told.pace, told.order),
        (first.window, first.pace, Some(wire::Order::Sequential))
    );
    assert!(
        told.range.is_some_and(|range| range.max < Some(range.min + u64::from(PIECE))),
        "nothing new: {told:?}"
    );
    peer.send(served.transfer(2, honest.address, here..served.all().end));
    transfer.wait(WAIT).unwrap();
    assert_eq!(taken.try_iter().sum::<usize>(), served.bytes.len());
}

/// From that the server knows how long it can count on somebody.
#[test]
fn who_goes_on_giving_says_so() {
    for (seeding, says) in [
        (Seeding::Off, [false, false]),
        (Seeding::Downloading, [true, false]),
        (Seeding::Always, [true, true]),
    ] {
        let server = Server::start();
        let client = client(|config| config.seeding = seeding);
        let _session = open(&client, &server);
        let features = server.welcome().features;
        let said = [wire::FEATURE_GIVE, wire::FEATURE_STAY].map(|word| features.iter().any(|it| it == word));
        assert_eq!(said, says, "{seeding:?}");
    }
}

#[test]
fn what_goes_on_while_the_server_is_away_is_told_when_it_is_back() {
    let served = Served::new(7, 6 * PIECE as usize);
    let bytes = served.bytes.clone();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let patient = {
        let bytes = bytes.clone();
        HttpPeer::new(move |mut stream, range| {
            let half = range.start + 2 * PIECE as usize;
            let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
            let _ = stream.write_all(&bytes[range.start..half]);
            let _ = wait.lock().unwrap().recv();
            let _ = stream.write_all(&bytes[half..range.end]);
        })
    };
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    peer.send(served.transfer(1, patient.address, 0..4 * u64::from(PIECE)));
    wait_until("half of the run is here", PATIENCE, || transfer.progress().done == 2 * u64::from(PIECE));
    let first_id = peer.id.clone();
    drop(peer);

    let mut peer = server.welcome();
    assert_eq!(peer.id, first_id, "the same client comes back");
    let mut provided = Vec::new();
    let request = loop {
        match peer.expect() {
            Message::Provide(provide) => provided.push(provide.range.unwrap()),
            Message::Request(request) => break request,
            message => panic!("unexpected {message:?}"),
        }
    };
    assert_eq!(provided, [ByteRange::new(0, 2 * u64::from(PIECE) - 1)]);
    assert_eq!(request.range, Some(ByteRange::new(2 * u64::from(PIECE), bytes.len() as u64 - 1)));
    go_on.send(()).unwrap();
    // The new server does not know the old transfer: it hears of pieces, not of a number.
    let mut more = 0;
    while more < 2 * u64::from(PIECE) {
        match peer.expect() {
            Message::Provide(provide) => {
                let range = provide.range.unwrap();
                more += range.max.unwrap() + 1 - range.min;
            }
            message => panic!("unexpected {message:?}"),
        }
    }
    let honest = HttpPeer::honest(bytes.clone());
    peer.send(served.transfer(1, honest.address, 4 * u64::from(PIECE)..bytes.len() as u64));
    assert_eq!(completed(&mut peer, 1).error, None);
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == bytes);
}

#[test]
fn a_new_version_starts_clean_and_keeps_what_is_the_same() {
    let old = Served::new(8, 6 * PIECE as usize);
    let mut new = Served::new(8, 6 * PIECE as usize);
    new.bytes[5 * PIECE as usize] ^= 1;
    let hashes = new.bytes.chunks(PIECE as usize).map(hash_piece).collect();
    new.hashes = PieceHashes::new(old.hashes.layout(), hashes).unwrap();
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    let request = until_request(&mut peer, &old);
    let honest = HttpPeer::honest(old.bytes.clone());
    peer.send(old.transfer(1, honest.address, 0..3 * u64::from(PIECE)));
    completed(&mut peer, 1);
    peer.send(wire::Changed { url: request.url, root: Some(new.hashes.root()), ..Default::default() });
    let request = until_request(&mut peer, &new);
    assert_eq!(request.root, Some(new.hashes.root()));
    assert_eq!(request.range.unwrap().min, 3 * u64::from(PIECE), "three pieces are the same");
    let honest = HttpPeer::honest(new.bytes.clone());
    peer.send(new.transfer(2, honest.address, 3 * u64::from(PIECE)..new.bytes.len() as u64));
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == new.bytes);
    let progress = transfer.progress();
    assert_eq!((progress.done, progress.total), (new.bytes.len() as u64, new.bytes.len() as u64));
}

#[test]
fn a_file_that_keeps_changing_is_given_up() {
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    peer.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (mut versions, mut served) = (0, Served::new(0, 3 * PIECE as usize));
    while !transfer.state().is_end() {
        match peer.hear() {
            Some(Message::AskInfo(ask)) => {
                served = Served::new(versions, 3 * PIECE as usize);
                versions += 1;
                peer.send(served.tell_info(&ask));
            }
            Some(Message::AskHashes(ask)) => peer.send(served.tell_hashes(&ask)),
            Some(Message::Request(request)) => peer.send(wire::Error {
                code: ErrorCode::Changed,
                message: String::new(),
                url: Some(request.url),
                re: Some("request".into()),
                id: None,
            }),
            _ => {}
        }
    }
    assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Changed);
    assert_eq!(versions, 6);
}

#[test]
fn hashes_that_are_not_those_of_the_version_are_not_believed() {
    let (served, other) = (Served::new(9, 3 * PIECE as usize), Served::new(10, 3 * PIECE as usize));
    for length in [96, 64, 0] {
        let server = Server::start();
        let (client, local) = (client(|_| {}), scratch());
        let session = open(&client, &server);
        let (transfer, mut peer, ask) = started(&server, &session, local.path());
        // With the answer, if they are as many as there are pieces; else they are asked for.
        let mut info = served.tell_info(&ask);
        info.hashes = other.tell_info(&ask).hashes;
        info.hashes.as_mut().unwrap().0.truncate(length);
        peer.send(info);
        if length < 96 {
            let ask = loop {
                match peer.expect() {
                    Message::AskHashes(ask) => break ask,
                    Message::Request(_) => {}
                    message => panic!("unexpected {message:?}"),
                }
            };
            let mut tell = other.tell_hashes(&ask);
            tell.hashes.0.truncate(length);
            peer.send(tell);
        }
        assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Hash);
        assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 0);
    }
}

#[test]
fn nonsense_about_a_file_is_an_error_and_not_a_balloon() {
    let root = Some(Digest([7; 32]));
    for (size, chunk_size) in [
        (u64::MAX, Some(PIECE)),
        (1 << 50, Some(PIECE)),
        (100, Some(0)),
        (100, Some(12345)),
        (100, Some(u32::MAX)),
        (100, None),
    ] {
        let server = Server::start();
        let (client, local) = (client(|_| {}), scratch());
        let session = open(&client, &server);
        let (transfer, mut peer, ask) = started(&server, &session, local.path());
        let info =
            wire::TellInfo { url: ask.url, size: Some(size), chunk_size, root, ..wire::TellInfo::default() };
        peer.send(info);
        let error = transfer.wait(WAIT).unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::Protocol | ErrorKind::Limit),
            "{size} {chunk_size:?}: {error}"
        );
    }
}

#[test]
fn a_listing_cannot_lead_outside() {
    let served = Served::new(11, 100);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let target = local.path().join("target");
    let request = Request {
        path: UrlPath::root(),
        target: Target::Dir(target.clone()),
        overwrite: Overwrite::Resume,
        recursive: true,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    let transfer = session.start(request, 0).unwrap();
    let mut peer = server.welcome();
    let Message::List(list) = peer.expect() else { panic!("no list") };
    let entry = |name: &str, path: Option<&str>| wire::Entry {
        name: name.into(),
        path: path.map(str::to_owned),
        size: 100,
        root: Some(served.hashes.root()),
        chunk_size: Some(PIECE),
        ..wire::Entry::default()
    };
    let entries = vec![entry("ok", None), entry("../evil", None), entry("x", Some("%2e%2e/evil"))];
    peer.send(wire::Listing { url: list.url, id: list.id, entries, ..wire::Listing::default() });
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| transfer.wait(WAIT).unwrap_err());
        let honest = HttpPeer::honest(served.bytes.clone());
        while !waiting.is_finished() {
            peer.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            if let Some(Message::Request(request)) = peer.hear() {
                let transfer =
                    wire::Transfer { url: request.url, ..served.transfer(1, honest.address, served.all()) };
                peer.send(transfer);
            }
        }
        waiting.join().unwrap()
    });
    assert_eq!(error.kind, ErrorKind::Protocol, "{error}");
    let found: Vec<_> = std::fs::read_dir(local.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(found, ["target"]);
    assert!(
        std::fs::read(target.join("ok")).is_ok_and(|bytes| bytes == served.bytes),
        "one does not spoil another"
    );
}

#[test]
fn how_far_the_server_is_with_a_directory_is_told() {
    let server = Server::start();
    let client = client(|_| {});
    let session = open(&client, &server);
    let op = session.list_start(&UrlPath::root(), 1, 7).unwrap();
    let mut peer = server.welcome();
    let Message::List(list) = peer.expect() else { panic!("no list") };
    let next = || loop {
        let event = client.next_event(WAIT).expect("an event");
        if !matches!(event.body, EventBody::Session { .. }) {
            assert_eq!(event.user_data, 7);
            return event.body;
        }
    };
    for entries in [0, 300_000] {
        // Of another question, and of none: nobody's business.
        for id in [Some(99), None] {
            peer.send(wire::Reading { url: list.url.clone(), id, entries: 1 });
        }
        peer.send(wire::Reading { url: list.url.clone(), id: list.id, entries });
        assert_eq!(next(), EventBody::Reading { op, entries });
    }
    peer.send(wire::Listing { url: list.url, id: list.id, ..wire::Listing::default() });
    assert!(matches!(next(), EventBody::Listing { result: Ok(_), last: true, .. }));
    // A tree says it with its numbers.
    let local = scratch();
    let request = Request {
        path: UrlPath::root(),
        target: Target::Dir(local.path().join("tree")),
        overwrite: Overwrite::Resume,
        recursive: true,
        expect_root: None,
        verify: None,
        keys: Vec::new(),
        tuning: Default::default(),
    };
    let transfer = session.start(request, 0).unwrap();
    let Message::List(list) = peer.expect() else { panic!("no list") };
    peer.send(wire::Reading { url: list.url.clone(), id: list.id, entries: 5 });
    wait_until("the numbers say how far the listing is", PATIENCE, || transfer.progress().reading == Some(5));
    peer.send(wire::Listing { url: list.url, id: list.id, ..wire::Listing::default() });
    transfer.wait(WAIT).unwrap();
    assert_eq!(transfer.progress().reading, None);
}

#[test]
fn servers_of_another_kind_are_refused() {
    let answers: [&[u8]; 3] = [
        b"\x00\x02{}",
        b"\xff\xffHTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x2d[\"tell_info\", {\"url\": \"http://a/b\", \"size\": 1}]",
    ];
    for (n, answer) in answers.into_iter().enumerate() {
        let server = Server::start();
        let client = client(|_| {});
        let session = open(&client, &server);
        let mut peer = server.accept();
        let mut answer = answer.to_vec();
        if n == 1 {
            answer.resize(65537, b' ');
        }
        if n == 2 {
            answer[1] = (answer.len() - 2) as u8;
        }
        peer.stream.write_all(&answer).unwrap();
        let error = session.wait_ready(WAIT).unwrap_err();
        let expected = if n == 2 { ErrorKind::Unsupported } else { ErrorKind::Protocol };
        assert_eq!(error.kind, expected, "{n}: {error}");
        assert!(matches!(session.state(), SessionState::Refused { .. }));
        // It can be asked again.
        session.reconnect();
        let _peer = server.welcome();
        wait_until("it is ready", PATIENCE, || session.state() == SessionState::Ready);
    }
}

#[test]
fn an_id_in_use_is_waited_for() {
    let server = Server::start();
    let client = client(|_| {});
    let session = open(&client, &server);
    let mut peer = server.accept();
    let error =
        wire::Error { code: ErrorCode::IdInUse, message: String::new(), url: None, re: None, id: None };
    peer.send(error);
    drop(peer);
    let mut peer = server.welcome();
    wait_until("it is ready", PATIENCE, || session.state() == SessionState::Ready);
    peer.send(wire::Goaway { reason: "lunch\u{7}".into(), after_s: 2 });
    peer.send(wire::Notice { message: "bye".into() });
    let mut seen = HashMap::new();
    while seen.len() < 2 {
        match client.next_event(WAIT).expect("an event").body {
            EventBody::Goaway { reason, after, .. } => seen.insert("goaway", format!("{reason} {after:?}")),
            EventBody::Notice { message, .. } => seen.insert("notice", message),
            _ => None,
        };
    }
    assert_eq!(seen["goaway"], "lunch 2s");
    assert_eq!(seen["notice"], "bye");
}

#[test]
fn pieces_are_given_for_a_token_and_for_nothing_else() {
    let served = Served::new(12, 3 * PIECE as usize);
    let bytes = served.bytes.clone();
    let server = Server::start();
    let (client, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    assert_ne!(peer.listen_port, 0);
    until_request(&mut peer, &served);
    let honest = HttpPeer::honest(bytes.clone());
    peer.send(served.transfer(1, honest.address, served.all()));
    completed(&mut peer, 1);
    transfer.wait(WAIT).unwrap();

    let hello =
        format!("GET /.pdtp/hello?n=abc&id={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", peer.id);
    let (status, _, body) = ask_client(peer.listen_port, &hello);
    assert_eq!((status, body), (200, token::make_hello(&peer.secret, "abc").into_bytes()));
    let (status, ..) = ask_client(
        peer.listen_port,
        "GET /.pdtp/hello?n=abc&id=other HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!(status, 404);

    let path = UrlPath::parse("/file").unwrap();
    let root = served.hashes.root();
    let (min, max) = (u64::from(PIECE), 2 * u64::from(PIECE) - 1);
    let scope =
        TokenScope { method: Method::Get, path: &path, root: &root, min, max, connector: "me", transfer: 77 };
    let far = 4_000_000_000;
    let good = token::make_token(&peer.secret, &scope, far);
    let ask = |token: &str, range: &str, root: &str, who: &str, path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-PDTP-Peer-Id: {who}\r\n\
             X-PDTP-Token: {token}\r\nX-PDTP-Transfer: 77\r\nIf-Match: \"{root}\"\r\nRange: bytes={range}\r\n\r\n"
        )
    };
    let (range, hex) = (format!("{min}-{max}"), root.to_string());
    let (status, head, body) = ask_client(peer.listen_port, &ask(&good, &range, &hex, "me", "/file"));
    assert_eq!(status, 206, "{head}");
    assert!(body == bytes[min as usize..=max as usize]);
    assert!(head.contains(&token::make_proof(&peer.secret, &good)), "{head}");
    assert!(head.contains(&format!("\"{hex}\"")), "{head}");
    let told = completed(&mut peer, 77);
    assert_eq!((told.error, told.bytes), (None, Some(u64::from(PIECE))));
    wait_until("it is counted", PATIENCE, || client.stats().uploaded == u64::from(PIECE));

    let expired = token::make_token(&peer.secret, &scope, 5);
    let other_root = "00".repeat(32);
    for (what, request) in [
        ("expired", ask(&expired, &range, &hex, "me", "/file")),
        ("another range", ask(&good, "0-9", &hex, "me", "/file")),
        ("another version", ask(&good, &range, &other_root, "me", "/file")),
        ("somebody else", ask(&good, &range, &hex, "you", "/file")),
        ("another file", ask(&good, &range, &hex, "me", "/other")),
        ("another transfer", ask(&good, &range, &hex, "me", "/file").replace(": 77", ": 78")),
        ("no transfer", ask(&good, &range, &hex, "me", "/file").replace("X-PDTP-Transfer", "X-Nothing")),
        ("another method", ask(&good, &range, &hex, "me", "/file").replace("GET", "PUT")),
        ("no token", ask(&good, &range, &hex, "me", "/file").replace("X-PDTP-Token", "X-Nothing")),
    ] {
        // Without a token the server is asked, and does not know it.
        let port = peer.listen_port;
        let asking = std::thread::spawn(move || ask_client(port, &request));
        if what == "no token" {
            let Message::AskVerify(ask) = peer.expect() else { panic!("no ask_verify") };
            assert_eq!((ask.peer_id.as_str(), ask.range), ("me", ByteRange::new(min, max)));
            peer.send(wire::TellVerify {
                peer: ask.peer,
                url: ask.url,
                range: ask.range,
                peer_id: ask.peer_id,
                is_authorized: false,
                authorized: None,
            });
        }
        let (status, _, body) = asking.join().unwrap();
        assert!(matches!(status, 400 | 403), "{what}: {status}");
        assert!(body.len() < 100, "{what}");
    }
    assert_eq!(client.stats().uploaded, u64::from(PIECE));

    // A good token for what is not here.
    let other = UrlPath::parse("/other").unwrap();
    let scope = TokenScope { path: &other, ..scope };
    let token = token::make_token(&peer.secret, &scope, far);
    let (status, ..) = ask_client(peer.listen_port, &ask(&token, &range, &hex, "me", "/other"));
    assert_eq!(status, 404);
    // The file is touched by somebody else: it is not given any more.
    std::fs::write(local.path().join("file"), "mine now").unwrap();
    let (status, ..) = ask_client(peer.listen_port, &ask(&good, &range, &hex, "me", "/file"));
    assert_eq!(status, 404);
}

/// A GET of a peer, and how long it would wait.
fn get(peer: &Peer, served: &Served, transfer: u64, pieces: std::ops::Range<u64>, wait: &str) -> String {
    let (path, root) = (UrlPath::parse("/file").unwrap(), served.hashes.root());
    let size = u64::from(PIECE);
    let (min, max) = (pieces.start * size, pieces.end * size - 1);
    let scope =
        TokenScope { method: Method::Get, path: &path, root: &root, min, max, connector: "me", transfer };
    let token = token::make_token(&peer.secret, &scope, 4_000_000_000);
    format!(
        "GET /file HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-PDTP-Peer-Id: me\r\n\
         X-PDTP-Token: {token}\r\nX-PDTP-Transfer: {transfer}\r\nIf-Match: \"{root}\"\r\n\
         Range: bytes={min}-{max}\r\n{wait}\r\n"
    )
}

/// What a peer is about to have can be asked for before it is there, so that no time is lost between.
#[test]
fn a_request_for_what_is_on_its_way_waits_for_it() {
    let served = Served::new(40, 6 * PIECE as usize);
    let server = Server::start();
    let (client, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    let port = peer.listen_port;

    let (status, _, said) = ask_client(port, &get(&peer, &served, 70, 1..2, ""));
    let said = String::from_utf8_lossy(&said);
    assert_eq!(
        status,
        404,
        "nobody is kept waiting who does not want to: {said}, port {port} of {}",
        client.stats().listen_port
    );
    assert_eq!(completed(&mut peer, 70).error, Some(FailureKind::Gone));
    let (status, ..) = ask_client(port, &get(&peer, &served, 71, 1..2, "Prefer: wait=0\r\n"));
    assert_eq!(status, 404);
    assert_eq!(completed(&mut peer, 71).error, Some(FailureKind::Gone));

    let request = get(&peer, &served, 72, 1..3, "Prefer: respond-async, wait=30\r\n");
    let waiting = std::thread::spawn(move || ask_client(port, &request));
    // While it waits, the pieces come, in two parts.
    let honest = HttpPeer::honest(served.bytes.clone());
    let size = u64::from(PIECE);
    for (id, pieces) in [(1, 0..2), (2, 2..4)] {
        peer.send(served.transfer(id, honest.address, pieces.start * size..pieces.end * size));
    }
    let (status, head, body) = waiting.join().unwrap();
    assert_eq!(status, 206, "{head}");
    assert!(body == served.bytes[PIECE as usize..3 * PIECE as usize]);

    // Who waits for what will not come is told when that is clear.
    let request = get(&peer, &served, 73, 4..5, "Prefer: wait=50\r\n");
    let waiting = std::thread::spawn(move || ask_client(port, &request));
    transfer.cancel(true);
    let (status, ..) = waiting.join().unwrap();
    assert!([403, 404].contains(&status), "{status}");
}

/// Whom the server sends may be here before the greeting, with the secret, was read.
#[test]
fn a_token_that_is_here_before_the_greeting_is_good() {
    let served = Served::new(42, 6 * PIECE as usize);
    let server = Server::start();
    let (client, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&client, &server);
    let _transfer = start(&session, local.path());
    let mut peer = server.accept();
    // All it wants is asked for before it knows whom it asks.
    while !matches!(peer.expect(), Message::Request(_)) {}
    let mut stream = TcpStream::connect(("127.0.0.1", peer.listen_port)).unwrap();
    stream.write_all(get(&peer, &served, 70, 1..2, "").as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = vec![0; 12];
    let early = stream.read(&mut answer);
    assert!(early.is_err(), "{}", String::from_utf8_lossy(&answer));
    server.greet(&mut peer);
    stream.set_read_timeout(WAIT).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 404", "it is not here yet");
}

/// Who is told to wait gives the other side the time.
#[test]
fn a_giver_that_does_not_have_it_yet_is_given_time() {
    let served = Served::new(41, 3 * PIECE as usize);
    let server = Server::start();
    let (client, local) = (client(|config| config.connect_timeout = Duration::from_millis(300)), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    assert!(peer.features.iter().any(|feature| feature == wire::FEATURE_WAIT));
    until_request(&mut peer, &served);
    let bytes = served.bytes.clone();
    // It takes longer than anybody else is waited for.
    let late = HttpPeer::new(move |mut stream, range| {
        std::thread::sleep(Duration::from_millis(900));
        let _ = stream.write_all(head(&bytes, &range, "proof").as_bytes());
        let _ = stream.write_all(&bytes[range]);
    });
    peer.send(served.transfer(1, late.address, served.all()));
    assert_eq!(completed(&mut peer, 1).error, Some(FailureKind::Timeout));
    assert!(!late.heads().last().unwrap().contains("Prefer"));
    peer.send(wire::Transfer { wait_s: Some(20), ..served.transfer(2, late.address, served.all()) });
    assert_eq!(completed(&mut peer, 2).error, None);
    assert!(late.heads().last().unwrap().contains("\r\nPrefer: wait=20\r\n"));
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn a_giver_that_dials_is_taken_from_only_with_a_token_and_only_what_is_right() {
    let served = Served::new(13, 4 * PIECE as usize);
    let bytes = served.bytes.clone();
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let transfer = start(&session, local.path());
    let mut peer = server.welcome();
    until_request(&mut peer, &served);
    session.wait_ready(WAIT).unwrap();
    let path = UrlPath::parse("/file").unwrap();
    let root = served.hashes.root();
    let next_id = AtomicU64::new(100);
    let mut put = |range: std::ops::Range<usize>, body: &[u8], secret: &Secret| {
        let id = next_id.fetch_add(1, Ordering::SeqCst);
        let (min, max) = (range.start as u64, range.end as u64 - 1);
        let scope = TokenScope {
            method: Method::Put,
            path: &path,
            root: &root,
            min,
            max,
            connector: "giver",
            transfer: id,
        };
        let token = token::make_token(secret, &scope, 4_000_000_000);
        let mut stream = TcpStream::connect(("127.0.0.1", peer.listen_port)).unwrap();
        stream.set_read_timeout(WAIT).unwrap();
        let head = format!(
            "PUT /file HTTP/1.1\r\nHost: 127.0.0.1\r\nX-PDTP-Peer-Id: giver\r\nX-PDTP-Token: {token}\r\n\
             X-PDTP-Transfer: {id}\r\nIf-Match: \"{root}\"\r\nContent-Range: bytes {min}-{max}/{}\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            bytes.len(),
            range.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        if !answer.starts_with("HTTP/1.1 100") {
            return (answer, None);
        }
        assert!(answer.contains(&token::make_proof(secret, &token)), "{answer}");
        stream.write_all(body).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        (rest, Some(completed(&mut peer, id)))
    };
    let half = 2 * PIECE as usize;
    let (answer, told) = put(0..half, &bytes[..half], &server.secret);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(told.unwrap().error, None);
    let (answer, told) = put(half..bytes.len(), &bytes[half..], &Secret([9; 32]));
    assert!(answer.starts_with("HTTP/1.1 403") && told.is_none(), "{answer}");
    let mut wrong = bytes[half..].to_vec();
    wrong[PIECE as usize] ^= 1;
    let (answer, told) = put(half..bytes.len(), &wrong, &server.secret);
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert_eq!(told.unwrap().error, Some(FailureKind::Hash));
    assert_eq!(transfer.progress().done, 3 * u64::from(PIECE));
    let last = 3 * PIECE as usize;
    let (answer, _) = put(last..bytes.len(), &bytes[last..], &server.secret);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == bytes);
}
