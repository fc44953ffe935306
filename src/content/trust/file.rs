//! The trust file: who may sign what, one line each, like `known_hosts`, and as easy to edit.
//!
//! ```text
//! # where                 kind        fingerprint   since                 whose
//! mirror.example.org/pub  ed25519     3f2a…         2026-11-22T10:00:00Z  Alice
//! *                       dsa-sha256  77b0…                               our own releases
//! @revoked *              ed25519     c0de…
//! @cert-authority *       x509        MIIB…(DER in base64)
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::content::Date;
use crate::content::keys::{Fingerprint, PublicKey};
use crate::content::x509::Anchor;
use crate::wire::{DEFAULT_PORT, PdtpUri, UrlPath};

/// Largest trust file in bytes.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// A part of a server, or everywhere. Written `host[:port][/path]`, or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All of all servers.
    Everywhere,
    /// What lies at or below a path.
    At {
        /// Host name in lower case, or address.
        host: String,
        /// TCP port.
        port: u16,
        /// File or directory.
        path: UrlPath,
    },
}

impl Place {
    /// A path on a server.
    pub fn at(host: &str, port: u16, path: &UrlPath) -> Self {
        Self::At { host: host.to_ascii_lowercase(), port, path: path.clone() }
    }

    /// Whether a file lies here.
    pub fn covers(&self, host: &str, port: u16, path: &UrlPath) -> bool {
        match self {
            Self::Everywhere => true,
            Self::At { host: h, port: p, path: top } => {
                h.eq_ignore_ascii_case(host) && *p == port && path.is_under(top)
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Everywhere);
        }
        let uri: PdtpUri = format!("pdtp://{text}").parse().ok()?;
        (uri == PdtpUri { root: None, keys: Vec::new(), ..uri.clone() })
            .then(|| Self::at(&uri.host, uri.port, &uri.path))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::At { host, port, path } = self else { return f.write_str("*") };
        if host.contains(':') {
            write!(f, "[{host}]")?
        } else {
            f.write_str(host)?
        }
        if *port != DEFAULT_PORT {
            write!(f, ":{port}")?;
        }
        f.write_str(path.as_str())
    }
}

/// One line of the file.
#[derive(Debug, Clone)]
pub enum TrustEntry {
    /// This key may sign what lies there.
    Key {
        /// Where.
        place: Place,
        /// Word for the kind of key; for people.
        kind: String,
        /// Which key.
        fingerprint: Fingerprint,
        /// When the line was written, where that was noted.
        since: Option<Date>,
        /// Whose key it is. May be empty.
        comment: String,
    },
    /// Whom this one certifies may sign what lies there.
    Authority {
        /// Where.
        place: Place,
        /// Who.
        anchor: Box<Anchor>,
        /// For people. May be empty.
        comment: String,
    },
    /// This key is not to be believed any more, whoever vouches for it.
    Revoked {
        /// Which key.
        fingerprint: Fingerprint,
        /// For people. May be empty.
        comment: String,
    },
}

/// A line as it is in the file, without line end.
impl fmt::Display for TrustEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let comment = match self {
            Self::Key { place, kind, fingerprint, since, comment } => {
                write!(f, "{place} {kind} {fingerprint}")?;
                since.iter().try_for_each(|since| write!(f, " {since}"))?;
                comment
            }
            Self::Authority { place, anchor, comment } => {
                write!(f, "@cert-authority {place} x509 {}", STANDARD.encode(anchor.as_der()))?;
                comment
            }
            Self::Revoked { fingerprint, comment } => {
                write!(f, "@revoked * key {fingerprint}")?;
                comment
            }
        };
        // What a stranger calls himself must not begin another line.
        let comment: String = comment.chars().filter(|c| !c.is_control()).collect();
        if comment.is_empty() { Ok(()) } else { write!(f, " {comment}") }
    }
}

