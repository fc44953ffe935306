use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::strategies::{any_message, each_type};
use super::*;
use crate::wire::{ByteRange, Dialect, FrameReader};

fn parse(value: Value) -> Result<Message, WireError> {
    Message::parse(value.to_string().as_bytes())
}

fn parse_text(text: &str) -> Result<Message, WireError> {
    Message::parse(text.as_bytes())
}

/// The reason why members of a known type are refused.
#[track_caller]
fn refusal(value: Value) -> String {
    match parse(value) {
        Err(WireError::Field { reason, .. }) => reason,
        other => panic!("not refused for its members: {other:?}"),
    }
}

fn register(client_id: &str) -> Message {
    Register { client_id: client_id.into(), ..Register::default() }.into()
}

/// The least that each type has to have, as a stranger would write it.
fn least() -> Vec<Value> {
    let range = json!({"min": 0, "max": 9});
    let url = "http://files.example/a";
    let root = "ab".repeat(32);
    vec![
        json!(["register", {"client_id": "c", "listen_port": 0}]),
        json!(["registered", {"version": 3, "agent": "", "server": "s", "session": "", "address": "", "secret": "",
            "time": 0, "keepalive_s": 30}]),
        json!(["ping", {}]),
        json!(["pong", {}]),
        json!(["reachable", {"ok": true}]),
        json!(["ask_info", {"url": url}]),
        json!(["tell_info", {"url": url}]),
        json!(["hashing", {"url": url, "done": 0, "total": 1}]),
        json!(["ask_hashes", {"url": url, "root": root, "first": 0, "count": 1}]),
        json!(["tell_hashes", {"url": url, "root": root, "first": 0, "hashes": ""}]),
        json!(["list", {"url": url}]),
        json!(["reading", {"url": url, "entries": 1}]),
        json!(["listing", {"url": url, "entries": []}]),
        json!(["watch", {"url": url}]),
        json!(["unwatch", {"url": url}]),
        json!(["changed", {"url": url}]),
        json!(["request", {"url": url}]),
        json!(["unrequest", {"url": url}]),
        json!(["provide", {"url": url}]),
        json!(["unprovide", {"url": url}]),
        json!(["transfer", {"host": "h", "port": 1, "method": "get", "url": url, "range": range, "peer_id": "p"}]),
        json!(["ask_verify", {"peer": "h", "url": url, "range": range, "peer_id": "p"}]),
        json!(["tell_verify", {"peer": "h", "url": url, "range": range, "peer_id": "p", "is_authorized": true}]),
        json!(["completed", {"url": url, "range": range, "peer_id": "p"}]),
        json!(["hash_verify", {"url": url, "range": range, "hash_ok": true}]),
        json!(["progress", {"id": 1, "pieces": [0, 2]}]),
        json!(["cancel", {"id": 1}]),
        json!(["waiting", {"url": url, "reason": "no_provider"}]),
        json!(["redirect", {"host": "h", "port": 6086}]),
        json!(["notice", {"message": ""}]),
        json!(["goaway", {"reason": ""}]),
        json!(["error", {"code": "busy"}]),
        json!(["protocol_error", {}]),
        json!(["protocol_warn", {}]),
    ]
}

fn kind_of(value: &Value) -> &str {
    value[0].as_str().unwrap()
}

#[test]
fn lists_in_these_tests_have_every_type() {
    let all: BTreeSet<_> = Message::KINDS.iter().copied().collect();
    let values = least();
    assert_eq!(values.iter().map(kind_of).collect::<BTreeSet<_>>(), all);
    let mut runner = TestRunner::deterministic();
    let arbitrary: BTreeSet<_> =
        each_type().iter().map(|s| s.new_tree(&mut runner).unwrap().current().kind()).collect();
    assert_eq!(arbitrary, all);
}

