//! Promises about piece hashes: of a large file a client needs only those of the pieces that it receives, asks for them
//! together with the pieces, believes none that are not proved, and gets on with servers that prove nothing.

pub mod common;
#[path = "common/evil.rs"]
pub mod evil;
#[path = "common/scripted.rs"]
pub mod scripted;

use std::io::Write as _;
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{PATIENCE, Pdtpd, assert_same_file, make_file, pdtp_in, scratch, wait_until};
use evil::Evil;
use pdtp::client::{ErrorKind, ReaderOptions, Seeding, Session, Transfer};
use pdtp::wire::token::{self, Method, TokenScope};
use pdtp::wire::{self, Base64, ErrorCode, FailureKind, Message, UrlPath};
use scripted::{
    HttpPeer, PIECE, Peer, Served, Server, WAIT, ask_client, client, completed, open, read_head, started,
    until_request,
};

/// So many pieces that they are worth parts: the last block is not full.
const PIECES: u32 = 300;
/// So many hashes are asked for at least. The server of these tests tells as many with the version, `pdtpd` fewer.
const BLOCK: u32 = 64;

fn served(seed: u64) -> Served {
    Served { proves: true, ..Served::new(seed, PIECES as usize * PIECE as usize - 5) }
}

fn bytes_of(served: &Served, pieces: Range<u32>) -> Range<u64> {
    served.hashes.layout().bytes_of_run(pieces)
}

/// A download that has asked for the file and knows the first block, and its server's end.
fn begun(server: &Server, session: &Session, to: &Path, served: &Served) -> (Transfer, Peer) {
    let (transfer, mut peer, ask) = started(server, session, to);
    assert!(ask.hashes && ask.proof);
    peer.send(served.tell_info(&ask));
    let Message::Request(_) = peer.expect() else { panic!("no request") };
    (transfer, peer)
}

/// The next question for hashes; what else is said meanwhile must not be about pieces that came.
fn asked(peer: &mut Peer) -> wire::AskHashes {
    loop {
        match peer.hear().expect("the client is there") {
            Message::AskHashes(ask) => return ask,
            Message::Progress(_) | Message::Completed(_) => panic!("before anything could be verified"),
            _ => {}
        }
    }
}

/// Asks the client for pieces, as another client that the server has sent.
fn take(peer: &Peer, served: &Served, pieces: Range<u32>) -> (u16, Vec<u8>) {
    let (path, root, bytes) =
        (UrlPath::parse("/file").unwrap(), served.hashes.root(), bytes_of(served, pieces));
    let (min, max, transfer) = (bytes.start, bytes.end - 1, 77);
    let scope =
        TokenScope { method: Method::Get, path: &path, root: &root, min, max, connector: "me", transfer };
    let token = token::make_token(&peer.secret, &scope, 4_000_000_000);
    let request = format!(
        "GET /file HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nX-PDTP-Peer-Id: me\r\n\
         X-PDTP-Token: {token}\r\nX-PDTP-Transfer: 77\r\nIf-Match: \"{root}\"\r\nRange: bytes={min}-{max}\r\n\r\n"
    );
    let (status, _, body) = ask_client(peer.listen_port, &request);
    (status, body)
}

/// Sends all that is missing, and answers what is asked.
fn serve_to_the_end(
    peer: &mut Peer,
    served: &Served,
    from: &HttpPeer,
    pieces: Range<u32>,
    transfer: &Transfer,
) {
    peer.send(served.transfer(1000, from.address, bytes_of(served, pieces)));
    loop {
        match peer.hear().expect("the client is there") {
            Message::AskHashes(ask) => peer.send(served.tell_hashes(&ask)),
            Message::Completed(told) if told.id == Some(1000) => {
                assert_eq!(told.error, None);
                break;
            }
            _ => {}
        }
    }
    transfer.wait(WAIT).unwrap();
}

