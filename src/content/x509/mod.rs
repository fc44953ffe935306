//! Certificates: a signer may show a chain of them instead of a bare key, and is trusted as far as who certified him.
//!
//! Reading is done by the crate `x509-cert`; deciding is done in `path`, after RFC 5280 section 6.1, and refuses
//! what it does not know. Not done: revocation (who has lost a key is told with `@revoked` in the trust file),
//! policies, chains in any other order than from the signer upwards, and names that are equal only after case
//! folding.

mod path;
#[cfg(test)]
mod pkits;

pub use path::ChainError;

use der::{Decode as _, Reader as _, SliceReader};
use x509_cert::Certificate;

use super::keys::{Fingerprint, KeyError, PublicKey};
use super::{Date, pem};
use crate::wire::limits;

/// A signer's certificates: his own first, each certified by the next.
#[derive(Debug, Clone)]
pub struct Chain {
    certificates: Vec<Parsed>,
}

/// Somebody who is trusted to certify: a name, a key, and the constraints that its certificate names. How long that
/// is valid does not count (RFC 5280 section 6.1.1 d): an anchor is good until it is taken away.
#[derive(Debug, Clone)]
pub struct Anchor {
    certificate: Parsed,
}

#[derive(Debug, Clone)]
struct Parsed {
    der: Vec<u8>,
    /// The bytes that were signed.
    tbs: Vec<u8>,
    certificate: Certificate,
    /// An error counts only where the key is needed.
    key: Result<PublicKey, KeyError>,
}

impl Chain {
    /// From `-----BEGIN CERTIFICATE-----` blocks.
    ///
    /// # Errors
    /// Where one is broken, or there are none or more than [`limits::MAX_CHAIN`].
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        if text.len() > limits::MAX_KEY_TEXT {
            return Err(ChainError::TooLong);
        }
        let blocks = pem::blocks(text, pem::CERTIFICATE);
        let ders: Option<Vec<_>> = blocks.take(limits::MAX_CHAIN + 1).collect();
        Self::from_der(ders.ok_or(ChainError::Broken)?)
    }

    /// From certificates in DER.
    ///
    /// # Errors
    /// As [`Chain::from_pem`].
    pub fn from_der(ders: Vec<Vec<u8>>) -> Result<Self, ChainError> {
        match ders.len() {
            0 => return Err(ChainError::Broken),
            length if length > limits::MAX_CHAIN => return Err(ChainError::TooLong),
            _ => {}
        }
        let certificates = ders.into_iter().map(Parsed::from_der).collect::<Result<_, _>>()?;
        Ok(Self { certificates })
    }

    /// The signer's own key.
    ///
    /// # Errors
    /// Where it is of a kind that is not supported, or dangerous.
    pub fn key(&self) -> Result<&PublicKey, ChainError> {
        self.leaf().key.as_ref().map_err(|error| ChainError::Key(error.clone()))
    }

    /// Whom the signer's own certificate names: his common name, or all of the name where there is none.
    pub fn signer(&self) -> String {
        self.leaf().name()
    }

    /// In PEM.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|one| pem::encode(pem::CERTIFICATE, &one.der)).collect()
    }

    /// Whether the signer is certified, through this chain, by one of the anchors at this time.
    ///
    /// # Errors
    /// Why he is not.
    pub fn validate(&self, anchors: &[Anchor], now: Date) -> Result<(), ChainError> {
        path::validate(&self.certificates, anchors, now)
    }

    fn leaf(&self) -> &Parsed {
        // `from_der` lets no empty chain through.
        &self.certificates[0]
    }
}

impl Anchor {
    /// From the first `-----BEGIN CERTIFICATE-----` block.
    ///
    /// # Errors
    /// Where there is none, or its key cannot be used.
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        Self::from_der(pem::first(text, pem::CERTIFICATE).ok_or(ChainError::Broken)?)
    }

    /// From a certificate in DER.
    ///
    /// # Errors
    /// Where it is broken, or its key cannot be used.
    pub fn from_der(der: Vec<u8>) -> Result<Self, ChainError> {
        let certificate = Parsed::from_der(der)?;
        match &certificate.key {
            Ok(_) => Ok(Self { certificate }),
            Err(error) => Err(ChainError::Key(error.clone())),
        }
    }

    /// Whom it names.
    pub fn name(&self) -> String {
        self.certificate.name()
    }

    /// The name of its key; `None` never, since [`Anchor::from_der`] refuses keys that cannot be used.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.certificate.key.as_ref().ok().map(PublicKey::fingerprint)
    }

    /// The whole certificate.
    pub fn as_der(&self) -> &[u8] {
        &self.certificate.der
    }
}

impl Parsed {
    fn from_der(der: Vec<u8>) -> Result<Self, ChainError> {
        if der.len() > limits::MAX_KEY_TEXT {
            return Err(ChainError::TooLong);
        }
        let certificate = Certificate::from_der(&der).map_err(|_| ChainError::Broken)?;
        let (tbs, spki) = raw_parts(&der).ok_or(ChainError::Broken)?;
        let (tbs, key) = (tbs.to_vec(), PublicKey::from_der(spki));
        Ok(Self { der, tbs, certificate, key })
    }

    fn name(&self) -> String {
        let subject = self.certificate.tbs_certificate().subject();
        let common = subject.common_name().ok().flatten().map(|name| name.value().into_owned());
        common.filter(|name| !name.is_empty()).unwrap_or_else(|| subject.to_string())
    }
}

/// The bytes of the signed part and of the key in it, as they were sent: what is verified is not what was understood
/// and written again.
fn raw_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let part = |bytes, at: usize, optional: Option<u8>| {
        SliceReader::new(bytes)
            .and_then(|mut reader| {
                reader.sequence(|inner: &mut SliceReader<'_>| {
                    let mut part = inner.tlv_bytes()?;
                    // The version is there only where it is not the first.
                    let skip = at + usize::from(optional.is_some_and(|tag| part.first() == Some(&tag)));
                    for _ in 0..skip {
                        part = inner.tlv_bytes()?;
                    }
                    while !inner.is_finished() {
                        inner.tlv_bytes()?;
                    }
                    Ok::<_, der::Error>(part)
                })
            })
            .ok()
    };
    const VERSION: u8 = 0xa0;
    let tbs = part(der, 0, None)?;
    // version, serial number, signature, issuer, validity, subject, key.
    Some((tbs, part(tbs, 5, Some(VERSION))?))
}
