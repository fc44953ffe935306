//! What a publisher does on a machine of his own: key files, hashing files, writing and checking sidecars. No network.
//!
//! Not responsible for what is said about it on a terminal, and not for serving: the private key never needs to be
//! where the server is.

mod keyfile;
mod measure;
mod walk;

pub use keyfile::{
    KeyFile, Passphrase, Public, create_secret, passphrase_from, read_passphrase, read_public, read_secret,
    read_text,
};
pub use measure::{Measure, measure, measure_open};
pub use walk::{Found, walk};

use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::content::keys::SecretKey;
use crate::content::{Date, Manifest, SIDECAR_SUFFIX, Sidecar, SidecarError};
use crate::wire::{Base64, FileSignature, UrlPath, limits};

/// What went wrong, on which file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The disk, or what is on it.
    #[error("{what} {}: {error}", .path.display())]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file that should hold a key, a certificate or a signature does not.
    #[error("{}: {reason}", .path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A name that cannot be the path of a URL, or is too long.
    #[error("{}: no file of that name can be served", .0.display())]
    Name(PathBuf),
    /// The file is too large, or changed while it was read.
    #[error("{}: it changed while it was read, or has too many pieces", .0.display())]
    Unstable(PathBuf),
    /// There is a sidecar with signatures over other content, or another name.
    #[error("{}: it has signatures of something else; --force replaces them", .0.display())]
    Exists(PathBuf),
}

impl PublishError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }

    pub(crate) fn content(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Who signs: a private key, and what is shown of it.
#[derive(Debug)]
pub struct Signer {
    key: SecretKey,
    shown: String,
}

impl Signer {
    /// Signs with a bare key.
    pub fn new(key: SecretKey) -> Self {
        let shown = key.public().to_pem();
        Self { key, shown }
    }

    /// Signs with a key and shows certificates, as PEM, the first of which is of that key.
    ///
    /// # Errors
    /// Where it is not.
    pub fn with_chain(key: SecretKey, pem: &str) -> Result<Self, String> {
        let chain = crate::content::x509::Chain::from_pem(pem).map_err(|error| error.to_string())?;
        match chain.key() {
            Ok(public) if public == key.public() => Ok(Self { key, shown: chain.to_pem() }),
            Ok(_) => Err("the first certificate is of another key".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The private key.
    pub fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Signs a manifest. `None` as [`SecretKey::sign`].
    pub fn sign(&self, manifest: &Manifest) -> Option<FileSignature> {
        let manifest = manifest.to_string();
        Some(FileSignature {
            key: self.shown.clone(),
            algorithm: self.key.public().algorithm().name().to_owned(),
            value: Base64(self.key.sign(manifest.as_bytes())?),
            manifest,
        })
    }

    /// Whether a signature shows this very key, and is its own.
    fn has_made(&self, signature: &FileSignature) -> bool {
        signature.key == self.shown
            && self.key.public().verify(signature.manifest.as_bytes(), &signature.value.0).is_ok()
    }
}

/// What became of a file that was to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signed {
    /// The sidecar is new, or was replaced.
    New,
    /// This signature was added to those of others.
    Added,
    /// This key has signed exactly this before.
    Already,
}

/// Signs one file: writes the sidecar beside it. `path` is where the file will be on the server.
///
/// Signatures of others over the same content under the same path are kept. What is there of another content or path
/// is replaced if all of it is this key's own, or with `force`.
///
/// # Errors
/// Where the file cannot be read, the sidecar not be written, or others' signatures would be lost.
pub fn sign_file(
    file: &Path,
    path: &UrlPath,
    signer: &Signer,
    date: Date,
    force: bool,
) -> Result<(Signed, Measure), PublishError> {
    let found = measure(file)?;
    let beside = sidecar_of(file);
    let before = match read_sidecar(&beside) {
        Ok(before) => before,
        Err(_) if force => None,
        Err(error) => return Err(error),
    };
    let manifest =
        Manifest { path: path.clone(), layout: found.layout, root: found.root, sha256: found.sha256, date };
    let (result, sidecar) = match before.filter(|_| !force) {
        Some(before) if Manifest { date, ..before.manifest.clone() } == manifest => {
            if before.signatures.iter().any(|signature| signer.has_made(signature)) {
                return Ok((Signed::Already, found));
            }
            if before.signatures.len() == limits::MAX_SIGNATURES {
                return Err(PublishError::content(&beside, SidecarError::TooLong));
            }
            let mut sidecar = before;
            sidecar.signatures.extend(signer.sign(&sidecar.manifest));
            (Signed::Added, sidecar)
        }
        Some(before) if !before.signatures.iter().all(|signature| signer.has_made(signature)) => {
            return Err(PublishError::Exists(beside));
        }
        _ => {
            let signatures = signer.sign(&manifest).into_iter().collect();
            (Signed::New, Sidecar { manifest, signatures })
        }
    };
    let text = sidecar.to_string();
    // What is written can be read, whatever is in the certificates.
    Sidecar::parse(&text).map_err(|error| PublishError::content(&beside, error))?;
    write_whole(&beside, text.as_bytes())?;
    Ok((result, found))
}

/// Where the sidecar of a file is.
pub fn sidecar_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(SIDECAR_SUFFIX);
    name.into()
}

/// Reads a sidecar; `None` where there is none.
///
/// # Errors
/// Where it cannot be read, or is none.
pub fn read_sidecar(file: &Path) -> Result<Option<Sidecar>, PublishError> {
    match read_text(file, limits::MAX_SIGNATURES_TEXT) {
        Ok(text) => Sidecar::parse(&text).map(Some).map_err(|error| PublishError::content(file, error)),
        Err(PublishError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file such that nobody ever sees half of it.
fn write_whole(file: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let write = || {
        let mut out = std::fs::File::create(&temporary)?;
        out.write_all(bytes)?;
        out.sync_data()?;
        std::fs::rename(&temporary, file)
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        PublishError::io("cannot write", file)(error)
    })
}
