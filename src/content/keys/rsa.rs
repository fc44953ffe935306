//! RSA with PKCS #1 v1.5 padding (RFC 8017 section 8.2): for the certificates of those who certify signers. Nothing
//! here signs with it.

use der::Decode as _;
use der::asn1::{AnyRef, UintRef};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, Pkcs1v15Sign};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{Hash, KeyError, SignatureError};

pub(super) const OID: ObjectIdentifier = super::oid("1.2.840.113549.1.1.1");
const MIN_BITS: u32 = 2048;
const MAX_BITS: u32 = 8192;

#[derive(Debug, Clone)]
pub(super) struct Key(rsa::PublicKey);

impl Key {
    pub(super) fn parse(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        if info.algorithm.parameters != Some(AnyRef::NULL) {
            return Err(KeyError::Der("RSA parameters"));
        }
        let bytes = info.subject_public_key.as_bytes().ok_or(KeyError::Der("unused bits"))?;
        let (n, e) = AnyRef::from_der(bytes)
            .and_then(|key| {
                key.sequence(|reader| {
                    Ok::<_, der::Error>((UintRef::decode(reader)?, UintRef::decode(reader)?))
                })
            })
            .map_err(|_| KeyError::Der("RSA public key"))?;
        let number = |of: UintRef<'_>| BoxedUint::from_be_slice_vartime(of.as_bytes());
        let (n, e) = (number(n), number(e));
        if n.bit_width_vartime() < MIN_BITS || n.bit_width_vartime() > MAX_BITS {
            return Err(KeyError::Unsupported(format!("RSA of {} bits", n.bit_width_vartime())));
        }
        // Bounds e from above, too: large ones cost time (RFC 8017 knows no reason for them).
        let key = rsa::PublicKey::new(n, e).map_err(|_| KeyError::Weak("RSA modulus or exponent"))?;
        Ok(Self(key))
    }

    pub(super) fn bits(&self) -> u32 {
        self.0.n().bit_width_vartime()
    }

    pub(super) fn verify(&self, hash: Hash, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if signature.len() != self.0.size() {
            return Err(SignatureError::Malformed);
        }
        let scheme = match hash {
            Hash::Sha256 => Pkcs1v15Sign::new::<sha2::Sha256>(),
            Hash::Sha384 => Pkcs1v15Sign::new::<sha2::Sha384>(),
            Hash::Sha512 => Pkcs1v15Sign::new::<sha2::Sha512>(),
        };
        self.0.verify(scheme, digest, signature).map_err(|_| SignatureError::Mismatch)
    }
}
