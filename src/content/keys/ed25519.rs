//! Ed25519 (RFC 8032; in SubjectPublicKeyInfo: RFC 8410).

use ed25519_dalek::{Signature, VerifyingKey};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{KeyError, SignatureError};

pub(super) const OID: ObjectIdentifier = super::oid("1.3.101.112");

#[derive(Debug, Clone)]
pub(super) struct Key(VerifyingKey);

impl Key {
    pub(super) fn parse(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        if info.algorithm.parameters.is_some() {
            return Err(KeyError::Der("Ed25519 has no parameters"));
        }
        let bytes = info.subject_public_key.as_bytes().and_then(|bytes| bytes.try_into().ok());
        let key = VerifyingKey::from_bytes(bytes.ok_or(KeyError::Der("an Ed25519 key has 32 bytes"))?);
        let key = key.map_err(|_| KeyError::Weak("not a point of the curve"))?;
        // Such a key has signatures that are good for every message.
        if key.is_weak() {
            return Err(KeyError::Weak("a point of small order"));
        }
        Ok(Self(key))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let signature = Signature::from_slice(signature).map_err(|_| SignatureError::Malformed)?;
        // Strict: the signature is in its one encoding, and everybody who checks comes to the same verdict.
        self.0.verify_strict(message, &signature).map_err(|_| SignatureError::Mismatch)
    }
}
