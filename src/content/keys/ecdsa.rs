//! ECDSA on P-256 (FIPS 186-5; in SubjectPublicKeyInfo: RFC 5480).

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{KeyError, SignatureError};

pub(super) const OID: ObjectIdentifier = super::oid("1.2.840.10045.2.1");
const P256: ObjectIdentifier = super::oid("1.2.840.10045.3.1.7");

#[derive(Debug, Clone)]
pub(super) struct Key(VerifyingKey);

impl Key {
    pub(super) fn parse(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        // Curves that are spelled out are refused with all others: they need not be what they seem.
        if info.algorithm.parameters_oid() != Ok(P256) {
            return Err(KeyError::Unsupported("a curve other than P-256".to_owned()));
        }
        let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Der("unused bits"))?;
        let key = VerifyingKey::from_sec1_bytes(bytes);
        key.map(Self).map_err(|_| KeyError::Weak("not a point of the curve"))
    }

    pub(super) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        // Refuses r and s of 0 or not below the order of the curve, and every encoding but DER.
        let signature = Signature::from_der(signature).map_err(|_| SignatureError::Malformed)?;
        self.0.verify_prehash(digest, &signature).map_err(|_| SignatureError::Mismatch)
    }
}
