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