#[test]
fn pieces_are_verified_and_passed_on_before_all_hashes_are_here() {
    let served = served(1);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);

    // What came with the version is enough for these.
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 10..20)));
    let told = loop {
        match peer.hear().unwrap() {
            Message::AskHashes(ask) => panic!("nothing is missing: {ask:?}"),
            Message::Completed(told) => break told,
            _ => {}
        }
    };
    assert_eq!((told.id, told.error), (Some(1), None));
    let (status, body) = take(&peer, &served, 10..20);
    assert!(status == 206 && body == served.bytes[10 * PIECE as usize..20 * PIECE as usize]);
    completed(&mut peer, 77);

    // For others the question goes out together with the GET, and what comes counts for nothing until it is answered.
    peer.send(served.transfer(2, honest.address, bytes_of(&served, 200..202)));
    peer.send(served.transfer(3, honest.address, bytes_of(&served, 210..211)));
    let ask = asked(&mut peer);
    assert_eq!((ask.first, ask.count, ask.proof), (192, BLOCK, true));
    assert_eq!(ask.root, served.hashes.root());
    wait_until("the pieces are fetched meanwhile", PATIENCE, || honest.requests() == 3);
    assert_eq!(take(&peer, &served, 200..201).0, 404);
    assert_eq!(transfer.progress().done, 10 * u64::from(PIECE));

    peer.send(served.tell_hashes(&ask));
    let mut ends = Vec::new();
    while ends.len() < 2 {
        match peer.hear().unwrap() {
            Message::AskHashes(ask) => panic!("one question for a block: {ask:?}"),
            Message::Completed(told) if told.id != Some(77) => ends.push((told.id.unwrap(), told.error)),
            _ => {}
        }
    }
    ends.sort_unstable_by_key(|end| end.0);
    assert_eq!(ends, [(2, None), (3, None)]);
    let (status, body) = take(&peer, &served, 200..201);
    assert!(status == 206 && body == served.bytes[200 * PIECE as usize..201 * PIECE as usize]);

    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// Who brings pieces is told to go on at once, too.
#[test]
fn what_is_brought_waits_for_its_hashes() {
    let served = served(12);
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (_transfer, mut peer) = begun(&server, &session, local.path(), &served);
    session.wait_ready(WAIT).unwrap();
    let (path, root) = (UrlPath::parse("/file").unwrap(), served.hashes.root());
    let bytes = bytes_of(&served, 66..68);
    let (min, max) = (bytes.start, bytes.end - 1);
    let scope = TokenScope {
        method: Method::Put,
        path: &path,
        root: &root,
        min,
        max,
        connector: "giver",
        transfer: 78,
    };
    let token = token::make_token(&peer.secret, &scope, 4_000_000_000);
    let (size, length) = (served.bytes.len(), max + 1 - min);
    let head = format!(
        "PUT /file HTTP/1.1\r\nHost: 127.0.0.1\r\nX-PDTP-Peer-Id: giver\r\nX-PDTP-Token: {token}\r\n\
         X-PDTP-Transfer: 78\r\nIf-Match: \"{root}\"\r\nContent-Range: bytes {min}-{max}/{size}\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", peer.listen_port)).unwrap();
    stream.set_read_timeout(WAIT).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let go_on = String::from_utf8(read_head(&mut stream).expect("an answer")).unwrap();
    assert!(go_on.starts_with("HTTP/1.1 100"), "{go_on}");
    stream.write_all(&served.bytes[min as usize..=max as usize]).unwrap();
    let ask = asked(&mut peer);
    assert_eq!((ask.first, ask.count, ask.proof), (64, BLOCK, true));
    peer.send(served.tell_hashes(&ask));
    let answer = String::from_utf8(read_head(&mut stream).expect("an answer")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(completed(&mut peer, 78).error, None);
}

