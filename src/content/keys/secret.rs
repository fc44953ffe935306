//! Private keys: made, read, written (PKCS #8, RFC 5958; encrypted with PBES2, RFC 8018), and used to sign.
//!
//! Not responsible for where the bytes and the passphrase come from. What is secret is overwritten when dropped.

use ::dsa::signature::hazmat::PrehashSigner as _;
use ::dsa::{Components, Generate as _, KeySize};
use der::asn1::OctetStringRef;
use der::{Decode as _, Encode as _};
use ed25519_dalek::Signer as _;
use pkcs8::pkcs5::pbes2;
use pkcs8::rand_core::CryptoRng;
use pkcs8::{
    AlgorithmIdentifierRef, EncodePrivateKey as _, EncodePublicKey as _, EncryptedPrivateKeyInfoRef,
};
use pkcs8::{PrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use super::{Hash, PublicKey, dsa, ecdsa, ed25519};
use crate::content::pem;
use crate::wire::limits;

const PRIVATE_KEY: &str = "PRIVATE KEY";
const ENCRYPTED_PRIVATE_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// A kind of key that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519: small, fast, hard to use wrongly. The default.
    Ed25519,
    /// ECDSA on P-256, for those who have to.
    EcdsaP256,
    /// DSA with p of 2,048 bits, as the protocol was designed.
    Dsa2048,
    /// DSA with p of 3,072 bits. Takes a minute to make.
    Dsa3072,
}

/// Why a private key cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// No PKCS #8 private key in PEM.
    #[error(
        "not a private key in PKCS #8 PEM; `openssl pkcs8 -topk8 -in OLD -out NEW` makes one of other formats"
    )]
    Pem,
    /// It is encrypted, and no passphrase was given.
    #[error("the key is encrypted, and needs its passphrase")]
    Locked,
    /// The passphrase is wrong, or the file was changed.
    #[error("the passphrase is wrong, or the key file is damaged")]
    Passphrase,
    /// Another algorithm, or numbers that are no key.
    #[error("the private key is broken, or of a kind that is not supported")]
    Unsupported,
    /// Its public half is refused.
    #[error(transparent)]
    Public(#[from] super::KeyError),
}

/// A private key.
pub struct SecretKey {
    inner: Inner,
    public: PublicKey,
}

enum Inner {
    Ed25519(ed25519_dalek::SigningKey),
    EcdsaP256(p256::ecdsa::SigningKey),
    Dsa(Box<::dsa::SigningKey>),
}

