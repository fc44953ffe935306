//! Blocks of PEM (RFC 7468) in a text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub(super) const PUBLIC_KEY: &str = "PUBLIC KEY";
pub(super) const CERTIFICATE: &str = "CERTIFICATE";

/// The content of the first block with this label; `None` where there is none, or it is broken.
pub(super) fn first(text: &str, label: &str) -> Option<Vec<u8>> {
    blocks(text, label).next()?
}

/// The contents of all blocks with this label, `None` for a broken one. Lines between blocks are skipped, as OpenSSL
/// writes some there.
pub(super) fn blocks<'a>(text: &'a str, label: &'a str) -> impl Iterator<Item = Option<Vec<u8>>> + 'a {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        lines.by_ref().find(|line| line.trim_end() == begin)?;
        let mut body = String::new();
        for line in lines.by_ref() {
            if line.trim_end() == end {
                return Some(STANDARD.decode(&body).ok());
            }
            body.push_str(line.trim());
        }
        Some(None)
    })
}

/// One block, in lines of 64 characters.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let body = STANDARD.encode(der);
    for line in body.as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
