//! What lets two strangers trust that the server put them together (docs/protocol.md, section 8).
//!
//! All values are HMAC-SHA-256 (RFC 2104) under a secret that only the server and one client know. Fields of the
//! input are each preceded by their length as 32-bit big-endian number, so that no two inputs share bytes.
//! Comparison takes the same time whatever differs.
//!
//! Of those that come with every transfer it is the first 128 bits, as in HMAC-SHA-256-128 (RFC 4868): half of the output is
//! what RFC 2104 asks for, nobody guesses it within the minutes that a token lives, and each travels twice.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{Digest, UrlPath};

/// 32 random bytes known to the server and one client.
#[derive(Clone, Eq)]
pub struct Secret(pub [u8; 32]);

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// From the base64 text of `registered`.
    pub fn from_base64(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// As base64 text.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }
}

/// Who dials whom to do what: the words of `transfer.method`, from the dialling side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The connector receives.
    #[default]
    #[serde(alias = "GET")]
    Get,
    /// The connector sends.
    #[serde(alias = "PUT")]
    Put,
}

impl Method {
    /// As on the wire and in token input: lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
        }
    }
}

/// Everything a token binds.
#[derive(Debug, Clone, Copy)]
pub struct TokenScope<'a> {
    /// Method.
    pub method: Method,
    /// The path of the file, in its one canonical spelling ([`UrlPath`]); not the whole URL, because the two ends
    /// may know the server by different names.
    pub path: &'a UrlPath,
    /// Version of the file.
    pub root: &'a Digest,
    /// First byte.
    pub min: u64,
    /// Last byte.
    pub max: u64,
    /// Client id of the side that dials.
    pub connector: &'a str,
    /// `transfer.id`, so that nobody can have the acceptor report under the number of another transfer.
    pub transfer: u64,
}

/// `EXPIRES.HMAC`: what the connector shows the acceptor. `secret` is the acceptor's; `expires` is in seconds of
/// the server's clock (`registered.time` tells clients what that clock says).
pub fn make_token(secret: &Secret, scope: &TokenScope<'_>, expires: u64) -> String {
    format!("{expires}.{}", short(&token_mac(secret, scope, expires)))
}

/// Whether `token` was made by the server for exactly this and has not expired at `now` (seconds of the server's
/// clock).
pub fn check_token(secret: &Secret, scope: &TokenScope<'_>, token: &str, now: u64) -> bool {
    let Some(expires) = token.split_once('.').and_then(|(expires, _)| expires.parse().ok()) else {
        return false;
    };
    // Compared as a whole, so that a token has one spelling only.
    same(make_token(secret, scope, expires).as_bytes(), token.as_bytes()) && now <= expires
}

/// What a genuine acceptor returns for `token`, and what `transfer.proof` tells the connector to expect.
pub fn make_proof(secret: &Secret, token: &str) -> String {
    short(&mac(secret, &[b"proof", token.as_bytes()]))
}

/// What a client answers to `GET /.pdtp/hello?n=NONCE`.
pub fn make_hello(secret: &Secret, nonce: &str) -> String {
    Digest(mac(secret, &[b"hello", nonce.as_bytes()])).to_string()
}

/// Compares two strings in time that depends on their lengths only.
pub fn same(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}

fn token_mac(secret: &Secret, scope: &TokenScope<'_>, expires: u64) -> [u8; 32] {
    mac(
        secret,
        &[
            b"transfer",
            scope.method.as_str().as_bytes(),
            scope.path.as_str().as_bytes(),
            scope.root.to_string().as_bytes(),
            scope.min.to_string().as_bytes(),
            scope.max.to_string().as_bytes(),
            scope.connector.as_bytes(),
            scope.transfer.to_string().as_bytes(),
            expires.to_string().as_bytes(),
        ],
    )
}

fn mac(secret: &Secret, fields: &[&[u8]]) -> [u8; 32] {
    // A key of 32 bytes is shorter than a block, so it stands padded with zeros (RFC 2104, section 2).
    let mut key = hmac::digest::Key::<Hmac<Sha256>>::default();
    key[..secret.0.len()].copy_from_slice(&secret.0);
    let mut mac = Hmac::<Sha256>::new(&key);
    for field in fields {
        mac.update(&(field.len() as u32).to_be_bytes());
        mac.update(field);
    }
    mac.finalize().into_bytes().into()
}

