//! The file beside a file that says who signed it: `NAME.pdtpsig`. Text, such that it can be mailed, compared, and
//! taken apart with a shell.
//!
//! ```text
//! PDTP-Manifest: 1                  the manifest, exactly as it was signed
//! …
//! Date: 2026-11-22T10:00:00Z
//!                                   an empty line
//! Signature: ed25519 BASE64         for each signature: algorithm, value,
//! -----BEGIN PUBLIC KEY-----        and the key in PEM, or a chain of certificates
//! …
//! -----END PUBLIC KEY-----
//! ```

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Manifest, ManifestError};
use crate::wire::{Base64, FileSignature, limits};

/// What is added to the name of a file for that of its sidecar.
pub const SIDECAR_SUFFIX: &str = ".pdtpsig";

/// A manifest, and the signatures over it. Parsed, not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sidecar {
    /// What was signed.
    pub manifest: Manifest,
    /// By whom. Of each, `manifest` is the text of the manifest.
    pub signatures: Vec<FileSignature>,
}

/// Why a text is not a sidecar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SidecarError {
    /// More than [`limits::MAX_SIGNATURES_TEXT`] bytes, or [`limits::MAX_SIGNATURES`] signatures.
    #[error("too long: at most 8 signatures, and 48 KiB in all")]
    TooLong,
    /// The first part is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The line with this number, counted from 1, should not be there.
    #[error("line {0} makes no sense")]
    Line(usize),
    /// There is a manifest, and nobody signed it.
    #[error("no signature")]
    Empty,
}

impl Sidecar {
    /// Reads a sidecar. Bounded by its size; keys and signatures are not looked into.
    ///
    /// # Errors
    /// Where the text is not one.
    pub fn parse(text: &str) -> Result<Self, SidecarError> {
        if text.len() > limits::MAX_SIGNATURES_TEXT {
            return Err(SidecarError::TooLong);
        }
        let (signed, rest) = text.find("\n\n").map_or((text, ""), |at| text.split_at(at + 1));
        let manifest = Manifest::parse(signed)?;
        let first = signed.lines().count() + 1;
        let mut signatures: Vec<FileSignature> = Vec::new();
        let mut in_block = false;
        for (n, line) in rest.lines().enumerate() {
            let wrong = || SidecarError::Line(first + n);
            if in_block || line.starts_with("-----BEGIN ") {
                let key = &mut signatures.last_mut().ok_or_else(wrong)?.key;
                key.push_str(line);
                key.push('\n');
                if key.len() > limits::MAX_KEY_TEXT {
                    return Err(wrong());
                }
                in_block = !line.starts_with("-----END ");
            } else if let Some(signature) = line.strip_prefix("Signature: ") {
                if signatures.len() == limits::MAX_SIGNATURES {
                    return Err(SidecarError::TooLong);
                }
                let (algorithm, value) = signature.split_once(' ').ok_or_else(wrong)?;
                let value = STANDARD.decode(value).map_err(|_| wrong())?;
                let (algorithm, manifest) = (algorithm.to_owned(), signed.to_owned());
                signatures.push(FileSignature {
                    key: String::new(),
                    algorithm,
                    value: Base64(value),
                    manifest,
                });
            } else if !line.is_empty() {
                return Err(wrong());
            }
        }
        match signatures.last() {
            None => Err(SidecarError::Empty),
            Some(last) if in_block || last.key.is_empty() => Err(SidecarError::Line(text.lines().count())),
            Some(_) => Ok(Self { manifest, signatures }),
        }
    }
}

impl fmt::Display for Sidecar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.manifest)?;
        for FileSignature { key, algorithm, value, .. } in &self.signatures {
            write!(f, "\nSignature: {algorithm} {}\n{key}", STANDARD.encode(&value.0))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::manifest::tests::example;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";

    fn sidecar(count: usize) -> Sidecar {
        let manifest = example();
        let one = FileSignature {
            key: KEY.to_owned(),
            algorithm: "ed25519".to_owned(),
            value: Base64(vec![1, 2, 3]),
            manifest: manifest.to_string(),
        };
        Sidecar { manifest, signatures: vec![one; count] }
    }

    #[test]
    fn what_is_written_is_read() {
        for count in [1, 2, limits::MAX_SIGNATURES] {
            let sidecar = sidecar(count);
            assert_eq!(Sidecar::parse(&sidecar.to_string()), Ok(sidecar));
        }
        let mut chain = sidecar(1);
        chain.signatures[0].key = format!("{KEY}{KEY}").replace("PUBLIC KEY", "CERTIFICATE");
        assert_eq!(Sidecar::parse(&chain.to_string()), Ok(chain));
    }

    #[test]
    fn what_is_not_a_sidecar_is_refused() {
        let text = sidecar(1).to_string();
        for (from, to, error) in [
            ("Date", "date", SidecarError::Manifest(ManifestError::Line("Date"))),
            ("\n\nSig", "\nSig", SidecarError::Manifest(ManifestError::Spelling)),
            ("Signature: ", "Signatur: ", SidecarError::Line(9)),
            ("ed25519 ", "ed25519", SidecarError::Line(9)),
            ("AQID", "AQ=D", SidecarError::Line(9)),
            ("-----BEGIN", "----BEGIN", SidecarError::Line(10)),
            ("-----END", "----END", SidecarError::Line(12)),
            ("-----END PUBLIC KEY-----\n", "-----END PUBLIC KEY-----\nx\n", SidecarError::Line(13)),
        ] {
            let wrong = text.replacen(from, to, 1);
            assert_ne!(wrong, text, "{from}");
            assert_eq!(Sidecar::parse(&wrong), Err(error), "{from} -> {to}");
        }
        assert_eq!(Sidecar::parse(&example().to_string()), Err(SidecarError::Empty));
        let many = sidecar(limits::MAX_SIGNATURES + 1).to_string();
        assert_eq!(Sidecar::parse(&many), Err(SidecarError::TooLong));
        let long = text + &"\n".repeat(limits::MAX_SIGNATURES_TEXT);
        assert_eq!(Sidecar::parse(&long), Err(SidecarError::TooLong));
    }
}