#[test]
fn a_run_over_several_blocks_waits_for_all_of_them() {
    let served = served(2);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 60..PIECES)));
    let mut asks = [(); 4].map(|()| asked(&mut peer));
    asks.sort_unstable_by_key(|ask| ask.first);
    assert_eq!(asks.each_ref().map(|ask| (ask.first, ask.count)), [64, 128, 192, 256].map(|at| (at, BLOCK)));
    let [first, rest @ ..] = &asks;
    for ask in rest {
        peer.send(served.tell_hashes(ask));
    }
    // An answer to the ping shows that the others have been read.
    peer.send(wire::Ping {});
    while !matches!(peer.hear().unwrap(), Message::Pong(_)) {}
    assert_eq!(transfer.progress().done, 0);
    peer.send(served.tell_hashes(first));
    assert_eq!(completed(&mut peer, 1).error, None);
    serve_to_the_end(&mut peer, &served, &honest, 0..60, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn nothing_is_believed_of_what_is_not_proved() {
    type Spoil = fn(&mut wire::TellHashes, &Served);
    let spoilers: [(&str, Spoil); 5] = [
        ("a hash", |told, _| told.hashes.0[40] ^= 1),
        ("the proof", |told, _| told.proof.as_mut().unwrap().0[0] ^= 1),
        ("too short a proof", |told, _| told.proof.as_mut().unwrap().0.truncate(32)),
        ("another block", |told, served| {
            let other = wire::AskHashes { first: 64, count: BLOCK, proof: true, ..Default::default() };
            (told.hashes, told.proof) = (served.tell_hashes(&other).hashes, served.tell_hashes(&other).proof);
        }),
        ("too few", |told, _| told.hashes.0.truncate(32 * 32)),
    ];
    let served = served(3);
    let honest = HttpPeer::honest(served.bytes.clone());
    for (what, spoil) in spoilers {
        let server = Server::start();
        let (client, local) = (client(|_| {}), scratch());
        let session = open(&client, &server);
        let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
        peer.send(served.transfer(1, honest.address, bytes_of(&served, 0..2)));
        assert_eq!(completed(&mut peer, 1).error, None);
        peer.send(served.transfer(2, honest.address, bytes_of(&served, 130..132)));
        let mut told = served.tell_hashes(&asked(&mut peer));
        spoil(&mut told, &served);
        peer.send(told);
        let error = transfer.wait(WAIT).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Hash, "{what}: {error}");
        assert!(error.message.contains("piece hashes"), "{error}");
        assert!(!local.path().join("file").exists());
        // Its peer is not to blame.
        assert_eq!(completed(&mut peer, 2).error, Some(FailureKind::Cancelled), "{what}");
    }
}

#[test]
fn a_first_block_that_is_not_proved_ends_it_before_it_begins() {
    let served = served(4);
    for spoil in [0, 1, 2] {
        let server = Server::start();
        let (client, local) = (client(|_| {}), scratch());
        let session = open(&client, &server);
        let (transfer, mut peer, ask) = started(&server, &session, local.path());
        let mut info = served.tell_info(&ask);
        match spoil {
            0 => info.hashes.as_mut().unwrap().0[5] ^= 1,
            1 => info.proof = Some(Base64(Vec::new())),
            _ => info.hashes = Some(Base64(vec![0; 40 * 32])),
        }
        peer.send(info);
        assert_eq!(transfer.wait(WAIT).unwrap_err().kind, ErrorKind::Hash);
        assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 0);
    }
}

/// Pieces that come to a client for which nobody waits.
fn unhurried(served: &Served, id: u64, from: &HttpPeer, pieces: Range<u32>) -> wire::Transfer {
    wire::Transfer { progress_ms: Some(250), ..served.transfer(id, from.address, bytes_of(served, pieces)) }
}

/// Until a transfer has ended: how, and how many pieces were told of meanwhile.
fn ended_with(peer: &mut Peer, id: u64) -> (Option<FailureKind>, usize) {
    let mut told = 0;
    loop {
        match peer.hear().unwrap() {
            Message::AskHashes(ask) => panic!("nothing is missing: {ask:?}"),
            Message::Progress(progress) => told += progress.pieces.len(),
            Message::Completed(completed) if completed.id == Some(id) => return (completed.error, told),
            _ => {}
        }
    }
}

