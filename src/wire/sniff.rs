use super::frame::Dialect;

/// What a connection speaks, told from its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniff {
    /// PDTP in the given dialect.
    Pdtp(Dialect),
    /// HTTP/1.1.
    Http,
    /// A TLS handshake record.
    Tls,
    /// Could still be something; wait for more bytes.
    NeedMore,
    /// Nothing that is served here.
    Unknown,
}

/// Recognises the language of a connection (docs/protocol.md, section 1). `first` is all that was received so
/// far, up to [`super::limits::SNIFF_BYTES`]; the answer is final from there on.
pub fn sniff(first: &[u8]) -> Sniff {
    const HTTP: [&[u8]; 6] = [b"GET ", b"HEAD ", b"PUT ", b"POST ", b"OPTIONS ", b"DELETE "];
    let Some(&byte0) = first.first() else { return Sniff::NeedMore };
    if byte0 == b'[' {
        return Sniff::Pdtp(Dialect::Line);
    }
    if byte0 == 0x16 && first.get(1) == Some(&0x03) && !is_json_start(first.get(2)) {
        return if first.len() < 3 { Sniff::NeedMore } else { Sniff::Tls };
    }
    if byte0 < 0x20 {
        return match first.get(2) {
            None => Sniff::NeedMore,
            some if is_json_start(some) => Sniff::Pdtp(Dialect::Framed),
            Some(_) => Sniff::Unknown,
        };
    }
    for method in HTTP {
        let n = first.len().min(method.len());
        if first[..n] == method[..n] {
            return if n == method.len() { Sniff::Http } else { Sniff::NeedMore };
        }
    }
    Sniff::Unknown
}

fn is_json_start(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b'[' | b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::limits::SNIFF_BYTES;

    /// The answer for every prefix of `bytes`: what it becomes, and after how many bytes.
    fn settles(bytes: &[u8]) -> (Sniff, usize) {
        let answers: Vec<_> = (0..=bytes.len()).map(|n| sniff(&bytes[..n])).collect();
        let known = answers.iter().position(|a| *a != Sniff::NeedMore).expect("never settles");
        assert!(answers[known..].iter().all(|a| *a == answers[known]), "wavers: {answers:?}");
        (answers[known], known)
    }

    #[test]
    fn every_opening_is_known_as_soon_as_it_can_be() {
        let framed = Sniff::Pdtp(Dialect::Framed);
        let cases: &[(&[u8], Sniff, usize)] = &[
            (b"\0\x0b[\"ping\",{}]", framed, 3),
            (b"\x1f\xff[\"regis", framed, 3),
            (b"\0\x0b [\"ping\"", framed, 3),
            (b"\0\x0b\r\n[\"ping\"", framed, 3),
            (b"\x16\x03[\"ping\",", framed, 3),
            (b"\x16\x03\x01\x02\0\x01\0\x01", Sniff::Tls, 3),
            (b"\x16\x03\x03\0\0\0\0\0", Sniff::Tls, 3),
            (b"\x16\x04\x01\0\0\0\0\0", Sniff::Unknown, 3),
            (b"[\"client_info\"", Sniff::Pdtp(Dialect::Line), 1),
            (b"GET / HTTP/1.1", Sniff::Http, 4),
            (b"HEAD / HTTP/1.1", Sniff::Http, 5),
            (b"PUT / HTTP/1.1", Sniff::Http, 4),
            (b"POST / HTTP/1.1", Sniff::Http, 5),
            (b"OPTIONS * HTTP/1.1", Sniff::Http, 8),
            (b"DELETE / HTTP/1.1", Sniff::Http, 7),
            (b"get / HTTP/1.1", Sniff::Unknown, 1),
            (b"GETX / HTTP", Sniff::Unknown, 4),
            (b"SSH-2.0-x", Sniff::Unknown, 1),
            (b"PATCH / HTTP", Sniff::Unknown, 2),
            (b"{\"type\":1}", Sniff::Unknown, 1),
            (b"\0\0\0\0\0\0\0\0", Sniff::Unknown, 3),
            (b" [\"ping\"", Sniff::Unknown, 1),
            (b"\x20\x0b[\"ping\"", Sniff::Unknown, 1),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Sniff::Unknown, 1),
        ];
        for (bytes, what, after) in cases {
            assert_eq!(settles(bytes), (*what, *after), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_always_suffice(
            bytes in prop_oneof![any::<[u8; SNIFF_BYTES]>(), "(GET|HEAD|PUT|OPT|DEL|POST)[A-Z ]{8}".prop_map(|s| {
                s.as_bytes()[..SNIFF_BYTES].try_into().unwrap()
            })]
        ) {
            let (_, after) = settles(&bytes);
            prop_assert!(after <= SNIFF_BYTES);
        }
    }
}
