//! Whether a chain leads to an anchor: RFC 5280 section 6.1 without policies.

use der::asn1::BitString;
use der::{Decode as _, Encode as _};
use spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::certificate::Version;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName};
use x509_cert::name::Name;

use super::super::keys::{Algorithm, Hash, KeyError, PublicKey};
use super::{Anchor, Parsed};
use crate::content::Date;

/// Why a chain is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Not certificates.
    #[error("broken certificate")]
    Broken,
    /// Too many certificates, or too long ones.
    #[error("certificate chain too long")]
    TooLong,
    /// A key in it is refused.
    #[error("certificate with a {0}")]
    Key(KeyError),
    /// None of the anchors has certified it.
    #[error("certified by nobody who is trusted")]
    Untrusted,
    /// A signature of a certificate is wrong, or made in a way that is not good enough.
    #[error("certificate of {0:?} with a bad signature")]
    Signature(String),
    /// It is later than a certificate says.
    #[error("certificate of {0:?} that has expired")]
    Expired(String),
    /// It is earlier than a certificate says.
    #[error("certificate of {0:?} that is not valid yet")]
    NotYet(String),
    /// A certificate that may not be used in this place, or says what is not understood.
    #[error("certificate of {0:?}: {1}")]
    Refused(String, &'static str),
}

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const SUBJECT_KEY_ID: ObjectIdentifier = oid("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = oid("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.19");
const NAME_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.30");
const CERTIFICATE_POLICIES: ObjectIdentifier = oid("2.5.29.32");
const AUTHORITY_KEY_ID: ObjectIdentifier = oid("2.5.29.35");
const EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37");

const ANY_USAGE: ObjectIdentifier = oid("2.5.29.37.0");
const CODE_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.3");

/// What is understood of a certificate's extensions.
#[derive(Default)]
struct Extensions {
    basic: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    extended: Option<ExtendedKeyUsage>,
    constraints: Option<NameConstraints>,
    alt_names: Option<SubjectAltName>,
}

pub(super) fn validate(chain: &[Parsed], anchors: &[Anchor], now: Date) -> Result<(), ChainError> {
    // Signers often show the root as well. It adds nothing: either it is an anchor, or it is nobody's word but its own.
    let chain = match chain {
        [path @ .., last]
            if !path.is_empty() && anchors.iter().any(|anchor| anchor.certificate.der == last.der) =>
        {
            path
        }
        all => all,
    };
    let [leaf, ..] = chain else { return Err(ChainError::Untrusted) };
    if let [only] = chain
        && anchors.iter().any(|anchor| anchor.certificate.der == only.der)
    {
        // The signer's own certificate was configured.
        return check_time(only, now).and_then(|()| check_leaf(only));
    }
    let top = chain.last().unwrap_or(leaf);
    let mut why = ChainError::Untrusted;
    for anchor in anchors.iter().filter(|anchor| subject(&anchor.certificate) == issuer(top)) {
        match validate_below(chain, anchor, now) {
            Ok(()) => return Ok(()),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn validate_below(chain: &[Parsed], anchor: &Anchor, now: Date) -> Result<(), ChainError> {
    let mut issuer_of_next = &anchor.certificate;
    // What an anchor's certificate says of those below it is its owner's wish (RFC 5937).
    let own = extensions(&anchor.certificate)?;
    let limit = own.basic.and_then(|basic| basic.path_len_constraint);
    let mut path_length = limit.map_or(usize::MAX, usize::from);
    let mut constraints: Vec<NameConstraints> = own.constraints.into_iter().collect();
    // From the anchor down; the last is the signer's.
    for (below, certificate) in chain.iter().enumerate().rev() {
        let is_leaf = below == 0;
        let refused = |why| ChainError::Refused(certificate.name(), why);
        if issuer(certificate) != subject(issuer_of_next) {
            return Err(refused("it was not issued by the next one"));
        }
        check_signature(certificate, issuer_of_next)?;
        check_time(certificate, now)?;
        let is_self_issued = issuer(certificate) == subject(certificate);
        let extensions = extensions(certificate)?;
        if !is_self_issued || is_leaf {
            for constraint in &constraints {
                check_names(certificate, &extensions, constraint).map_err(refused)?;
            }
        }
        if let Some(usages) = &extensions.extended
            && !usages.0.iter().any(|usage| [ANY_USAGE, CODE_SIGNING].contains(usage))
        {
            return Err(refused("it is for another purpose than signing content"));
        }
        if is_leaf {
            return check_leaf(certificate);
        }
        if certificate.certificate.tbs_certificate().version() != Version::V3 {
            return Err(refused("an issuer's certificate is of version 3"));
        }
        let Some(BasicConstraints { ca: true, path_len_constraint }) = extensions.basic else {
            return Err(refused("it is not that of an issuer"));
        };
        if extensions.usage.is_some_and(|usage| !usage.key_cert_sign()) {
            return Err(refused("its key may not sign certificates"));
        }
        if !is_self_issued {
            path_length =
                path_length.checked_sub(1).ok_or_else(|| refused("the path below an issuer is too long"))?;
        }
        if let Some(limit) = path_len_constraint {
            path_length = path_length.min(usize::from(limit));
        }
        constraints.extend(extensions.constraints);
        issuer_of_next = certificate;
    }
    Err(ChainError::Untrusted)
}

/// What the signer's own certificate must allow.
fn check_leaf(certificate: &Parsed) -> Result<(), ChainError> {
    let usage = extensions(certificate)?.usage;
    if usage.is_some_and(|usage| !usage.digital_signature() && !usage.non_repudiation()) {
        return Err(ChainError::Refused(certificate.name(), "its key may not sign content"));
    }
    Ok(())
}

fn check_time(certificate: &Parsed, now: Date) -> Result<(), ChainError> {
    let validity = certificate.certificate.tbs_certificate().validity();
    if now.unix() > validity.not_after.to_unix_duration().as_secs() {
        return Err(ChainError::Expired(certificate.name()));
    }
    if now.unix() < validity.not_before.to_unix_duration().as_secs() {
        return Err(ChainError::NotYet(certificate.name()));
    }
    Ok(())
}

fn check_signature(certificate: &Parsed, issuer: &Parsed) -> Result<(), ChainError> {
    let bad = || ChainError::Signature(certificate.name());
    let outer = certificate.certificate.signature_algorithm();
    if outer != certificate.certificate.tbs_certificate().signature() {
        return Err(bad());
    }
    let key: &PublicKey = issuer.key.as_ref().map_err(|error| ChainError::Key(error.clone()))?;
    let (algorithm, hash) = signature_algorithm(outer).ok_or_else(bad)?;
    let signature: &BitString = certificate.certificate.signature();
    let signature = signature.as_bytes().ok_or_else(bad)?;
    if key.algorithm() != algorithm {
        return Err(bad());
    }
    key.verify_with(hash, &certificate.tbs, signature).map_err(|_| bad())
}

/// RFC 5758, RFC 8410, RFC 4055; nothing with SHA-1 or less.
fn signature_algorithm(of: &AlgorithmIdentifierOwned) -> Option<(Algorithm, Hash)> {
    const RSA_256: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
    const RSA_384: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
    const RSA_512: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
    const ECDSA_256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
    const ECDSA_384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
    const ECDSA_512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
    const DSA_256: ObjectIdentifier = oid("2.16.840.1.101.3.4.3.2");
    const DSA_384: ObjectIdentifier = oid("2.16.840.1.101.3.4.3.3");
    const DSA_512: ObjectIdentifier = oid("2.16.840.1.101.3.4.3.4");
    const ED25519: ObjectIdentifier = oid("1.3.101.112");
    let (algorithm, hash) = match of.oid {
        RSA_256 => (Algorithm::Rsa, Hash::Sha256),
        RSA_384 => (Algorithm::Rsa, Hash::Sha384),
        RSA_512 => (Algorithm::Rsa, Hash::Sha512),
        ECDSA_256 => (Algorithm::EcdsaP256, Hash::Sha256),
        ECDSA_384 => (Algorithm::EcdsaP256, Hash::Sha384),
        ECDSA_512 => (Algorithm::EcdsaP256, Hash::Sha512),
        DSA_256 => (Algorithm::Dsa, Hash::Sha256),
        DSA_384 => (Algorithm::Dsa, Hash::Sha384),
        DSA_512 => (Algorithm::Dsa, Hash::Sha512),
        ED25519 => (Algorithm::Ed25519, Hash::Sha512),
        _ => return None,
    };
    // RSA has NULL, the others have nothing; some writers leave the NULL out.
    let parameters = of.parameters.as_ref();
    (parameters.is_none() || algorithm == Algorithm::Rsa && parameters.is_some_and(|any| any.is_null()))
        .then_some((algorithm, hash))
}

fn extensions(certificate: &Parsed) -> Result<Extensions, ChainError> {
    let refused = |why| ChainError::Refused(certificate.name(), why);
    let mut found = Extensions::default();
    let all = certificate.certificate.tbs_certificate().extensions().map_or(&[][..], Vec::as_slice);
    for (n, extension) in all.iter().enumerate() {
        if all[..n].iter().any(|before| before.extn_id == extension.extn_id) {
            return Err(refused("an extension is there twice"));
        }
        let bytes = extension.extn_value.as_bytes();
        let broken = |_| refused("an extension is broken");
        match extension.extn_id {
            BASIC_CONSTRAINTS => found.basic = Some(BasicConstraints::from_der(bytes).map_err(broken)?),
            KEY_USAGE => found.usage = Some(KeyUsage::from_der(bytes).map_err(broken)?),
            EXTENDED_KEY_USAGE => found.extended = Some(ExtendedKeyUsage::from_der(bytes).map_err(broken)?),
            NAME_CONSTRAINTS => found.constraints = Some(NameConstraints::from_der(bytes).map_err(broken)?),
            SUBJECT_ALT_NAME => found.alt_names = Some(SubjectAltName::from_der(bytes).map_err(broken)?),
            // Any policy will do, so there is nothing to check; what would change that is critical, and refused below.
            CERTIFICATE_POLICIES | SUBJECT_KEY_ID | AUTHORITY_KEY_ID => {}
            _ if extension.critical => return Err(refused("it makes a condition that is not understood")),
            _ => {}
        }
    }
    Ok(found)
}

/// Directory names are compared with the constraints; constraints on names of other kinds let no certificate through
/// that has such names, since they are not understood.
fn check_names(
    certificate: &Parsed,
    extensions: &Extensions,
    constraints: &NameConstraints,
) -> Result<(), &'static str> {
    let permitted = constraints.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    if permitted.iter().chain(excluded).any(|tree| tree.minimum != 0 || tree.maximum.is_some()) {
        return Err("name constraints of a kind that is not understood");
    }
    let subject_name = certificate.certificate.tbs_certificate().subject();
    let alternative = extensions.alt_names.iter().flat_map(|names| &names.0);
    let mut directory: Vec<&Name> = vec![subject_name];
    let mut others = has_email(subject_name);
    for name in alternative {
        match name {
            GeneralName::DirectoryName(name) => directory.push(name),
            _ => others = true,
        }
    }
    let of_directory = |tree: &GeneralName| match tree {
        GeneralName::DirectoryName(name) => Some(name.clone()),
        _ => None,
    };
    if others && permitted.iter().chain(excluded).any(|tree| of_directory(&tree.base).is_none()) {
        return Err("name constraints of a kind that is not understood");
    }
    for name in directory.into_iter().filter(|name| !name.is_empty()) {
        let within = |tree: &Name| is_within(name, tree);
        if excluded.iter().filter_map(|tree| of_directory(&tree.base)).any(|tree| within(&tree)) {
            return Err("its name is one that its issuer may not certify");
        }
        let mut allowed = permitted.iter().filter_map(|tree| of_directory(&tree.base)).peekable();
        if allowed.peek().is_some() && !allowed.any(|tree| within(&tree)) {
            return Err("its name is not one that its issuer may certify");
        }
    }
    Ok(())
}

/// Whether a name begins with all parts of the other.
fn is_within(name: &Name, tree: &Name) -> bool {
    let mut parts = name.iter_rdn();
    tree.iter_rdn().all(|part| parts.next() == Some(part))
}

fn has_email(name: &Name) -> bool {
    const EMAIL: ObjectIdentifier = oid("1.2.840.113549.1.9.1");
    name.iter().any(|part| part.oid == EMAIL)
}

/// Byte for byte: an issuer that writes its name in two ways is taken for two.
fn subject(of: &Parsed) -> Vec<u8> {
    of.certificate.tbs_certificate().subject().to_der().unwrap_or_default()
}

fn issuer(of: &Parsed) -> Vec<u8> {
    of.certificate.tbs_certificate().issuer().to_der().unwrap_or_default()
}