#[test]
fn where_nobody_waits_for_pieces_roots_of_blocks_are_enough() {
    let served = served(20);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|config| config.seeding = Seeding::Always), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(unhurried(&served, 1, &honest, 64..128));
    let ask = asked(&mut peer);
    assert_eq!((ask.first, ask.count, ask.proof, ask.roots), (0, 1024, true, true));
    wait_until("the pieces are fetched meanwhile", PATIENCE, || honest.requests() == 1);
    assert_eq!(transfer.progress().done, 0);
    let told = served.tell_hashes(&ask);
    assert_eq!(told.hashes.0.len(), 19 * 32);
    peer.send(told);
    assert_eq!(ended_with(&mut peer, 1).0, None);
    // What was verified so can be given to others, and is told of by hash.
    let (status, body) = take(&peer, &served, 100..101);
    assert!(status == 206 && body == served.bytes[100 * PIECE as usize..101 * PIECE as usize]);

    // What comes after it needs no question, and the last block is shorter.
    peer.send(unhurried(&served, 2, &honest, 128..PIECES));
    assert_eq!(ended_with(&mut peer, 2).0, None);
    assert_eq!(transfer.progress().done, bytes_of(&served, 64..PIECES).map(|_| 1).sum::<u64>());
    serve_to_the_end(&mut peer, &served, &honest, 0..64, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// Each word to the server costs an acknowledgement on the line that brings the pieces.
#[test]
fn pieces_that_are_judged_together_are_told_together() {
    let served = served(24);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    let ordered = Instant::now();
    peer.send(unhurried(&served, 1, &honest, 64..128));
    let ask = asked(&mut peer);
    // By then it is time to tell of the first piece that is found right.
    wait_until("they are overdue", PATIENCE, || ordered.elapsed() > Duration::from_millis(300));
    peer.send(served.tell_hashes(&ask));
    let told = loop {
        match peer.hear().unwrap() {
            Message::Progress(progress) => break progress.pieces,
            Message::Completed(_) => break Vec::new(),
            _ => {}
        }
    };
    // The end of the run says all, unless this machine is so busy that they take longer.
    assert_ne!(told.len(), 1, "{told:?}");
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// A run that is cut in the midst of a block, or of few pieces, cannot be judged by roots as a whole.
#[test]
fn of_parts_of_blocks_the_hashes_are_asked_for() {
    let served = served(21);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(unhurried(&served, 1, &honest, 70..139));
    let mut asks = [(); 3].map(|()| asked(&mut peer));
    asks.sort_unstable_by_key(|ask| (ask.first, ask.count));
    let asks_for = asks.each_ref().map(|ask| (ask.first, ask.count, ask.roots));
    assert_eq!(asks_for, [(0, 1024, true), (64, 16, false), (128, 16, false)]);
    for ask in &asks {
        peer.send(served.tell_hashes(ask));
    }
    assert_eq!(ended_with(&mut peer, 1).0, None);
    // Somebody waits for this, though the root of its block is known.
    peer.send(served.transfer(2, honest.address, bytes_of(&served, 200..201)));
    let ask = asked(&mut peer);
    assert_eq!((ask.first, ask.count, ask.roots), (192, BLOCK, false));
    peer.send(served.tell_hashes(&ask));
    assert_eq!(completed(&mut peer, 2).error, None);
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn a_wrong_piece_spoils_its_block_once_and_is_then_found() {
    let served = served(22);
    let mut spoilt = served.bytes.clone();
    spoilt[100 * PIECE as usize + 5] ^= 1;
    let evil = HttpPeer::honest(spoilt);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(unhurried(&served, 1, &evil, 64..128));
    let ask = asked(&mut peer);
    assert!(ask.roots);
    peer.send(served.tell_hashes(&ask));
    // The two blocks before it are right, and there.
    assert_eq!(ended_with(&mut peer, 1), (Some(FailureKind::Hash), 32));
    assert_eq!(transfer.progress().done, 32 * u64::from(PIECE));

    // From now on every piece is judged by itself.
    peer.send(unhurried(&served, 2, &evil, 96..128));
    let ask = asked(&mut peer);
    assert_eq!((ask.first, ask.count, ask.roots), (96, 32, false));
    peer.send(served.tell_hashes(&ask));
    // By the time that they are known the run may have been judged by its root.
    let (error, told) = ended_with(&mut peer, 2);
    assert_eq!(error, Some(FailureKind::Hash));
    if told == 0 {
        peer.send(unhurried(&served, 3, &evil, 96..128));
        assert_eq!(ended_with(&mut peer, 3), (Some(FailureKind::Hash), 4));
    } else {
        assert_eq!(told, 4);
    }
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// Nobody could say of them that they were right.
#[test]
fn what_came_of_a_block_that_was_cut_short_comes_again() {
    let served = served(23);
    let honest = HttpPeer::honest(served.bytes.clone());
    let bytes = served.bytes.clone();
    let cut = HttpPeer::new(move |mut stream, range| {
        let head = scripted::head(&bytes, &range, "proof");
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&bytes[range.start..range.start + 24 * PIECE as usize]);
    });
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(unhurried(&served, 1, &cut, 64..128));
    let ask = asked(&mut peer);
    peer.send(served.tell_hashes(&ask));
    assert_eq!(ended_with(&mut peer, 1), (Some(FailureKind::Gone), 16));
    peer.send(unhurried(&served, 2, &honest, 64..128));
    assert_eq!(ended_with(&mut peer, 2).0, None);
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn roots_that_are_not_proved_are_not_believed_and_older_servers_tell_hashes() {
    type Answer = fn(&Served, &wire::AskHashes) -> wire::TellHashes;
    let answers: [(&str, bool, Answer); 4] = [
        ("a server that knows of no roots", true, |served, ask| {
            served.tell_hashes(&wire::AskHashes { roots: false, ..ask.clone() })
        }),
        ("a wrong root", false, |served, ask| {
            let mut told = served.tell_hashes(ask);
            told.hashes.0[7] ^= 1;
            told
        }),
        ("too few", false, |served, ask| {
            let mut told = served.tell_hashes(ask);
            told.hashes.0.truncate(32);
            told
        }),
        ("hashes that are called roots", false, |served, ask| wire::TellHashes {
            roots: true,
            ..served.tell_hashes(&wire::AskHashes { roots: false, ..ask.clone() })
        }),
    ];
    let served = served(24);
    let honest = HttpPeer::honest(served.bytes.clone());
    for (what, is_good, answer) in answers {
        let server = Server::start();
        let (client, local) = (client(|_| {}), scratch());
        let session = open(&client, &server);
        let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
        peer.send(unhurried(&served, 1, &honest, 64..128));
        let ask = asked(&mut peer);
        peer.send(answer(&served, &ask));
        if is_good {
            assert_eq!(ended_with(&mut peer, 1).0, None, "{what}");
        } else {
            let error = transfer.wait(WAIT).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Hash, "{what}: {error}");
        }
    }
}

/// It tells the first 1,024 with the version, and never proves anything.
#[test]
fn an_older_server_is_asked_for_all() {
    let served = Served::new(5, 1100 * PIECE as usize);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    let info = served.tell_info(&ask);
    assert_eq!((info.hashes.as_ref().unwrap().0.len(), &info.proof), (1024 * 32, &None));
    peer.send(info);
    let Message::Request(_) = peer.expect() else { panic!("no request") };
    let rest = asked(&mut peer);
    assert_eq!((rest.first, rest.count, rest.proof), (1024, 76, false));
    peer.send(served.tell_hashes(&rest));
    serve_to_the_end(&mut peer, &served, &honest, 0..1100, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// The same where it has told none, and so could not be known: it shows when it is asked for a block.
#[test]
fn a_server_that_turns_out_to_be_older_is_asked_for_all() {
    let served = Served::new(6, 1100 * PIECE as usize);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    peer.send(wire::TellInfo { hashes: None, ..served.tell_info(&ask) });
    let Message::Request(_) = peer.expect() else { panic!("no request") };
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 700..702)));
    let block = asked(&mut peer);
    assert_eq!((block.first, block.count, block.proof), (640, BLOCK, true));
    peer.send(served.tell_hashes(&block));
    let mut all = [(); 2].map(|()| asked(&mut peer));
    all.sort_unstable_by_key(|ask| ask.first);
    assert_eq!(
        all.each_ref().map(|ask| (ask.first, ask.count, ask.proof)),
        [(0, 1024, false), (1024, 76, false)]
    );
    // Others that are ordered meanwhile wait for the same.
    peer.send(served.transfer(2, honest.address, bytes_of(&served, 10..12)));
    for ask in &all {
        peer.send(served.tell_hashes(ask));
    }
    let mut ends = 0;
    while ends < 2 {
        match peer.hear().unwrap() {
            Message::AskHashes(ask) => panic!("there is nothing more to be asked: {ask:?}"),
            Message::Completed(told) => {
                assert_eq!(told.error, None);
                ends += 1;
            }
            _ => {}
        }
    }
    serve_to_the_end(&mut peer, &served, &honest, 0..1100, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn an_older_server_that_is_lost_before_all_its_answers_is_asked_for_all() {
    let served = Served { proves: false, ..served(14) };
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer, ask) = started(&server, &session, local.path());
    peer.send(wire::TellInfo { hashes: None, ..served.tell_info(&ask) });
    let Message::Request(_) = peer.expect() else { panic!("no request") };
    for (id, piece) in [(1, 100), (2, 200)] {
        peer.send(served.transfer(id, honest.address, bytes_of(&served, piece..piece + 1)));
    }
    let asks = [(); 2].map(|()| asked(&mut peer));
    wait_until("the pieces are fetched", PATIENCE, || honest.requests() == 2);
    peer.send(served.tell_hashes(&asks[0]));
    // Its answer shows that the one before has been read.
    peer.send(wire::Ping {});
    while !matches!(peer.hear().unwrap(), Message::Pong(_)) {}
    drop(peer);

    let mut peer = server.welcome();
    let all = asked(&mut peer);
    assert_eq!((all.first, all.count, all.proof), (0, PIECES, false));
    peer.send(served.tell_hashes(&all));
    wait_until("what had come counts", PATIENCE, || transfer.progress().done == 2 * u64::from(PIECE));
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

#[test]
fn a_version_that_is_gone_when_a_block_is_asked_for_is_begun_anew() {
    let (old, new) = (served(7), served(8));
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &old);
    let honest = HttpPeer::honest(old.bytes.clone());
    peer.send(old.transfer(1, honest.address, bytes_of(&old, 100..101)));
    let ask = asked(&mut peer);
    peer.send(wire::Error {
        code: ErrorCode::Changed,
        message: String::new(),
        url: Some(ask.url),
        re: Some("ask_hashes".into()),
        id: None,
    });
    assert_eq!(completed(&mut peer, 1).error, Some(FailureKind::Cancelled));
    // There is a part file now, which is looked at with all hashes of the new version.
    let request = until_request(&mut peer, &new);
    assert_eq!(request.root, Some(new.hashes.root()));
    let honest = HttpPeer::honest(new.bytes.clone());
    serve_to_the_end(&mut peer, &new, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == new.bytes);
}

#[test]
fn a_question_that_was_lost_with_its_connection_is_asked_again() {
    let served = served(9);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 100..101)));
    let ask = asked(&mut peer);
    wait_until("the piece is fetched", PATIENCE, || honest.requests() == 1);
    drop(peer);

    let mut peer = server.welcome();
    let again = asked(&mut peer);
    assert_eq!(again, ask);
    peer.send(served.tell_hashes(&again));
    wait_until("what had come counts", PATIENCE, || transfer.progress().done == u64::from(PIECE));
    serve_to_the_end(&mut peer, &served, &honest, 0..PIECES, &transfer);
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// To the first byte it takes one round trip, not two: the question does not wait for the order.
#[test]
fn where_a_reader_jumps_the_hashes_are_asked_for_with_the_request() {
    let served = served(10);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let client = client(|_| {});
    let session = open(&client, &server);
    let piece = u64::from(PIECE);
    let opening = std::thread::spawn(move || {
        let options = ReaderOptions { window: 8 * piece, ..ReaderOptions::default() };
        session.open_reader(&UrlPath::parse("/file").unwrap(), options, WAIT).unwrap()
    });
    let mut peer = server.welcome();
    let Message::AskInfo(ask) = peer.expect() else { panic!("no ask_info") };
    peer.send(served.tell_info(&ask));
    let reader = opening.join().unwrap();
    let mut some = vec![0; PIECE as usize];
    for (id, at) in [(1, 150), (2, 270), (3, 155)] {
        reader.seek(at * piece);
        let (mut is_requested, mut is_asked) = (false, id == 3);
        while !(is_requested && is_asked) {
            match peer.expect() {
                Message::Request(request) => is_requested |= request.position == Some(at * piece),
                Message::AskHashes(ask) => {
                    assert!(!is_asked && ask.proof);
                    assert_eq!((ask.first, ask.count), (at / 64 * 64, BLOCK));
                    is_asked = true;
                    peer.send(served.tell_hashes(&ask));
                }
                Message::AskInfo(ask) => peer.send(served.tell_info(&ask)),
                _ => {}
            }
        }
        let at = at as u32;
        peer.send(served.transfer(id, honest.address, bytes_of(&served, at..at + 1)));
        assert_eq!(reader.read(&mut some, WAIT).unwrap(), PIECE as usize);
        assert!(some == served.bytes[(at * PIECE) as usize..][..PIECE as usize]);
    }
}

/// A root does not say how long the file is. Whoever trusts in nothing but the root reads only what all hashes say.
#[test]
fn who_reads_by_a_root_alone_knows_all_hashes_first() {
    let served = served(11);
    let server = Server::start();
    let client = client(|_| {});
    let session = open(&client, &server);
    let root = served.hashes.root();
    let opening = std::thread::spawn(move || {
        let options = ReaderOptions { expect_root: Some(root), ..ReaderOptions::default() };
        session.open_reader(&UrlPath::parse("/file").unwrap(), options, WAIT).unwrap()
    });
    let mut peer = server.welcome();
    let Message::AskInfo(ask) = peer.expect() else { panic!("no ask_info") };
    assert!(ask.hashes && !ask.proof, "all that find room are wanted at once");
    // Without them, a few that are proved would not do.
    peer.send(wire::TellInfo { hashes: None, ..served.tell_info(&ask) });
    let all = asked(&mut peer);
    assert_eq!((all.first, all.count, all.proof), (0, PIECES, false));
    peer.send(served.tell_hashes(&all));
    let honest = HttpPeer::honest(served.bytes.clone());
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 0..1)));
    let reader = opening.join().unwrap();
    let mut some = vec![0; PIECE as usize];
    assert_eq!(reader.read(&mut some, WAIT).unwrap(), PIECE as usize);
    assert!(some == served.bytes[..PIECE as usize]);
}

