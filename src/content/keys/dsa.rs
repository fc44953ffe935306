//! DSA with a q of 256 bits (FIPS 186-4; in SubjectPublicKeyInfo: RFC 3279 section 2.3.2). What the protocol was
//! designed with.
//!
//! Unlike a curve, the group comes with the key, so a stranger chooses the numbers. They are checked as FIPS 186-4
//! appendix A asks: p and q prime, g and y of order q.

use crypto_primes::{Flavor, is_prime};
use der::asn1::UintRef;
use der::{Decode as _, Reader as _, SliceReader};
use dsa::signature::hazmat::PrehashVerifier as _;
use dsa::{BoxedUint, Components, Signature, VerifyingKey};
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::{KeyError, SignatureError};

pub(super) const OID: ObjectIdentifier = super::oid("1.2.840.10040.4.1");
/// Bits of q, and so of r and s.
const Q_BITS: u32 = 256;

#[derive(Debug, Clone)]
pub(super) struct Key(VerifyingKey);

impl Key {
    pub(super) fn parse(info: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        let broken = |_| KeyError::Der("DSA parameters");
        // RFC 3279 lets a certificate inherit them from its issuer; without them there is no key here.
        let parameters = info.algorithm.parameters.ok_or(KeyError::Der("DSA without parameters"))?;
        let (p, q, g) = parameters
            .sequence(|reader| {
                let mut number = || UintRef::decode(reader);
                Ok::<_, der::Error>((number()?, number()?, number()?))
            })
            .map_err(broken)?;
        let y = info.subject_public_key.as_bytes().ok_or(KeyError::Der("unused bits"))?;
        let y = UintRef::from_der(y).map_err(|_| KeyError::Der("DSA public value"))?;

        // Before any arithmetic, so that the time it takes is bounded.
        let (p_bits, q_bits) = (bits(&p), bits(&q));
        if !matches!(p_bits, 2048 | 3072) || q_bits != Q_BITS {
            return Err(KeyError::Unsupported(format!("DSA {p_bits}/{q_bits}; 2048/256 and 3072/256 are")));
        }
        if g.as_bytes().len() > p.as_bytes().len() || y.as_bytes().len() > p.as_bytes().len() {
            return Err(KeyError::Weak("g or y is larger than p"));
        }
        let number = |of: &UintRef<'_>, bits: u32| {
            BoxedUint::from_be_slice(of.as_bytes(), bits).map_err(|_| KeyError::Der("DSA number"))
        };
        let (p, q) = (number(&p, p_bits)?, number(&q, Q_BITS)?);
        let (g, y) = (number(&g, p_bits)?, number(&y, p_bits)?);
        if y >= p {
            return Err(KeyError::Weak("y is larger than p"));
        }
        // The cheaper first.
        if !is_prime(Flavor::Any, &q) {
            return Err(KeyError::Weak("q is not prime"));
        }
        let components = Components::from_components(p, q, g.clone())
            .map_err(|_| KeyError::Weak("p is even, or g is not in the group"))?;
        // A key with y = g is made for its check alone: above 1, and g^q = 1 (mod p).
        let of_order_q = |value: BoxedUint| VerifyingKey::from_components(components.clone(), value);
        let _: VerifyingKey = of_order_q(g).map_err(|_| KeyError::Weak("g is not of order q"))?;
        let key = of_order_q(y).map_err(|_| KeyError::Weak("y is not in the group of g"))?;
        if !is_prime(Flavor::Any, components.p().as_ref()) {
            return Err(KeyError::Weak("p is not prime"));
        }
        Ok(Self(key))
    }

    /// Bits of p.
    pub(super) fn bits(&self) -> u32 {
        self.0.components().p().bit_width()
    }

    pub(super) fn verify(&self, digest: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let signature = parse_signature(signature).ok_or(SignatureError::Malformed)?;
        let q = self.0.components().q();
        if signature.r() >= q || signature.s() >= q {
            return Err(SignatureError::Malformed);
        }
        self.0.verify_prehash(digest, &signature).map_err(|_| SignatureError::Mismatch)
    }
}

/// SEQUENCE of r and s, strictly: positive numbers of at most 256 bits, in DER, and nothing behind.
fn parse_signature(bytes: &[u8]) -> Option<Signature> {
    let mut reader = SliceReader::new(bytes).ok()?;
    let (r, s) = reader
        .sequence(|inner| Ok::<_, der::Error>((UintRef::decode(inner)?, UintRef::decode(inner)?)))
        .ok()?;
    reader.finish().ok()?;
    let number = |of: UintRef<'_>| BoxedUint::from_be_slice(of.as_bytes(), Q_BITS).ok();
    // Refuses zero.
    Signature::from_components(number(r)?, number(s)?)
}

fn bits(number: &UintRef<'_>) -> u32 {
    let bytes = number.as_bytes();
    let first = bytes.first().map_or(0, |first| first.leading_zeros());
    // At most MAX_KEY bytes.
    bytes.len() as u32 * 8 - first
}