fn short(mac: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(&mac[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &[u8] = b"root";

    fn secret() -> Secret {
        Secret(std::array::from_fn(|i| i as u8))
    }

    fn digest_of(bytes: &[u8]) -> Digest {
        use sha2::Digest as _;
        Digest(Sha256::digest(bytes).into())
    }

    /// Values computed by another implementation of HMAC (Python's), from the text of docs/protocol.md.
    #[test]
    fn known_values() {
        let (path, root) = (UrlPath::parse("/dir/a file").unwrap(), digest_of(ROOT));
        let scope = TokenScope {
            method: Method::Get,
            path: &path,
            root: &root,
            min: 0,
            max: 65535,
            connector: "client-7",
            transfer: 42,
        };
        let token = make_token(&secret(), &scope, 1_700_000_000);
        assert_eq!(token, "1700000000.t2RbyXwCp5UINLGCeJIx9Q");
        assert!(token.len() <= crate::wire::limits::MAX_TOKEN);
        assert_eq!(make_proof(&secret(), &token), "gWoO-pzXLDLODtrRhMIu0Q");
        assert_eq!(
            make_hello(&secret(), "nonce-1"),
            "d9e33798d5fe3469f4eaf76bba1a381168846b39ff32241fe4353259e11189f5"
        );
    }

    #[test]
    fn a_token_is_good_for_exactly_what_it_was_made_for() {
        let (path, root) = (UrlPath::parse("/a").unwrap(), digest_of(ROOT));
        let scope = TokenScope {
            method: Method::Get,
            path: &path,
            root: &root,
            min: 5,
            max: 10,
            connector: "c",
            transfer: 42,
        };
        let token = make_token(&secret(), &scope, 1000);
        let good = |scope: &TokenScope<'_>| check_token(&secret(), scope, &token, 0);
        assert!(good(&scope));

        let (other_path, other_root) = (UrlPath::parse("/b").unwrap(), digest_of(b"other"));
        for changed in [
            TokenScope { method: Method::Put, ..scope },
            TokenScope { path: &other_path, ..scope },
            TokenScope { root: &other_root, ..scope },
            TokenScope { min: 6, ..scope },
            TokenScope { min: 51, max: 0, ..scope },
            TokenScope { max: 11, ..scope },
            TokenScope { connector: "d", ..scope },
            TokenScope { connector: "c1000", ..scope },
            TokenScope { connector: "", ..scope },
            TokenScope { transfer: 43, ..scope },
            TokenScope { connector: "c4", transfer: 2, ..scope },
        ] {
            assert!(!good(&changed), "{changed:?}");
        }
        let mut wrong = secret();
        wrong.0[31] ^= 1;
        assert!(!check_token(&wrong, &scope, &token, 0));
    }

    #[test]
    fn a_token_expires() {
        let (path, root) = (UrlPath::root(), Digest::default());
        let scope = TokenScope {
            method: Method::Put,
            path: &path,
            root: &root,
            min: 0,
            max: u64::MAX,
            connector: "c",
            transfer: 42,
        };
        let token = make_token(&secret(), &scope, 1000);
        assert!(check_token(&secret(), &scope, &token, 1000));
        assert!(!check_token(&secret(), &scope, &token, 1001));
        // The time cannot be moved without the secret.
        let mac = token.strip_prefix("1000.").unwrap();
        assert!(!check_token(&secret(), &scope, &format!("2000.{mac}"), 1001));
        let for_ever = make_token(&secret(), &scope, u64::MAX);
        assert!(check_token(&secret(), &scope, &for_ever, u64::MAX));
    }

    #[test]
    fn a_token_has_one_spelling() {
        let (path, root) = (UrlPath::root(), Digest::default());
        let scope = TokenScope {
            method: Method::Get,
            path: &path,
            root: &root,
            min: 0,
            max: 0,
            connector: "c",
            transfer: 42,
        };
        let token = make_token(&secret(), &scope, 1000);
        let mac = token.strip_prefix("1000.").unwrap();
        for wrong in [
            String::new(),
            ".".into(),
            "1000".into(),
            "1000.".into(),
            mac.into(),
            format!("+1000.{mac}"),
            format!("01000.{mac}"),
            format!(" 1000.{mac}"),
            format!("1000.{}", mac.to_uppercase()),
            format!("1000.{mac}A"),
            format!("1000.{mac}=="),
            format!("1000.{}", &mac[1..]),
            format!("1000.{mac}."),
            format!("18446744073709551616.{mac}"),
        ] {
            assert!(!check_token(&secret(), &scope, &wrong, 0), "{wrong:?}");
        }
    }

    #[test]
    fn the_kinds_of_values_cannot_stand_in_for_each_other() {
        assert_ne!(make_proof(&secret(), "x"), make_hello(&secret(), "x"));
        assert_ne!(make_hello(&secret(), "x"), make_hello(&secret(), "y"));
        assert_ne!(make_hello(&secret(), "x"), make_hello(&Secret([0; 32]), "x"));
        assert_ne!(mac(&secret(), &[b"ab", b"c"]), mac(&secret(), &[b"a", b"bc"]));
    }

    #[test]
    fn secrets_travel_as_base64_and_never_show() {
        assert_eq!(Secret::from_base64(&secret().to_base64()), Some(secret()));
        for wrong in ["", "AAAA", &"A".repeat(43), &"!".repeat(44), &Secret([1; 32]).to_base64()[1..]] {
            assert_eq!(Secret::from_base64(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }

    #[test]
    fn comparison() {
        assert!(same(b"", b""));
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"abcd"));
    }
}