/// The same if the bytes are those of a download by somebody else, who trusts the server.
#[test]
fn who_reads_a_download_by_a_root_alone_knows_all_hashes_first() {
    let served = served(13);
    let honest = HttpPeer::honest(served.bytes.clone());
    let server = Server::start();
    let (client, local) = (client(|_| {}), scratch());
    let session = open(&client, &server);
    let (transfer, mut peer) = begun(&server, &session, local.path(), &served);
    peer.send(served.transfer(1, honest.address, bytes_of(&served, 0..2)));
    assert_eq!(completed(&mut peer, 1).error, None);
    let root = served.hashes.root();
    let opening = std::thread::spawn(move || {
        let options = ReaderOptions { expect_root: Some(root), ..ReaderOptions::default() };
        session.open_reader(&UrlPath::parse("/file").unwrap(), options, WAIT).unwrap()
    });
    let all = loop {
        match peer.hear().expect("the client is there") {
            Message::AskInfo(ask) => peer.send(served.tell_info(&ask)),
            Message::AskHashes(ask) => break ask,
            _ => {}
        }
    };
    assert_eq!((all.first, all.count, all.proof), (0, PIECES, false));
    assert!(!opening.is_finished());
    peer.send(served.tell_hashes(&all));
    let reader = opening.join().unwrap();
    let mut some = vec![0; PIECE as usize];
    assert_eq!(reader.read(&mut some, WAIT).unwrap(), PIECE as usize);
    assert!(some == served.bytes[..PIECE as usize]);
    // From now on nothing is asked any more.
    peer.send(served.transfer(2, honest.address, bytes_of(&served, 2..PIECES)));
    loop {
        match peer.hear().expect("the client is there") {
            Message::AskHashes(ask) => panic!("known already: {ask:?}"),
            Message::Completed(told) => break assert_eq!((told.id, told.error), (Some(2), None)),
            _ => {}
        }
    }
    transfer.wait(WAIT).unwrap();
    assert!(std::fs::read(local.path().join("file")).unwrap() == served.bytes);
}

