//! Arbitrary messages of every type, for property tests.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::wire::{ByteRange, Digest};

/// One strategy for each type of message.
pub(super) fn each_type() -> Vec<BoxedStrategy<Message>> {
    vec![
        register(),
        registered(),
        message(Just(Ping {})),
        message(Just(Pong {})),
        message(any::<bool>().prop_map(|ok| Reachable { ok })),
        message((url(), any::<(bool, bool)>()).prop_map(|(url, (hashes, proof))| AskInfo {
            url,
            hashes,
            proof,
        })),
        tell_info(),
        message((url(), any::<(u64, u64)>()).prop_map(|(url, (done, total))| Hashing { url, done, total })),
        message((url(), digest(), any::<u64>(), 1..=limits::MAX_HASHES).prop_map(
            |(url, root, first, count)| AskHashes { url, root, first, count, proof: false, roots: false },
        )),
        message((url(), digest(), 0u64..1 << 50, 0..=limits::MAX_HASHES.ilog2(), any::<bool>()).prop_map(
            |(url, root, block, log, roots)| AskHashes {
                url,
                root,
                first: block << log,
                count: 1 << log,
                proof: true,
                roots: roots && 1 << log >= limits::ROOT_PIECES,
            },
        )),
        message(
            (url(), digest(), any::<u64>(), hashes(40), of(hashes(limits::MAX_PROOF)), any::<bool>())
                .prop_map(|(url, root, first, hashes, proof, roots)| TellHashes {
                    url,
                    root,
                    first,
                    hashes,
                    proof,
                    roots,
                }),
        ),
        message(
            (url(), any::<Option<u32>>(), of(text()), of(text()), any::<Option<u64>>())
                .prop_map(|(url, depth, cursor, format, id)| List { url, depth, cursor, format, id }),
        ),
        message((url(), any::<Option<u64>>(), any::<u64>()).prop_map(|(url, id, entries)| Reading {
            url,
            id,
            entries,
        })),
        message(
            (url(), any::<Option<u64>>(), vec(entry(), 0..20), of(text())).prop_map(
                |(url, id, entries, next)| Listing { url, id, entries, next, ..Listing::default() },
            ),
        ),
        message(url().prop_map(|url| Watch { url })),
        message(url().prop_map(|url| Unwatch { url })),
        message((url(), of(digest()), any::<(Option<u64>, Option<i64>)>(), any::<[bool; 3]>()).prop_map(
            |(url, root, (size, mtime), [is_dir, removed, rescan])| Changed {
                url,
                root,
                size,
                mtime,
                kind: is_dir.then_some(EntryKind::Dir),
                removed,
                rescan,
            },
        )),
        message(
            (url(), of(range()), of(digest()), of(order()), any::<[Option<u64>; 3]>(), of("[!-~]{1,80}"))
                .prop_map(|(url, range, root, order, [position, window, pace], early)| Request {
                    url,
                    range,
                    root,
                    order,
                    position,
                    window,
                    pace,
                    early,
                }),
        ),
        message(some_of_a_file().prop_map(|(url, range, root)| Unrequest { url, range, root })),
        message(some_of_a_file().prop_map(|(url, range, root)| Provide { url, range, root })),
        message(some_of_a_file().prop_map(|(url, range, root)| Unprovide { url, range, root })),
        transfer(),
        message((text(), url(), range(), text()).prop_map(|(peer, url, range, peer_id)| AskVerify {
            peer,
            url,
            range,
            peer_id,
        })),
        message((text(), url(), range(), text(), any::<(bool, Option<bool>)>()).prop_map(
            |(peer, url, range, peer_id, (is_authorized, authorized))| TellVerify {
                peer,
                url,
                range,
                peer_id,
                is_authorized,
                authorized,
            },
        )),
        completed(),
        message((url(), range(), any::<bool>()).prop_map(|(url, range, hash_ok)| HashVerify {
            url,
            range,
            hash_ok,
        })),
        message((any::<u64>(), vec(any::<u64>(), 0..50)).prop_map(|(id, pieces)| Progress { id, pieces })),
        message(any::<u64>().prop_map(|id| Cancel { id })),
        message((url(), wait_reason()).prop_map(|(url, reason)| Waiting { url, reason })),
        message((of(url()), text(), any::<u16>()).prop_map(|(url, host, port)| Redirect { url, host, port })),
        message(text().prop_map(|message| Notice { message })),
        message((text(), any::<u32>()).prop_map(|(reason, after_s)| Goaway { reason, after_s })),
        message(
            (error_code(), text(), of(url()), of(text()), any::<Option<u64>>())
                .prop_map(|(code, message, url, re, id)| Error { code, message, url, re, id }),
        ),
        message(of(text()).prop_map(|message| ProtocolError { message })),
        message(of(text()).prop_map(|message| ProtocolWarn { message })),
    ]
}