#[test]
fn the_least_of_every_type_parses_and_no_member_of_it_may_be_missing_null_or_ill_typed() {
    for value in least() {
        let parsed = parse(value.clone()).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert_eq!(parsed.kind(), kind_of(&value));
        for name in value[1].as_object().unwrap().keys() {
            let mut without = value.clone();
            without[1].as_object_mut().unwrap().remove(name);
            // The transfer before may have named the file.
            let may_be_absent = (kind_of(&value), name.as_str()) == ("transfer", "url");
            match may_be_absent {
                true => assert!(parse(without).is_ok()),
                false => drop(refusal(without)),
            }
            // None of the types has a member that may be any of these.
            for wrong in
                [Value::Null, json!(-1), json!(0.5), json!([[]]), json!({"a": 1}), json!("\u{1}\u{7f}")]
            {
                let mut with = value.clone();
                let is_text = with[1][name].is_string();
                with[1][name] = wrong.clone();
                let may_be_any_text =
                    !matches!(name.as_str(), "client_id" | "root" | "hashes" | "method" | "reason" | "code")
                        || kind_of(&value) == "goaway";
                match parse(with) {
                    Err(WireError::Field { .. }) => {}
                    Ok(_) if is_text && wrong.is_string() && may_be_any_text => {}
                    Ok(_) if may_be_absent && wrong.is_null() => {}
                    // A range may be any object.
                    Ok(_) if name == "range" && wrong.is_object() => {}
                    // Unknown reasons are the least of those there are.
                    Ok(Message::Waiting(_)) if name == "reason" && wrong.is_string() => {}
                    // Unknown codes are known as such.
                    Ok(_) if name == "code" && wrong.is_string() => {}
                    other => panic!("{} with {name} {wrong}: {other:?}", kind_of(&value)),
                }
            }
        }
    }
}

#[test]
fn null_counts_as_absent_in_every_member_that_may_be_absent() {
    for value in least() {
        let absent = parse(value.clone()).unwrap();
        // What the type writes when everything is there, from an arbitrary instance.
        let mut runner = TestRunner::deterministic();
        let strategy =
            each_type().swap_remove(Message::KINDS.iter().position(|k| *k == absent.kind()).unwrap());
        let mut names = BTreeSet::new();
        for _ in 0..64 {
            let written = strategy.new_tree(&mut runner).unwrap().current().to_json().unwrap();
            let written: Value = serde_json::from_slice(&written).unwrap();
            names.extend(written[1].as_object().unwrap().keys().cloned());
        }
        for name in names {
            if value[1].get(&name).is_none() {
                let mut with = value.clone();
                with[1][&name] = Value::Null;
                assert_eq!(parse(with), Ok(absent.clone()), "{} with {name} null", absent.kind());
            }
        }
    }
    let limits = json!({"outstanding": null, "files": null, "ranges": 5});
    let mut value = least().swap_remove(1);
    value[1]["limits"] = limits;
    let Ok(Message::Registered(m)) = parse(value) else { panic!() };
    assert_eq!(m.limits, ServerLimits { outstanding: 0, files: 0, ranges: 5 });
    let entry = json!({"name": "a", "type": "dir", "size": null, "signed": null, "path": null});
    let Ok(Message::Listing(m)) = parse(json!(["listing", {"url": "u", "entries": [entry]}])) else {
        panic!()
    };
    assert_eq!(m.entries, [Entry { name: "a".into(), kind: EntryKind::Dir, ..Entry::default() }]);
}

#[test]
fn members_beyond_the_known_are_ignored_whatever_they_hold() {
    for value in least() {
        let plain = parse(value.clone()).unwrap();
        let mut more = value.clone();
        more[1]["x-later"] = json!({"deep": [[[{"a": null}]]], "text": "\"[{", "number": 1e300});
        assert_eq!(parse(more), Ok(plain));
    }
}