/// A file served by the real server, with a stranger on the line.
struct World {
    served: tempfile::TempDir,
    here: tempfile::TempDir,
    _server: Pdtpd,
    evil: Evil,
}

impl World {
    fn new() -> Self {
        let (served, here) = (scratch(), scratch());
        make_file(served.path(), "file", PIECES as usize * PIECE as usize);
        let server = Pdtpd::start(served.path(), &["--piece-size", "16K"]);
        let evil = Evil::before(server.port());
        Self { served, here, _server: server, evil }
    }
}

/// A second one at the server, so that it gives what somebody might wait for.
fn somebody_else(world: &World) -> (pdtp::client::Client, Session) {
    let other = client(|_| {});
    let session = other.open_session(&world.evil.uri("/").parse().unwrap(), 0).unwrap();
    session.wait_ready(WAIT).unwrap();
    (other, session)
}

/// What the server told of hashes: how many with the version; then, of each answer, its first piece, how many, and whether
/// they are roots.
type Said = Arc<Mutex<(usize, Vec<(u64, usize, bool)>)>>;

fn said_by(world: &World) -> Said {
    let seen = Said::default();
    let noted = Arc::clone(&seen);
    world.evil.says(move |kind, members| {
        let length =
            |name: &str| members[name].as_str().map(|text| text.trim_end_matches('=').len() * 3 / 4 / 32);
        match kind {
            "tell_info" => noted.lock().unwrap().0 = length("hashes").expect("the first hashes"),
            "tell_hashes" => {
                assert!(length("proof").is_some());
                let (first, count) = (members["first"].as_u64().unwrap(), length("hashes").unwrap());
                noted.lock().unwrap().1.push((first, count, members["roots"] == true));
            }
            _ => {}
        }
    });
    seen
}