/// Two entries are the same when they are written the same.
impl PartialEq for TrustEntry {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// A line that makes no sense. What cannot be read is not skipped: it might be a `@revoked`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct TrustError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// All that is trusted.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trust {
    entries: Vec<TrustEntry>,
    is_kept: bool,
}

impl Trust {
    /// Reads a trust file. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that makes no sense.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        if text.len() > MAX_FILE {
            return Err(TrustError { line: 0, reason: "more than 16 MiB".to_owned() });
        }
        let mut entries = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let entry = parse_line(line).map_err(|reason| TrustError { line: n + 1, reason })?;
                entries.push(entry);
            }
        }
        Ok(Self { entries, is_kept: false })
    }

    /// Adds an entry.
    pub fn add(&mut self, entry: TrustEntry) {
        self.entries.push(entry);
    }

    /// Trusts a key everywhere.
    pub fn add_key(&mut self, key: &PublicKey, label: &str) {
        self.add(TrustEntry::Key {
            place: Place::Everywhere,
            kind: key.algorithm().to_string(),
            fingerprint: key.fingerprint(),
            since: None,
            comment: label.to_owned(),
        });
    }

    /// Somebody keeps account of whom to trust, so that an unknown key is news even where none is known yet.
    pub fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Whether nobody is trusted, and nobody keeps account of it.
    pub fn is_nobodys(&self) -> bool {
        self.entries.is_empty() && !self.is_kept
    }

    /// All entries.
    pub fn entries(&self) -> &[TrustEntry] {
        &self.entries
    }

    /// Whether the key is not to be believed.
    pub(super) fn is_revoked(&self, key: &Fingerprint) -> bool {
        self.entries
            .iter()
            .any(|e| matches!(e, TrustEntry::Revoked { fingerprint, .. } if fingerprint == key))
    }

    /// The keys that may sign a file: where, which, since when, whose.
    pub(super) fn keys(
        &self,
        host: &str,
        port: u16,
        path: &UrlPath,
    ) -> impl Iterator<Item = (&Place, &Fingerprint, Option<Date>, &str)> {
        self.entries.iter().filter_map(move |entry| match entry {
            TrustEntry::Key { place, fingerprint, since, comment, .. } if place.covers(host, port, path) => {
                Some((place, fingerprint, *since, comment.as_str()))
            }
            _ => None,
        })
    }

    /// Whether a line for this very place, and not for everywhere, names an authority.
    pub(super) fn has_authority_for(&self, host: &str, port: u16, path: &UrlPath) -> bool {
        self.entries.iter().any(|entry| match entry {
            TrustEntry::Authority { place, .. } => {
                *place != Place::Everywhere && place.covers(host, port, path)
            }
            _ => false,
        })
    }

    /// Those who may certify the signers of a file.
    pub(super) fn anchors(&self, host: &str, port: u16, path: &UrlPath) -> Vec<Anchor> {
        let covering = |entry: &TrustEntry| match entry {
            TrustEntry::Authority { place, anchor, .. } if place.covers(host, port, path) => {
                Some((**anchor).clone())
            }
            _ => None,
        };
        self.entries.iter().filter_map(covering).collect()
    }
}