#[test]
fn members_stand_in_any_order_and_spacing() {
    let usual = parse_text(r#"["client_info",{"client_id":"787b48","listen_port":8000}]"#).unwrap();
    let other =
        parse_text(" \t[ \"register\" ,\r\n { \"listen_port\" : 8000 , \"client_id\":\"787b48\" } ]\r\n");
    assert_eq!(other, Ok(usual));
}

#[test]
fn escapes_mean_what_they_stand_for() {
    let plain = parse_text(r#"["ask_info",{"url":"http://files.example/sample.bin"}]"#);
    let escaped = parse_text(r#"["ask\u005finfo",{"\u0075rl":"http:\/\/files.example\/sample.bin"}]"#);
    assert_eq!(plain, escaped);
    let Ok(Message::AskInfo(m)) = parse_text(r#"["ask_info",{"url":"\ud83d\ude00"}]"#) else { panic!() };
    assert_eq!(m.url, "\u{1f600}");
}

#[test]
fn lone_surrogates_are_refused_without_losing_the_connection() {
    for lone in [r"\ud83d", r"\ude00", r"\ud83dx", r"\ud83d\u0041"] {
        let result = parse_text(&format!(r#"["ask_info",{{"url":"{lone}"}}]"#));
        assert!(matches!(&result, Err(e) if !e.is_fatal()), "{lone}: {result:?}");
    }
}

#[test]
fn a_member_twice_is_refused() {
    assert!(parse_text(r#"["ask_info",{"url":"a","url":"b"}]"#).is_err());
    assert!(parse_text(r#"["ask_info",{"url":"a","x":1,"x":2}]"#).is_ok());
}

#[test]
fn numbers_are_integers_in_bounds() {
    let port = |text: &str| {
        parse_text(&format!(r#"["register",{{"client_id":"c","listen_port":{text}}}]"#)).map(|m| match m {
            Message::Register(m) => m.listen_port,
            _ => unreachable!(),
        })
    };
    assert_eq!(port("0"), Ok(0));
    assert_eq!(port("65535"), Ok(65535));
    for wrong in ["65536", "-1", "9000.0", "9e3", "1e999", "\"9000\"", "true", "null", "[9000]", "-0"] {
        assert!(matches!(port(wrong), Err(WireError::Field { .. })), "{wrong}: {:?}", port(wrong));
    }
    for broken in ["09000", "+1", "0x10", "1_000", "NaN", ".5", "1."] {
        assert!(matches!(port(broken), Err(WireError::Json(_))), "{broken}: {:?}", port(broken));
    }
    let size = parse_text(r#"["tell_info",{"url":"u","size":18446744073709551615}]"#);
    assert!(matches!(size, Ok(Message::TellInfo(TellInfo { size: Some(u64::MAX), .. }))));
    assert!(parse_text(r#"["tell_info",{"url":"u","size":18446744073709551616}]"#).is_err());
}

#[test]
fn a_message_is_an_array_of_exactly_a_type_and_an_object() {
    for shape in
        ["[]", r#"["ping"]"#, r#"["ping",{},{}]"#, r#"["ping",[]]"#, r#"["ping",null]"#, r#"[{},"ping"]"#]
    {
        assert_eq!(parse_text(shape), Err(WireError::Shape), "{shape}");
    }
    for shape in ["{}", "1", "null", "true", r#""ping""#, r#"{"0":"ping","1":{}}"#, r#"[["ping"],{}]"#] {
        assert_eq!(parse_text(shape), Err(WireError::Shape), "{shape}");
    }
    assert!(WireError::Shape.is_fatal());
}

#[test]
fn lines_may_have_more_or_less_to_them() {
    let line = |text: &str| Message::parse_as(Dialect::Line, text.as_bytes());
    assert_eq!(line(r#"["ping",{},"more",[1]]"#), Ok(Ping {}.into()));
    let error = line(r#"["ask_info"]"#).unwrap_err();
    assert_eq!(error, WireError::NoMembers("ask_info".to_owned()));
    assert!(!error.is_fatal());
    for shape in [r#"["ping",[]]"#, r#"["ping",null]"#, r#"["ping","x"]"#, "[]", r#"[{},"ping"]"#] {
        assert_eq!(line(shape), Err(WireError::Shape), "{shape}");
    }
    let long = format!("[\"{}\"]", "x".repeat(1000));
    assert_eq!(line(&long).unwrap_err().to_string().len(), 64 + ": no members".len());
}

#[test]
fn broken_json_is_fatal() {
    let broken: &[&[u8]] = &[
        b"",
        b"  ",
        b"[",
        b"[\"ping\",{}",
        b"[\"ping\",{}]]",
        b"[\"ping\",{}] x",
        b"[\"ping\" {}]",
        b"[\"ping\",{},]",
        b"[\"ping\",{\"a\"}]",
        b"[\"ping\",{a:1}]",
        b"[\"ping\",{\"a\":1,}]",
        b"[\"ping\",{\"a\":\"\x01\"}]",
        b"[\"ping\",{\"a\":\"\\x\"}]",
        b"[\"ping\",{\"a\":\"\xff\"}]",
        b"[\"ping\xc0\x80\",{}]",
        b"\xef\xbb\xbf[\"ping\",{}]",
        b"['ping',{}]",
        b"]]]]",
    ];
    for text in broken {
        let result = Message::parse(text);
        assert!(matches!(result, Err(WireError::Json(_))), "{:?}: {result:?}", String::from_utf8_lossy(text));
        assert!(result.unwrap_err().is_fatal());
    }
}

#[test]
fn an_unknown_type_is_survivable_and_named_shortly() {
    let Err(error) = parse(json!(["x".repeat(60_000), {}])) else { panic!() };
    assert!(!error.is_fatal());
    assert!(error.to_string().len() < 200);
}

#[test]
fn a_refusal_never_quotes_a_whole_frame() {
    let Err(error) = parse(json!(["register", {"client_id": "c", "listen_port": "x".repeat(60_000)}])) else {
        panic!()
    };
    assert!(error.to_string().len() < 300, "{}", error.to_string().len());
}

#[test]
fn nesting_is_allowed_to_sixteen() {
    let nested = |depth: usize| {
        let inner = depth - 2;
        parse_text(&format!(r#"["ping",{{"a":{}{}}}]"#, "[".repeat(inner), "]".repeat(inner)))
    };
    assert_eq!(nested(limits::MAX_JSON_DEPTH), Ok(Ping {}.into()));
    assert!(matches!(nested(limits::MAX_JSON_DEPTH + 1), Err(WireError::Json(_))));
    assert!(matches!(nested(30_000), Err(WireError::Json(_))));
    let brackets_in_text = format!(r#"["ping",{{"a":"\"{}\\"}}]"#, "[{".repeat(100));
    assert_eq!(parse_text(&brackets_in_text), Ok(Ping {}.into()));
}

#[test]
fn client_ids_are_bounded_and_fit_for_a_header_field() {
    let id = |id: &str| parse(json!(["register", {"client_id": id, "listen_port": 1}]));
    assert!(id(&"x".repeat(limits::MAX_CLIENT_ID - 1)).is_ok());
    for wrong in ["", "a b", "a\r\nX-Evil: 1", "ü", "\u{7f}", &"x".repeat(limits::MAX_CLIENT_ID)] {
        assert!(matches!(id(wrong), Err(WireError::Field { .. })), "{wrong:?}");
    }
    assert!(register("").to_json().is_err(), "what no one would read is not written");
}

#[test]
fn urls_are_bounded_in_every_message_that_has_one() {
    let mut with_url = 0;
    for mut value in least() {
        if value[1].get("url").is_none() {
            continue;
        }
        with_url += 1;
        value[1]["url"] = json!("u".repeat(limits::MAX_URL));
        assert!(parse(value.clone()).is_ok(), "{}", kind_of(&value));
        value[1]["url"] = json!("u".repeat(limits::MAX_URL + 1));
        assert_eq!(refusal(value), "url too long");
    }
    assert_eq!(with_url, 21);
    for kind in ["redirect", "error"] {
        let mut value = least().into_iter().find(|v| kind_of(v) == kind).unwrap();
        value[1]["url"] = json!("u".repeat(limits::MAX_URL + 1));
        assert_eq!(refusal(value), "url too long");
    }
}

#[test]
fn only_blocks_are_asked_for_with_proof() {
    let ask = |first: u64, count: u32, proof: bool| json!(["ask_hashes", {"url": "u", "root": "00".repeat(32), "first": first, "count": count, "proof": proof}]);
    for (first, count) in [(0, 1), (7, 1), (0, 64), (192, 64), (1 << 40, 1024)] {
        assert!(parse(ask(first, count, true)).is_ok(), "{first} + {count}");
    }
    for (first, count) in [(1, 2), (32, 64), (0, 3), (96, 96), (u64::MAX, 64)] {
        assert_eq!(refusal(ask(first, count, true)), "first and count are not those of a block");
        assert!(parse(ask(first, count, false)).is_ok());
    }
    assert_eq!(refusal(ask(0, 2048, true)), "count out of bounds");
    let roots = |count: u32, proof: bool| json!(["ask_hashes", {"url": "u", "root": "00".repeat(32), "first": 0, "count": count, "proof": proof, "roots": true}]);
    assert!(parse(roots(16, true)).is_ok() && parse(roots(1024, true)).is_ok());
    for (count, proof) in [(8, true), (16, false)] {
        assert_eq!(refusal(roots(count, proof)), "roots are told with a proof, and of 16 pieces at least");
    }
    let Ok(Message::AskHashes(old)) = parse(
        json!(["ask_hashes", {"url": "u", "root": "00".repeat(32), "first": 1, "count": 2, "proof": null}]),
    ) else {
        panic!()
    };
    assert!(
        !old.proof
            && !old.roots
            && !String::from_utf8(Message::from(old).to_json().unwrap()).unwrap().contains("proof")
    );
}

#[test]
fn counts_are_bounded() {
    let root = "00".repeat(32);
    let ask = |count: u32| json!(["ask_hashes", {"url": "u", "root": root, "first": 0, "count": count}]);
    assert!(parse(ask(limits::MAX_HASHES)).is_ok());
    assert_eq!(refusal(ask(0)), "count out of bounds");
    assert_eq!(refusal(ask(limits::MAX_HASHES + 1)), "count out of bounds");

    let tell = |bytes: usize| {
        Message::from(TellHashes { url: "u".into(), hashes: Base64(vec![7; bytes]), ..TellHashes::default() })
    };
    let most = tell(32 * limits::MAX_HASHES as usize);
    assert_eq!(Message::parse(&most.to_json().unwrap()), Ok(most), "fits a frame");
    assert!(tell(32 * (limits::MAX_HASHES as usize + 1)).to_json().is_err());
    assert!(tell(33).to_json().is_err());
    let proved = |of: fn(Base64) -> Message, hashes: usize| of(Base64(vec![7; 32 * hashes])).to_json();
    let proofs: [fn(Base64) -> Message; 2] = [
        |proof| TellHashes { url: "u".into(), proof: Some(proof), ..TellHashes::default() }.into(),
        |proof| TellInfo { url: "u".into(), proof: Some(proof), ..TellInfo::default() }.into(),
    ];
    for of in proofs {
        assert!(proved(of, limits::MAX_PROOF).is_ok() && proved(of, 0).is_ok());
        assert!(proved(of, limits::MAX_PROOF + 1).is_err());
        assert!(of(Base64(vec![7; 33])).to_json().is_err());
    }
    for text in ["A", "A===", "AA=", "****", "AAAA AAAA", "_-__"] {
        refusal(json!(["tell_hashes", {"url": "u", "root": root, "first": 0, "hashes": text}]));
    }

    let listing = |entries: usize| {
        let entry = json!({"name": "", "type": "file"});
        json!(["listing", {"url": "u", "entries": vec![entry; entries]}])
    };
    assert!(parse(listing(limits::MAX_LIST_ENTRIES)).is_ok());
    assert_eq!(refusal(listing(limits::MAX_LIST_ENTRIES + 1)), "too many entries");
}

#[test]
fn tokens_cannot_smuggle_header_fields() {
    let mut value = least().into_iter().find(|v| kind_of(v) == "transfer").unwrap();
    for name in ["token", "proof"] {
        for wrong in ["a\r\nX-Evil: 1", "a b", "\u{e9}", &"x".repeat(limits::MAX_TOKEN + 1)] {
            value[1][name] = json!(wrong);
            assert_eq!(refusal(value.clone()), "token or proof malformed");
        }
        value[1][name] = json!("x".repeat(limits::MAX_TOKEN));
        assert!(parse(value.clone()).is_ok());
    }
}

#[test]
fn a_transfer_says_where_it_ends_and_whom_to_dial() {
    let url = "u";
    let transfer = |more: Value| {
        let mut value = json!(["transfer", {"port": 1, "method": "GET", "url": url, "peer_id": "p"}]);
        value[1].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    };
    let range = json!({"min": 0, "max": 9});
    assert_eq!(refusal(transfer(json!({"range": {"min": 0}, "host": "h"}))), "range without max");
    assert_eq!(refusal(transfer(json!({"range": range}))), "no host");
    assert_eq!(refusal(transfer(json!({"range": range, "host": "h", "port": null}))), "no port");
    assert_eq!(refusal(transfer(json!({"range": range, "host": "h", "peer_id": ""}))), "no peer_id");
    for (more, host) in [
        (json!({"host": "h"}), "h"),
        (json!({"peer": "p"}), "p"),
        (json!({"host": null, "peer": "p"}), "p"),
        (json!({"host": "h", "peer": "p"}), "h"),
    ] {
        let mut value = transfer(more);
        value[1]["range"] = range.clone();
        let Ok(Message::Transfer(m)) = parse(value) else { panic!() };
        assert_eq!((m.host.as_str(), m.method), (host, TransferMethod::Get));
    }
}

#[test]
fn what_a_transfer_leaves_out_is_what_the_one_before_has_said() {
    let full = |giver: u16, file: u8| Transfer {
        id: Some(7),
        host: format!("192.0.2.{giver}"),
        port: giver,
        url: format!("u{file}"),
        root: Some(crate::wire::Digest([file; 32])),
        range: ByteRange::new(0, 9),
        peer_id: format!("p{giver}"),
        ..Transfer::default()
    };
    let (mut here, mut there) = (Said::default(), Said::default());
    let empty = Transfer::default();
    assert!(!Said::default().fill_in(&mut empty.clone()), "nothing was said");
    assert!(
        !Said::default().fill_in(&mut Transfer { url: "u".to_owned(), ..empty.clone() }),
        "nobody to dial"
    );
    for (giver, file, says_side, says_file) in [
        (1, 1, true, true),
        (1, 1, false, false),
        (2, 1, true, false),
        (2, 2, false, true),
        (1, 1, true, true),
    ] {
        let mut transfer = full(giver, file);
        here.leave_out(&mut transfer);
        let side = if says_side { full(giver, file) } else { empty.clone() };
        assert_eq!(
            (&transfer.host, transfer.port, &transfer.peer_id),
            (&side.host, side.port, &side.peer_id)
        );
        let said = if says_file { full(giver, file) } else { empty.clone() };
        assert_eq!((&transfer.url, transfer.root), (&said.url, said.root));
        // Over the wire, too.
        let Message::Transfer(mut heard) =
            parse(serde_json::from_slice(&Message::from(transfer).to_json().unwrap()).unwrap()).unwrap()
        else {
            panic!()
        };
        assert!(there.fill_in(&mut heard));
        assert_eq!(heard, full(giver, file));
    }
}

#[test]
fn names_of_other_generations_are_read_where_the_usual_ones_are_absent() {
    let chunk_size = |members: Value| match parse(json!(["tell_info", members])) {
        Ok(Message::TellInfo(m)) => m.chunk_size,
        other => panic!("{other:?}"),
    };
    assert_eq!(chunk_size(json!({"url": "u", "chunkSize": 5})), Some(5));
    assert_eq!(chunk_size(json!({"url": "u", "chunk_size": null, "chunkSize": 5})), Some(5));
    assert_eq!(chunk_size(json!({"url": "u", "chunk_size": 4, "chunkSize": 5})), Some(4));
    refusal(json!(["tell_info", {"url": "u", "chunkSize": "5"}]));

    let verdict = |more: Value| {
        let mut value = json!(["tell_verify", {"peer": "h", "url": "u", "range": {}, "peer_id": "p"}]);
        value[1].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parse(value).map(|m| match m {
            Message::TellVerify(m) => m.is_authorized,
            _ => unreachable!(),
        })
    };
    assert_eq!(verdict(json!({"authorized": true})), Ok(true));
    assert_eq!(verdict(json!({"is_authorized": true})), Ok(true));
    assert_eq!(verdict(json!({"is_authorized": null, "authorized": true})), Ok(true));
    assert_eq!(verdict(json!({"is_authorized": false, "authorized": true})), Ok(false));
    assert_eq!(verdict(json!({"is_authorized": true, "authorized": false})), Ok(true));
    assert!(verdict(json!({})).is_err());
    assert!(verdict(json!({"authorized": null})).is_err());

    for kind in ["protocol_error", "protocol_warn"] {
        for (members, message) in [
            (json!({"reason": "r"}), Some("r")),
            (json!({"message": "m", "reason": "r"}), Some("m")),
            (json!({"message": null}), None),
        ] {
            let read = match parse(json!([kind, members])) {
                Ok(Message::ProtocolError(m)) => m.message,
                Ok(Message::ProtocolWarn(m)) => m.message,
                other => panic!("{other:?}"),
            };
            assert_eq!(read.as_deref(), message);
        }
    }
}

#[test]
fn a_reason_is_written_alike_in_messages_and_fields() {
    for word in ["origin", "rarest", "deadline", "locality", "endgame", "repair", "spare", "server_only"] {
        let reason = Reason::of_word(word).unwrap();
        assert_eq!((reason.word(), serde_json::to_value(reason).unwrap()), (word, json!(word)));
    }
    assert_eq!(Reason::of_word("full_moon"), None);
}

#[test]
fn words_of_later_versions_do_not_spoil_a_message() {
    let mut transfer = least().into_iter().find(|v| kind_of(v) == "transfer").unwrap();
    transfer[1]["reason"] = json!("full_moon");
    assert!(matches!(parse(transfer.clone()), Ok(Message::Transfer(Transfer { reason: None, .. }))));
    transfer[1]["reason"] = json!(5);
    refusal(transfer);

    let mut completed = least().into_iter().find(|v| kind_of(v) == "completed").unwrap();
    completed[1]["error"] = json!("full_moon");
    let refused = Some(FailureKind::Refused);
    assert!(matches!(parse(completed), Ok(Message::Completed(Completed { error, .. })) if error == refused));

    let order = parse(json!(["request", {"url": "u", "order": "backwards"}]));
    assert!(matches!(order, Ok(Message::Request(Request { order: None, .. }))));
    let code = parse(json!(["error", {"code": "full_moon"}]));
    assert!(matches!(code, Ok(Message::Error(Error { code: ErrorCode::Unknown, .. }))));
}

#[test]
fn hashes_are_lower_case() {
    refusal(json!(["provide", {"url": "u", "root": "AB".repeat(32)}]));
    refusal(json!(["provide", {"url": "u", "root": "ab".repeat(31)}]));
    refusal(json!(["provide", {"url": "u", "root": "ab".repeat(33)}]));
}

#[test]
fn objects_are_not_read_from_arrays() {
    refusal(json!(["request", {"url": "u", "range": [0, 9]}]));
    refusal(json!(["request", {"url": "u", "range": "0-9"}]));
    refusal(json!(["listing", {"url": "u", "entries": [["name", null, "file"]]}]));
    refusal(json!(["listing", {"url": "u", "entries": {}}]));
    let mut registered = least().swap_remove(1);
    registered[1]["limits"] = json!([1, 2, 3]);
    refusal(registered);
}

#[test]
fn a_message_too_large_for_a_frame_is_not_written() {
    let notice = |n: usize| Message::from(Notice { message: "x".repeat(n) });
    let overhead = notice(0).to_json().unwrap().len() + 2;
    let largest = notice(limits::MAX_FRAME - overhead);
    for dialect in [Dialect::Framed, Dialect::Line] {
        let mut out = BytesMut::new();
        largest.encode(dialect, &mut out).unwrap();
        let mut reader = FrameReader::new(dialect);
        reader.feed(&out);
        assert_eq!(Message::parse(&reader.next_body().unwrap().unwrap()), Ok(largest.clone()));
    }
    let more = notice(limits::MAX_FRAME - overhead + 1).to_json();
    assert_eq!(more, Err(WireError::FrameTooLong(limits::MAX_FRAME + 1)));
}

#[test]
fn version_two_sees_only_members_it_knows() {
    let written = |m: Message| serde_json::from_slice::<Value>(&m.to_json().unwrap()).unwrap();
    let range = ByteRange::new(0, 4999);
    let url = "http://files.example/sample.bin".to_owned();
    assert_eq!(
        written(
            Transfer {
                host: "127.0.0.1".into(),
                port: 8000,
                url: url.clone(),
                range,
                peer_id: "787b48".into(),
                ..Transfer::default()
            }
            .into()
        ),
        json!(["transfer", {"host": "127.0.0.1", "port": 8000, "method": "get", "url": url,
            "range": {"min": 0, "max": 4999}, "peer_id": "787b48"}])
    );
    assert_eq!(
        written(TellInfo { url: url.clone(), ..TellInfo::default() }.into()),
        json!(["tell_info", {"url": url}])
    );
    assert_eq!(
        written(Register { client_id: "c".into(), listen_port: 8100, ..Register::default() }.into()),
        json!(["register", {"client_id": "c", "listen_port": 8100}])
    );
    assert_eq!(
        written(Request { url: url.clone(), ..Request::default() }.into()),
        json!(["request", {"url": url}])
    );
    assert_eq!(
        written(Completed { url: url.clone(), range, peer_id: "p".into(), ..Completed::default() }.into()),
        json!(["completed", {"url": url, "range": {"min": 0, "max": 4999}, "peer_id": "p"}])
    );
    let numbered = Completed { id: Some(7), bytes: Some(5), ms: Some(1), ..Completed::default() };
    assert_eq!(written(numbered.clone().into()), json!(["completed", {"id": 7, "bytes": 5, "ms": 1}]));
    assert_eq!(parse(json!(["completed", {"id": 7, "bytes": 5, "ms": 1}])).unwrap(), numbered.into());
}

/// Sends `stream` through a reader in portions of the given sizes (the last repeats) and parses what comes out.
fn read_in_portions(dialect: Dialect, stream: &[u8], portions: &[usize]) -> Vec<Result<Message, WireError>> {
    let mut reader = FrameReader::new(dialect);
    let (mut out, mut rest) = (Vec::new(), stream);
    let mut sizes = portions.iter().copied().chain(std::iter::repeat(*portions.last().unwrap()));
    while !rest.is_empty() {
        let (now, later) = rest.split_at(sizes.next().unwrap().min(rest.len()));
        reader.feed(now);
        rest = later;
        loop {
            match reader.next_body() {
                Ok(Some(body)) => out.push(Message::parse(&body)),
                Ok(None) => break,
                Err(e) => {
                    out.push(Err(e));
                    return out;
                }
            }
        }
    }
    out
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop_oneof![Just(Dialect::Framed), Just(Dialect::Line)]
}

proptest! {
    #[test]
    fn written_and_read_again_a_message_is_the_same(message in any_message()) {
        let json = message.to_json().unwrap();
        prop_assert_eq!(Message::parse(&json), Ok(message.clone()));
        // Also by another writer, with members in another order.
        let value: Value = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(parse(value), Ok(message.clone()));
        // No raw line end, which would cut the line dialect.
        prop_assert!(!json.contains(&b'\n') && !json.contains(&b'\r'));
        let escaped = String::from_utf8(json).unwrap().replace('/', "\\/");
        prop_assert_eq!(parse_text(&escaped), Ok(message));
    }

    #[test]
    fn messages_arrive_whole_in_any_portions(
        messages in proptest::collection::vec(any_message(), 1..6),
        portions in proptest::collection::vec(1usize..600, 1..20),
        dialect in dialect(),
    ) {
        let mut stream = BytesMut::new();
        for message in &messages {
            message.encode(dialect, &mut stream).unwrap();
        }
        let expected: Vec<_> = messages.into_iter().map(Ok).collect();
        prop_assert_eq!(&read_in_portions(dialect, &stream, &portions), &expected);
        prop_assert_eq!(&read_in_portions(dialect, &stream, &[1]), &expected);
    }

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), dialect in dialect()) {
        let _ = Message::parse(&bytes);
        let whole = read_in_portions(dialect, &bytes, &[bytes.len().max(1)]);
        prop_assert_eq!(whole, read_in_portions(dialect, &bytes, &[1]));
    }

    #[test]
    fn a_damaged_message_does_no_harm(
        message in any_message(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut json = message.to_json().unwrap();
        for (at, byte) in damage {
            let at = at.index(json.len());
            json[at] = byte;
        }
        // Whatever is understood after all is a message that can be written.
        if let Ok(read) = Message::parse(&json) {
            prop_assert_eq!(Message::parse(&read.to_json().unwrap()), Ok(read));
        }
    }
}