#[test]
fn a_large_file_is_downloaded_with_hashes_in_parts() {
    let world = World::new();
    let _other = somebody_else(&world);
    let seen = said_by(&world);
    let to = world.here.path().join("file");
    pdtp_in(world.here.path(), &["get", "--timeout", "20", &world.evil.uri("/file")]).expect(0);
    assert_same_file(&world.served.path().join("file"), &to);
    let (first, mut blocks) = seen.lock().unwrap().clone();
    blocks.sort_unstable();
    let expected = [(16, 16), (32, 32), (64, 64), (128, 64), (192, 64), (256, 44)];
    assert_eq!((first, blocks), (16, expected.map(|(at, count)| (at, count, false)).to_vec()));
}

/// Whoever is alone, on a line that is not so fast that the question would not matter.
#[test]
fn who_is_alone_gets_roots_instead_of_most_hashes() {
    let world = World::new();
    let seen = said_by(&world);
    let to = world.here.path().join("file");
    let uri = world.evil.uri("/file");
    pdtp_in(world.here.path(), &["get", "--timeout", "20", "--limit-down", "3M", &uri]).expect(0);
    assert_same_file(&world.served.path().join("file"), &to);
    let (first, blocks) = seen.lock().unwrap().clone();
    assert_eq!(first, 16);
    assert_eq!(blocks.iter().filter(|block| block.2).collect::<Vec<_>>(), [&(0, 19, true)], "{blocks:?}");
    let hashes: usize = blocks.iter().filter(|block| !block.2).map(|block| block.1).sum();
    assert!(hashes < PIECES as usize / 2, "{blocks:?}");
}

#[test]
fn a_server_that_lies_in_the_midst_of_it_is_found_out() {
    let world = World::new();
    let _other = somebody_else(&world);
    world.evil.says(move |kind, members| {
        if kind == "tell_hashes" && members["first"] == 128 {
            let hashes = members["hashes"].as_str().unwrap();
            let other = if hashes.starts_with('A') { "B" } else { "A" };
            members["hashes"] = format!("{other}{}", &hashes[1..]).into();
        }
    });
    let to = world.here.path().join("file");
    let run = pdtp_in(world.here.path(), &["get", "--timeout", "20", &world.evil.uri("/file")]);
    assert!(run.stderr.contains("the piece hashes that the server gives for /file"), "{}", run.stderr);
    assert_ne!(run.code(), 0);
    assert!(!to.exists());
}