fn parse_line(line: &str) -> Result<TrustEntry, String> {
    let mut rest = line;
    let mut word = || {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        Some(word).filter(|word| !word.is_empty())
    };
    let first = word().unwrap_or_default();
    let (marker, place) =
        if first.starts_with('@') { (first, word().unwrap_or_default()) } else { ("", first) };
    let place = Place::parse(place).ok_or("it begins with `*` or host[:port][/path]")?;
    let kind = word().ok_or("the kind of key is missing")?.to_owned();
    let value = word().ok_or("the key is missing")?;
    let fingerprint = || value.parse().map_err(|_| "a fingerprint has 64 lower-case hex digits".to_owned());
    match marker {
        "" => {
            let fingerprint = fingerprint()?;
            let (next, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let since = next.parse().ok();
            let comment = if since.is_some() { after.trim_start() } else { rest }.to_owned();
            Ok(TrustEntry::Key { place, kind, fingerprint, since, comment })
        }
        "@revoked" => Ok(TrustEntry::Revoked { fingerprint: fingerprint()?, comment: rest.to_owned() }),
        "@cert-authority" if kind == "x509" => {
            let der = STANDARD.decode(value).map_err(|_| "the certificate is not base64")?;
            let anchor = Anchor::from_der(der).map_err(|error| error.to_string())?;
            Ok(TrustEntry::Authority { place, anchor: Box::new(anchor), comment: rest.to_owned() })
        }
        "@cert-authority" => Err("an authority is of the kind x509".to_owned()),
        _ => Err("the markers are @cert-authority and @revoked".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> UrlPath {
        UrlPath::parse(text).unwrap()
    }

    #[test]
    fn lines_are_read_and_written() {
        let hex = "ab".repeat(32);
        for line in [
            format!("* ed25519 {hex}"),
            format!("h/ ed25519 {hex} 2026-11-22T10:00:00Z"),
            format!("h:1/a%20b dsa-sha256 {hex} 2026-11-22T10:00:00Z Alice of Example"),
            format!("[::1]/pub ecdsa-p256-sha256 {hex} Alice"),
            format!("@revoked * key {hex} stolen"),
        ] {
            let trust = Trust::parse(&line).unwrap();
            let [entry] = trust.entries() else { panic!("{line}") };
            assert_eq!(entry.to_string(), line);
        }
        let trust = Trust::parse(&format!("# words\n\n  HOST/A/\ted25519   {hex}\n")).unwrap();
        assert_eq!(trust.entries()[0].to_string(), format!("host/A ed25519 {hex}"));
    }

    #[test]
    fn nothing_is_skipped() {
        let hex = "ab".repeat(32);
        for (line, reason) in [
            ("h".to_owned(), "kind"),
            ("h ed25519".to_owned(), "key is missing"),
            (format!("h ed25519 {}", hex.to_uppercase()), "64 lower-case"),
            (format!("h#root={hex} ed25519 {hex}"), "begins with"),
            (format!("a@h ed25519 {hex}"), "begins with"),
            (format!("@revokd * ed25519 {hex}"), "markers"),
            (format!("@revoked * {hex}"), "missing"),
            ("@cert-authority * x509 AAAA".to_owned(), "broken certificate"),
            ("@cert-authority * x509 *".to_owned(), "base64"),
            (format!("@cert-authority * ed25519 {hex}"), "x509"),
        ] {
            let error = Trust::parse(&format!("# one\n{line}")).unwrap_err();
            assert!(error.line == 2 && error.reason.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn places_cover_what_lies_below_them() {
        let place = |text| Place::parse(text).unwrap();
        for (at, host, port, file, covers) in [
            ("*", "h", 1, "/x", true),
            ("h", "H", 6086, "/x", true),
            ("h", "h", 6087, "/x", false),
            ("h:7", "h", 7, "/x", true),
            ("h/pub", "h", 6086, "/pub/a/b", true),
            ("h/pub", "h", 6086, "/pub", true),
            ("h/pub", "h", 6086, "/public", false),
            ("h/pub", "x", 6086, "/pub/a", false),
        ] {
            assert_eq!(place(at).covers(host, port, &path(file)), covers, "{at} {file}");
        }
    }

    #[test]
    fn a_comment_is_one_line() {
        let entry = TrustEntry::Key {
            place: Place::Everywhere,
            kind: "ed25519".to_owned(),
            fingerprint: "ab".repeat(32).parse().unwrap(),
            since: None,
            comment: "x\n* ed25519 evil\r\u{1b}[0m".to_owned(),
        };
        assert_eq!(entry.to_string().lines().count(), 1);
    }
}