impl SecretKey {
    /// Makes a key. DSA takes from seconds to a minute, since its primes have to be found.
    pub fn generate(kind: KeyKind, rng: &mut impl CryptoRng) -> Result<Self, SecretError> {
        let dsa = |size, rng: &mut _| {
            let group = Components::try_generate_from_rng_with_key_size(rng, size);
            let key =
                group.and_then(|group| ::dsa::SigningKey::try_generate_from_rng_with_components(rng, group));
            // The error of this generator has no values.
            key.map(|key| Inner::Dsa(Box::new(key))).map_err(|_| SecretError::Unsupported)
        };
        let inner = match kind {
            KeyKind::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                rng.fill_bytes(&mut *seed);
                Inner::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))
            }
            KeyKind::EcdsaP256 => Inner::EcdsaP256(p256::ecdsa::SigningKey::generate_from_rng(rng)),
            KeyKind::Dsa2048 => dsa(KeySize::DSA_2048_256, rng)?,
            KeyKind::Dsa3072 => dsa(KeySize::DSA_3072_256, rng)?,
        };
        Self::checked(inner)
    }

    /// Reads PKCS #8 in PEM, encrypted or not. What OpenSSL's `genpkey` writes can be read.
    pub fn from_pem(text: &str, passphrase: Option<&[u8]>) -> Result<Self, SecretError> {
        if text.len() > limits::MAX_KEY_TEXT {
            return Err(SecretError::Pem);
        }
        if let Some(der) = pem::first(text, PRIVATE_KEY).map(Zeroizing::new) {
            return Self::from_der(&der);
        }
        let der = pem::first(text, ENCRYPTED_PRIVATE_KEY).ok_or(SecretError::Pem)?;
        let passphrase = passphrase.ok_or(SecretError::Locked)?;
        let locked = EncryptedPrivateKeyInfoRef::from_der(&der).map_err(|_| SecretError::Pem)?;
        let document = locked.decrypt(passphrase).map_err(|_| SecretError::Passphrase)?;
        // A wrong passphrase can, rarely, leave a padding that looks right.
        Self::from_der(document.as_bytes()).map_err(|_| SecretError::Passphrase)
    }

    /// Whether the text holds an encrypted key, so that a passphrase has to be asked for.
    pub fn is_locked(text: &str) -> bool {
        text.lines().any(|line| line.trim_end() == format!("-----BEGIN {ENCRYPTED_PRIVATE_KEY}-----"))
    }

    fn from_der(der: &[u8]) -> Result<Self, SecretError> {
        let info = PrivateKeyInfoRef::from_der(der).map_err(|_| SecretError::Unsupported)?;
        let inner = match info.algorithm.oid {
            ed25519::OID => {
                let seed = <&OctetStringRef>::from_der(info.private_key.as_bytes());
                let seed = seed.ok().and_then(|seed| seed.as_bytes().try_into().ok());
                Inner::Ed25519(ed25519_dalek::SigningKey::from_bytes(seed.ok_or(SecretError::Unsupported)?))
            }
            ecdsa::OID => {
                let key = p256::ecdsa::SigningKey::try_from(info);
                Inner::EcdsaP256(key.map_err(|_| SecretError::Unsupported)?)
            }
            dsa::OID => {
                let key = ::dsa::SigningKey::try_from(info);
                Inner::Dsa(Box::new(key.map_err(|_| SecretError::Unsupported)?))
            }
            _ => return Err(SecretError::Unsupported),
        };
        Self::checked(inner)
    }

    /// With its public half, which is held to what strangers' keys are held to, and to belong to it.
    fn checked(inner: Inner) -> Result<Self, SecretError> {
        let der = match &inner {
            Inner::Ed25519(key) => {
                let algorithm = AlgorithmIdentifierRef { oid: ed25519::OID, parameters: None };
                let bytes = key.verifying_key().to_bytes();
                let subject_public_key = der::asn1::BitStringRef::from_bytes(&bytes);
                subject_public_key
                    .and_then(|subject_public_key| {
                        spki::SubjectPublicKeyInfoRef { algorithm, subject_public_key }.to_der()
                    })
                    .ok()
            }
            Inner::EcdsaP256(key) => key.verifying_key().to_public_key_der().ok().map(|der| der.into_vec()),
            Inner::Dsa(key) => key.verifying_key().to_public_key_der().ok().map(|der| der.into_vec()),
        };
        let public = PublicKey::from_der(&der.ok_or(SecretError::Unsupported)?)?;
        let this = Self { inner, public };
        let probe = b"PDTP";
        let signature = this.sign(probe).ok_or(SecretError::Unsupported)?;
        this.public.verify(probe, &signature).map_err(|_| SecretError::Unsupported)?;
        Ok(this)
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Writes PKCS #8 in PEM; with a passphrase encrypted (scrypt, AES-256-CBC), and then random numbers are needed.
    pub fn to_pem(
        &self,
        locked: Option<(&[u8], &mut impl CryptoRng)>,
    ) -> Result<Zeroizing<String>, SecretError> {
        let unsupported = |_| SecretError::Unsupported;
        let document = match &self.inner {
            // By hand: OpenSSL does not read the form with the public key inside.
            Inner::Ed25519(key) => {
                let seed = Zeroizing::new(key.to_bytes());
                let seed = OctetStringRef::new(&*seed).and_then(|seed| seed.to_der()).map(Zeroizing::new);
                let seed = seed.map_err(|_| SecretError::Unsupported)?;
                let algorithm = AlgorithmIdentifierRef { oid: ed25519::OID, parameters: None };
                let seed = OctetStringRef::new(&seed).map_err(|_| SecretError::Unsupported)?;
                let info = PrivateKeyInfoRef::new(algorithm, seed);
                SecretDocument::encode_msg(&info).map_err(|_| SecretError::Unsupported)?
            }
            Inner::EcdsaP256(key) => key.to_pkcs8_der().map_err(unsupported)?,
            Inner::Dsa(key) => key.to_pkcs8_der().map_err(unsupported)?,
        };
        let Some((passphrase, rng)) = locked else {
            return Ok(Zeroizing::new(pem::encode(PRIVATE_KEY, document.as_bytes())));
        };
        let info = PrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_| SecretError::Unsupported)?;
        let parameters = pbes2::Parameters::generate_scrypt(rng).map_err(|_| SecretError::Unsupported)?;
        let document = info.encrypt_with_params(parameters, passphrase).map_err(unsupported)?;
        Ok(Zeroizing::new(pem::encode(ENCRYPTED_PRIVATE_KEY, document.as_bytes())))
    }

    /// Signs. DSA and ECDSA with the nonces of RFC 6979, so the same message has the same signature. `None` with a
    /// chance of 2^-255: a nonce that happens to be of no use.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let digest = || Hash::Sha256.of(message);
        match &self.inner {
            Inner::Ed25519(key) => Some(key.sign(message).to_bytes().to_vec()),
            Inner::EcdsaP256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(&digest()).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Inner::Dsa(key) => {
                let signature: ::dsa::Signature = key.sign_prehash(&digest()).ok()?;
                signature.to_der().ok()
            }
        }
    }
}

/// Shows the public half.
impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("public", &self.public.fingerprint()).finish_non_exhaustive()
    }
}