/// Any message.
pub(in crate::wire) fn any_message() -> impl Strategy<Value = Message> {
    proptest::strategy::Union::new(each_type())
}

fn message<S: Strategy<Value: Into<Message>> + 'static>(members: S) -> BoxedStrategy<Message> {
    members.prop_map(Into::into).boxed()
}

/// Text with everything that JSON has to escape, and much that it need not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[ -~]{0,20}", 1 => "\\PC{0,20}", 1 => any::<String>()]
}

fn url() -> impl Strategy<Value = String> {
    prop_oneof![3 => "http://[a-z.]{1,20}(/[!-~]{0,10}){1,4}", 1 => text()]
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn range() -> impl Strategy<Value = ByteRange> {
    prop_oneof![
        any::<u64>().prop_map(|min| ByteRange { min, max: None }),
        any::<(u64, u64)>().prop_map(|(a, b)| ByteRange::new(a.min(b), a.max(b))),
        Just(ByteRange::new(u64::MAX, u64::MAX)),
    ]
}

fn some_of_a_file() -> impl Strategy<Value = (String, Option<ByteRange>, Option<Digest>)> {
    (url(), of(range()), of(digest()))
}

fn order() -> impl Strategy<Value = Order> {
    select(vec![Order::Rarest, Order::Sequential])
}

fn kind() -> impl Strategy<Value = EntryKind> {
    select(vec![EntryKind::File, EntryKind::Dir])
}

fn error_code() -> impl Strategy<Value = ErrorCode> {
    use ErrorCode::*;
    select(vec![
        Protocol,
        NotFound,
        Denied,
        IsDirectory,
        NotDirectory,
        Changed,
        Limit,
        IdInUse,
        SlowConsumer,
        Busy,
        Internal,
        Unknown,
    ])
}

fn wait_reason() -> impl Strategy<Value = WaitReason> {
    use WaitReason::*;
    select(vec![OriginBusy, NoProvider, YourLimit, Unreachable, Full, ServerRate, PeersBusy, Changed])
}

fn failure_kind() -> impl Strategy<Value = FailureKind> {
    use FailureKind::*;
    select(vec![Refused, Unreachable, Timeout, Slow, Hash, Gone, Disk, Cancelled])
}

fn reason() -> impl Strategy<Value = Reason> {
    use Reason::*;
    select(vec![Origin, Rarest, Deadline, Locality, Endgame, Repair, Spare, ServerOnly])
}

fn register() -> BoxedStrategy<Message> {
    let who = ("[!-~]{1,40}", any::<u16>(), any::<Option<u32>>(), of(text()));
    let what = (vec(text(), 0..4), of(text()), any::<[Option<u64>; 2]>());
    message((who, what).prop_map(
        |((client_id, listen_port, version, agent), (features, role, [up_limit, down_limit]))| Register {
            client_id,
            listen_port,
            version,
            agent,
            features,
            role,
            up_limit,
            down_limit,
        },
    ))
}

fn registered() -> BoxedStrategy<Message> {
    let who = (any::<u32>(), text(), text(), text(), text(), text());
    let what = (any::<u64>(), vec(text(), 0..4), any::<[u32; 4]>(), of(text()));
    message((who, what).prop_map(
        |(
            (version, agent, server, session, address, secret),
            (time, features, [keepalive_s, outstanding, files, ranges], notice),
        )| Registered {
            version,
            agent,
            server,
            session,
            address,
            secret,
            time,
            features,
            keepalive_s,
            limits: ServerLimits { outstanding, files, ranges },
            notice,
        },
    ))
}

fn hashes(most: usize) -> impl Strategy<Value = Base64> {
    vec(digest(), 0..=most).prop_map(|all| Base64(all.iter().flat_map(|d| d.0).collect()))
}

fn tell_info() -> BoxedStrategy<Message> {
    let usual = (url(), any::<(Option<u64>, Option<u32>, Option<bool>)>());
    let more = (of(digest()), of(digest()), any::<Option<i64>>(), of(text()), of(kind()), of(error_code()));
    let hashes = (of(hashes(4)), of(hashes(limits::MAX_PROOF)));
    message((usual, more, vec(file_signature(), 0..3), hashes).prop_map(
        |(
            (url, (size, chunk_size, streaming)),
            (root, digest, mtime, mime, kind, error),
            signatures,
            (hashes, proof),
        )| TellInfo {
            signatures,
            url,
            size,
            chunk_size,
            streaming,
            root,
            digest,
            mtime,
            mime,
            kind,
            hashes,
            proof,
            error,
        },
    ))
}

fn signed() -> impl Strategy<Value = (bool, Option<SignedBy>)> {
    (any::<bool>(), of(prop_oneof![Just(SignedBy::Publisher), Just(SignedBy::Server)]))
}

fn file_signature() -> impl Strategy<Value = FileSignature> {
    let value = vec(any::<u8>(), 0..80).prop_map(Base64);
    (text(), text(), value, text()).prop_map(|(key, algorithm, value, manifest)| FileSignature {
        key,
        algorithm,
        value,
        manifest,
    })
}

fn entry() -> impl Strategy<Value = Entry> {
    let usual = (text(), of(text()), kind(), any::<(u64, Option<i64>)>());
    let more = (of(digest()), any::<Option<u32>>(), of(text()), signed());
    (usual, more).prop_map(
        |((name, path, kind, (size, mtime)), (root, chunk_size, mime, (signed, signed_by)))| Entry {
            name,
            path,
            kind,
            size,
            mtime,
            root,
            chunk_size,
            mime,
            signed,
            signed_by,
            about: None,
        },
    )
}

fn transfer() -> BoxedStrategy<Message> {
    let method = select(vec![TransferMethod::Get, TransferMethod::Put]);
    let range = any::<(u64, u64)>().prop_map(|(a, b)| ByteRange::new(a.min(b), a.max(b)));
    let side = ("[0-9a-f.:]{1,20}", 1u16.., "[!-~]{1,20}").boxed();
    let side = prop_oneof![side, Just(Default::default())];
    let usual = (side, of(text()), method, prop_oneof![url(), Just(String::new())], range);
    let words = (of("[!-~]{0,80}"), of("[!-~]{0,80}"), of(reason()), any::<bool>(), any::<Option<u64>>());
    let more = (any::<Option<u64>>(), of(digest()), any::<Option<u64>>());
    message((usual, more, words).prop_map(
        |(
            ((host, port, peer_id), peer, method, url, range),
            (id, root, wait_s),
            (token, proof, reason, early, progress_ms),
        )| {
            Transfer {
                id,
                peer: peer.filter(|_| !String::is_empty(&host)),
                host,
                port,
                method,
                url,
                root,
                range,
                peer_id,
                token,
                proof,
                reason,
                early,
                progress_ms,
                wait_s,
            }
        },
    ))
}

fn completed() -> BoxedStrategy<Message> {
    let usual = (url(), range(), text(), of(text()), of(text()));
    let more = (any::<[Option<u64>; 3]>(), of(failure_kind()));
    // Without a number the others have to be there, and what is empty or the whole file is not written.
    let is_complete = |m: &Completed| {
        m.id.is_some() || !(m.url.is_empty() || m.peer_id.is_empty() || m.range == ByteRange::default())
    };
    let all = (usual, more).prop_map(|((url, range, peer_id, peer, hash), ([id, bytes, ms], error))| {
        Completed { id, url, range, peer_id, peer, hash, bytes, ms, error }
    });
    message(all.prop_filter("nothing says which transfer", is_complete))
}
