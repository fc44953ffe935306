//! Whole downloads from `pdtpd`, played by hand over raw sockets: version 2 in both dialects, version 3, and version 2
//! peers among themselves.

pub mod common;
#[path = "common/raw.rs"]
pub mod raw;

use common::{Pdtpd, content, make_tree};
use pdtp::content::hash_piece;
use pdtp::wire::{self, Dialect, Digest, Message, TransferMethod};
use raw::{Raw, fetch, listener};

const SIZE: usize = 1_000_003;

fn url(name: &str) -> String {
    format!("http://127.0.0.1/{name}")
}

fn served() -> (tempfile::TempDir, Pdtpd, Vec<u8>) {
    let dir = make_tree(&[("f.bin", SIZE)]);
    let bytes = std::fs::read(dir.path().join("f.bin")).unwrap();
    assert_ne!(bytes, content(0, SIZE));
    let server = Pdtpd::start(dir.path(), &[] as &[&str]);
    (dir, server, bytes)
}

fn next_transfer(client: &mut Raw) -> wire::Transfer {
    let Message::Transfer(transfer) = client.expect("transfer") else { unreachable!() };
    transfer
}

/// Downloads the whole file as a version 2 client does, from whomever the server says; `give` plays the peers.
fn download_v2(
    client: &mut Raw,
    id: &str,
    mut give: impl FnMut(&wire::Transfer) -> Option<Vec<u8>>,
) -> Vec<u8> {
    let mut file = vec![0; SIZE];
    let mut done = 0;
    while done < SIZE {
        let t = next_transfer(client);
        assert_eq!((t.id, t.root, t.token.is_some(), t.proof.is_some()), (None, None, false, false));
        assert_eq!(t.method, TransferMethod::Get);
        let body = give(&t).unwrap_or_else(|| {
            let answer = fetch(&t, id);
            assert_eq!(answer.status, 206, "always, without a token");
            answer.body
        });
        let (min, max) = (t.range.min as usize, t.range.max.unwrap() as usize);
        assert_eq!(body.len(), max + 1 - min);
        file[min..=max].copy_from_slice(&body);
        client.send(wire::Completed {
            url: t.url,
            range: t.range,
            peer_id: t.peer_id,
            peer: Some(t.host),
            hash: Some(hash_piece(&body).to_string()),
            ..Default::default()
        });
        done += body.len();
    }
    file
}

