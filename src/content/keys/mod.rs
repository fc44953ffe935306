//! Public keys and signatures: reading, checking, verifying. Private keys are in `secret`, which the library for C
//! programs does not contain.
//!
//! A key that comes from a stranger is checked before any use, and within bounded time: sizes first, arithmetic then.
//! What a key is worth is decided elsewhere ([`super::trust`]).

mod dsa;
mod ecdsa;
mod ed25519;
mod rsa;
#[cfg(feature = "sign")]
mod secret;
#[cfg(test)]
mod vectors;

#[cfg(feature = "sign")]
pub use secret::{KeyKind, SecretError, SecretKey};

use std::fmt;
use std::str::FromStr;

use der::{Decode as _, Encode as _};
use sha2::Digest as _;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::wire::{Digest, limits};

/// SHA-256 of a key's SubjectPublicKeyInfo in DER: the name of the key. 64 lower-case hex digits in text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub Digest);

impl Fingerprint {
    /// The first 16 digits: enough to tell keys apart at a glance, not to trust one.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(16);
        text
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fingerprint {
    type Err = crate::wire::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How signatures are made. The names are those of `signatures[].algorithm` on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032) of the bytes themselves.
    Ed25519,
    /// ECDSA on P-256 with SHA-256, DER (FIPS 186-5).
    EcdsaP256,
    /// DSA with SHA-256, p of 2,048 or 3,072 bits, q of 256, DER (FIPS 186-4).
    Dsa,
    /// RSA of 2,048 to 8,192 bits, PKCS #1 v1.5. In certificates only.
    Rsa,
}

impl Algorithm {
    /// As on the wire and in sidecars.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256-sha256",
            Self::Dsa => "dsa-sha256",
            Self::Rsa => "rsa-sha256",
        }
    }

    /// The one with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Ed25519, Self::EcdsaP256, Self::Dsa, Self::Rsa].into_iter().find(|this| this.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The digest that is signed. Manifests are always signed with SHA-256; certificates may have longer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    fn of(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha2::Sha256::digest(message).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(message).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(message).to_vec(),
        }
    }
}

/// Why a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// More than [`limits::MAX_KEY_TEXT`] bytes.
    #[error("key too long")]
    TooLong,
    /// No `-----BEGIN PUBLIC KEY-----`.
    #[error("not a public key in PEM")]
    Pem,
    /// The DER inside is broken, not in its one encoding, or followed by something.
    #[error("broken key: {0}")]
    Der(&'static str),
    /// Another algorithm, curve or parameter.
    #[error("key of a kind that is not supported: {0}")]
    Unsupported(String),
    /// The numbers are not those of a key.
    #[error("dangerous key: {0}")]
    Weak(&'static str),
}

/// Why a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Not one encoding of a signature of this kind: wrong length, broken DER, numbers out of range.
    #[error("malformed signature")]
    Malformed,
    /// It was not made by this key over these bytes.
    #[error("the signature does not match")]
    Mismatch,
}

/// A public key that was checked.
#[derive(Debug, Clone)]
pub struct PublicKey {
    inner: Inner,
    spki: Vec<u8>,
    fingerprint: Fingerprint,
}

#[derive(Debug, Clone)]
enum Inner {
    Ed25519(ed25519::Key),
    EcdsaP256(ecdsa::Key),
    Dsa(Box<dsa::Key>),
    Rsa(Box<rsa::Key>),
}

impl PublicKey {
    /// From a SubjectPublicKeyInfo in PEM, `-----BEGIN PUBLIC KEY-----`, as OpenSSL writes it. Text around it is
    /// skipped; a second key is not looked at.
    ///
    /// # Errors
    /// For keys that are broken, of a kind that is not supported, or dangerous: see [`KeyError`].
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > limits::MAX_KEY_TEXT {
            return Err(KeyError::TooLong);
        }
        let block = super::pem::first(text, super::pem::PUBLIC_KEY).ok_or(KeyError::Pem)?;
        Self::from_der(&block)
    }

    /// From a SubjectPublicKeyInfo in DER (RFC 5280 section 4.1).
    pub fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        // OpenSSL's own limit for a modulus is larger; ours is in `rsa`.
        if der.len() > MAX_KEY {
            return Err(KeyError::TooLong);
        }
        let info =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|_| KeyError::Der("SubjectPublicKeyInfo"))?;
        // A key that could be written in two ways would have two fingerprints.
        if info.to_der().ok().as_deref() != Some(der) {
            return Err(KeyError::Der("not in its one encoding"));
        }
        let inner = match info.algorithm.oid {
            ed25519::OID => Inner::Ed25519(ed25519::Key::parse(&info)?),
            ecdsa::OID => Inner::EcdsaP256(ecdsa::Key::parse(&info)?),
            dsa::OID => Inner::Dsa(Box::new(dsa::Key::parse(&info)?)),
            rsa::OID => Inner::Rsa(Box::new(rsa::Key::parse(&info)?)),
            other => return Err(KeyError::Unsupported(format!("algorithm {other}"))),
        };
        let fingerprint = Fingerprint(Digest(sha2::Sha256::digest(der).into()));
        Ok(Self { inner, spki: der.to_vec(), fingerprint })
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        super::pem::encode(super::pem::PUBLIC_KEY, &self.spki)
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn as_der(&self) -> &[u8] {
        &self.spki
    }

    /// Its name.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How its signatures are made.
    pub fn algorithm(&self) -> Algorithm {
        match self.inner {
            Inner::Ed25519(_) => Algorithm::Ed25519,
            Inner::EcdsaP256(_) => Algorithm::EcdsaP256,
            Inner::Dsa(_) => Algorithm::Dsa,
            Inner::Rsa(_) => Algorithm::Rsa,
        }
    }

    /// Its kind and size for people: `DSA 2048/256`.
    pub fn describe(&self) -> String {
        match &self.inner {
            Inner::Ed25519(_) => "Ed25519".to_owned(),
            Inner::EcdsaP256(_) => "ECDSA P-256".to_owned(),
            Inner::Dsa(key) => format!("DSA {}/256", key.bits()),
            Inner::Rsa(key) => format!("RSA {}", key.bits()),
        }
    }

    /// Whether `signature` is this key's over `message`.
    ///
    /// # Errors
    /// Where it is not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.verify_with(Hash::Sha256, message, signature)
    }

    /// The same with the digest that a certificate names.
    pub(super) fn verify_with(
        &self,
        hash: Hash,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        if signature.len() > limits::MAX_SIGNATURE {
            return Err(SignatureError::Malformed);
        }
        match &self.inner {
            Inner::Ed25519(key) => key.verify(message, signature),
            Inner::EcdsaP256(key) => key.verify(&hash.of(message), signature),
            Inner::Dsa(key) => key.verify(&hash.of(message), signature),
            Inner::Rsa(key) => key.verify(hash, &hash.of(message), signature),
        }
    }
}

/// Keys are the same when they are encoded the same.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

/// Longest SubjectPublicKeyInfo in bytes: DSA of 3,072 bits has about 1,200, RSA of 8,192 bits about 1,060.
const MAX_KEY: usize = 2048;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}