fn v2_flow(dialect: Dialect) {
    let (_dir, server, bytes) = served();
    let mut client = Raw::connect_as(server.port(), dialect);
    client.register_v2("old-one", 0);
    client.send(wire::AskInfo { url: url("f.bin"), hashes: false, proof: false });
    client.send(wire::Request { url: url("f.bin"), ..Default::default() });
    let Some(Message::TellInfo(info)) = client.recv() else { panic!("tell_info comes first") };
    assert_eq!((info.size, info.streaming, info.root), (Some(SIZE as u64), Some(false), None));
    assert_eq!(info.chunk_size, Some(65_536));
    let file = download_v2(&mut client, "old-one", |_| None);
    assert!(file == bytes);
    // Every piece was good.
    client.send(wire::AskInfo { url: url("nothing"), hashes: false, proof: false });
    let mut verdicts = 0;
    loop {
        match client.recv().unwrap() {
            Message::HashVerify(verdict) => {
                assert!(verdict.hash_ok);
                verdicts += 1;
            }
            Message::TellInfo(info) => {
                assert_eq!(info.size, None);
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(verdicts > 0);
    let status = server.status();
    assert_eq!(status["bytes"]["from_origin"], SIZE);
    assert_eq!(status["clients"][0]["version"], 2);
}

#[test]
fn version_2_framed() {
    v2_flow(Dialect::Framed);
}

#[test]
fn version_2_lines() {
    v2_flow(Dialect::Line);
}

#[test]
fn version_2_may_have_what_it_was_told_to_fetch_and_nothing_else() {
    let (_dir, server, bytes) = served();
    let mut client = Raw::connect(server.port());
    client.register_v2("a", 0);
    client.send(wire::Request { url: url("f.bin"), ..Default::default() });
    let t = next_transfer(&mut client);
    let (min, max) = (t.range.min, t.range.max.unwrap());
    let get = |id: &str, path: &str, range: &str| {
        common::http(server.port(), "GET", path, &[("X-PDTP-Peer-Id", id), ("Range", range)])
    };
    let range = format!("bytes={min}-{max}");
    assert_eq!(get("b", "/f.bin", &range).status, 403, "another client");
    assert_eq!(get("a", "/f.bin", &format!("bytes={min}-{}", max - 1)).status, 403, "other bytes");
    assert_eq!(get("a", "/g.bin", &range).status, 403, "another file");
    assert_eq!(get("a", "/f.bin", "bytes=5-").status, 400);
    assert_eq!(get("a", "/../f.bin", &range).status, 400);
    assert_eq!(get("a", "/f.bin", "bytes=0-18446744073709551615").status, 400);
    let put = common::http(server.port(), "PUT", "/f.bin", &[("X-PDTP-Peer-Id", "a"), ("Range", &range)]);
    assert_eq!(put.status, 405, "{}", put.text());
    let answer = get("a", "/f.bin", &range);
    assert_eq!(answer.status, 206);
    assert!(answer.body == bytes[min as usize..=max as usize]);
    assert_eq!(answer.header("content-range"), format!("bytes {min}-{max}/{SIZE}"));

    // Wrong bytes: told so, and the piece is wanted again.
    let completed = |hash: Option<String>| wire::Completed {
        url: url("f.bin"),
        range: t.range,
        peer_id: t.peer_id.clone(),
        hash,
        ..Default::default()
    };
    client.send(completed(Some(Digest([1; 32]).to_string())));
    let Message::HashVerify(verdict) = client.expect("hash_verify") else { unreachable!() };
    assert!(!verdict.hash_ok);
    assert_eq!(get("a", "/f.bin", &range).status, 403, "the transfer is over");
    client.send(completed(None));
    let Message::ProtocolWarn(_) = client.expect("protocol_warn") else { unreachable!() };
}

#[test]
fn version_2_peers_give_to_each_other() {
    let (_dir, server, bytes) = served();
    let (_listener, port) = listener();
    let mut giver = Raw::connect(server.port());
    giver.register_v2("giver", port);
    giver.send(wire::Request { url: url("f.bin"), ..Default::default() });
    download_v2(&mut giver, "giver", |_| None);
    common::wait_until("the giver can be dialled", common::PATIENCE, || {
        server.status()["clients"][0]["reachable"] == true
    });

    let mut taker = Raw::connect(server.port());
    taker.register_v2("taker", 0);
    taker.send(wire::Request { url: url("f.bin"), ..Default::default() });
    let mut from_peer = 0;
    let file = download_v2(&mut taker, "taker", |t| {
        if t.peer_id != "giver" {
            return None;
        }
        assert_eq!((t.host.as_str(), t.peer.as_deref(), t.port), ("127.0.0.1", Some("127.0.0.1"), port));
        let question = wire::AskVerify {
            peer: "127.0.0.1".to_owned(),
            url: t.url.clone(),
            range: t.range,
            peer_id: "taker".to_owned(),
        };
        giver.send(wire::AskVerify { peer_id: "stranger".to_owned(), ..question.clone() });
        giver.send(question);
        for expected in [false, true] {
            let Message::TellVerify(verdict) = giver.expect("tell_verify") else { unreachable!() };
            assert_eq!((verdict.is_authorized, verdict.authorized), (expected, Some(expected)));
        }
        let (min, max) = (t.range.min as usize, t.range.max.unwrap() as usize);
        from_peer += max + 1 - min;
        Some(bytes[min..=max].to_vec())
    });
    assert!(file == bytes);
    assert!(from_peer > 0, "the peer was asked");
    // The last piece may have been the peer's, and what was said of it be on its way.
    common::wait_until("what the peer gave is counted", common::PATIENCE, || {
        server.status()["bytes"]["from_peers"] == from_peer
    });
}

#[test]
fn version_3() {
    let (_dir, server, bytes) = served();
    let mut client = Raw::connect(server.port());
    let registered = client.register_v3("new");
    assert_eq!((registered.version, registered.address.as_str()), (3, "127.0.0.1"));
    client.send(wire::AskInfo { url: url("f.bin"), hashes: false, proof: false });
    client.send(wire::Request { url: url("f.bin"), ..Default::default() });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    assert_eq!(info.root.map(|root| root.to_string().len()), Some(64));
    let mut file = vec![0; SIZE];
    let mut done = 0;
    while done < SIZE {
        let t = next_transfer(&mut client);
        assert_eq!(t.peer_id, registered.server);
        assert_eq!(t.root, info.root);
        let answer = fetch(&t, "new");
        assert!(matches!(answer.status, 200 | 206));
        assert_eq!(answer.header("x-pdtp-proof"), t.proof.as_deref().unwrap());
        assert_eq!(answer.header("etag"), format!("\"{}\"", t.root.unwrap()));
        let (min, max) = (t.range.min as usize, t.range.max.unwrap() as usize);
        file[min..=max].copy_from_slice(&answer.body);
        done += answer.body.len();

        if done == answer.body.len() {
            // The token is good for this client and these bytes only.
            assert_eq!(fetch(&t, "other").status, 403);
            let mut wider = t.clone();
            wider.range = wire::ByteRange::new(t.range.min, t.range.max.unwrap() - 1);
            assert_eq!(fetch(&wider, "new").status, 403);
            let mut other_root = t.clone();
            other_root.root = Some(Digest([3; 32]));
            assert_eq!(fetch(&other_root, "new").status, 403);
            let mut forged = t.clone();
            forged.token = Some(t.token.clone().unwrap().replace('.', "9."));
            assert_eq!(fetch(&forged, "new").status, 403);
        }
        client.send(wire::Completed {
            id: t.id,
            url: t.url,
            range: t.range,
            peer_id: t.peer_id,
            bytes: Some(answer.body.len() as u64),
            ms: Some(1),
            ..Default::default()
        });
    }
    assert!(file == bytes);
    client.send(wire::AskHashes {
        url: url("f.bin"),
        root: info.root.unwrap(),
        first: 0,
        count: 1024,
        proof: false,
        roots: false,
    });
    let Message::TellHashes(hashes) = client.expect("tell_hashes") else { unreachable!() };
    let expected: Vec<u8> =
        bytes.chunks(info.chunk_size.unwrap() as usize).flat_map(|p| hash_piece(p).0).collect();
    assert!(hashes.hashes.0 == expected);
    client.send(wire::List { url: url(""), id: Some(5), ..Default::default() });
    let Message::Listing(listing) = client.expect("listing") else { unreachable!() };
    assert_eq!((listing.id, listing.entries.len(), listing.entries[0].name.as_str()), (Some(5), 1, "f.bin"));
    assert_eq!(listing.entries[0].root, info.root);
}

/// A client that knows nothing yet has its first bytes when the answer to its first message comes, whichever of its two
/// connections is quicker.
#[test]
fn an_early_get_brings_what_the_request_leads_to() {
    let (_dir, server, bytes) = served();
    let port = server.port();
    let get = |id: &'static str, name: &'static str| {
        std::thread::spawn(move || {
            common::http(port, "GET", "/f.bin", &[("X-PDTP-Peer-Id", id), ("X-PDTP-Early", name)])
        })
    };
    for (id, name, request_first) in [("a", "name-a", false), ("b", "name-b", true)] {
        let mut client = Raw::connect(port);
        let early = (!request_first).then(|| get(id, name));
        let registered = client.register_v3(id);
        client.send(wire::AskInfo { url: url("f.bin"), hashes: true, proof: false });
        client.send(wire::Request { url: url("f.bin"), early: Some(name.into()), ..Default::default() });
        let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
        let piece = info.chunk_size.unwrap() as usize;
        let hashes: Vec<u8> = bytes.chunks(piece).flat_map(|piece| hash_piece(piece).0).collect();
        assert!(info.hashes.unwrap().0 == hashes);
        let t = next_transfer(&mut client);
        assert!(t.early && t.peer_id == registered.server);
        let answer = early.unwrap_or_else(|| get(id, name)).join().unwrap();
        assert_eq!(
            (answer.status, answer.header("etag")),
            (206, format!("\"{}\"", t.root.unwrap()).as_str())
        );
        let (min, max) = (t.range.min as usize, t.range.max.unwrap() as usize);
        assert!(answer.body == bytes[min..=max]);
        assert_eq!(answer.header("content-range"), format!("bytes {min}-{max}/{SIZE}"));
        // It is good for once, and there is one only.
        client.send(wire::Completed {
            id: t.id,
            url: t.url,
            range: t.range,
            peer_id: t.peer_id,
            bytes: Some(answer.body.len() as u64),
            ms: Some(1),
            ..Default::default()
        });
        if max + 1 < SIZE {
            assert!(!next_transfer(&mut client).early);
        }
    }
}

#[test]
fn a_file_that_changes_is_told_and_never_mixed() {
    let (dir, server, _) = served();
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    client.send(wire::Request { url: url("f.bin"), ..Default::default() });
    let t = next_transfer(&mut client);
    // Overwritten in place, same size.
    common::wait_until("a later modification time", common::PATIENCE, || {
        std::fs::write(dir.path().join("f.bin"), content(77, SIZE)).unwrap();
        fetch(&t, "c").status == 412
    });
    let Message::Changed(changed) = client.expect("changed") else { unreachable!() };
    assert_eq!(changed.url, url("f.bin"));
    client.send(wire::Request { url: url("f.bin"), root: t.root, ..Default::default() });
    loop {
        match client.recv().unwrap() {
            Message::Error(error) => {
                assert_eq!((error.code, error.url), (wire::ErrorCode::Changed, Some(url("f.bin"))));
                break;
            }
            Message::Cancel(_) | Message::Transfer(_) | Message::Waiting(_) => {}
            other => panic!("{other:?}"),
        }
    }
    client.send(wire::AskInfo { url: url("f.bin"), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    assert!(info.root.is_some() && info.root != t.root);
}

#[test]
fn who_asks_faster_than_it_reads_is_slowed_down_not_dropped() {
    const QUESTIONS: usize = 300;
    let dir = make_tree(&[("big", 1024 * 16 * 1024)]);
    let server = Pdtpd::start(dir.path(), &["--piece-size", "16K"]);
    let mut client = Raw::connect(server.port());
    client.register_v3("c");
    client.send(wire::AskInfo { url: url("big"), hashes: false, proof: false });
    let Message::TellInfo(info) = client.expect("tell_info") else { unreachable!() };
    let ask = wire::AskHashes {
        url: url("big"),
        root: info.root.unwrap(),
        first: 0,
        count: 1024,
        proof: false,
        roots: false,
    };
    let mut asker = Raw::connect(server.port());
    asker.stream = client.stream.try_clone().unwrap();
    let asking = std::thread::spawn(move || (0..QUESTIONS).for_each(|_| asker.send(ask.clone())));
    for _ in 0..QUESTIONS {
        let Message::TellHashes(told) = client.expect("tell_hashes") else { unreachable!() };
        assert_eq!(told.hashes.0.len(), 1024 * 32);
    }
    asking.join().unwrap();
}
