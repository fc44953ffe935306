//! Files that hold keys.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::PublishError;
use crate::content::keys::{PublicKey, SecretError, SecretKey};
use crate::content::x509::{Anchor, Chain};
use crate::wire::limits;

/// Longest passphrase in bytes.
const MAX_PASSPHRASE: usize = 4096;

/// What a key is encrypted with; overwritten when dropped.
pub type Passphrase = Zeroizing<Vec<u8>>;

/// A private key that was read from a file.
#[derive(Debug)]
pub struct KeyFile {
    /// The key.
    pub key: SecretKey,
    /// Others than the owner may read or change the file.
    pub is_open: bool,
}

/// What a file with the public side of a signer holds.
#[derive(Debug)]
pub enum Public {
    /// A bare key.
    Key(Box<PublicKey>),
    /// Certificates; the first, by itself, can be an anchor.
    Certificate(Chain, Box<Anchor>),
}

/// Reads a private key. The passphrase is asked for only if the key is encrypted.
///
/// # Errors
/// Where there is none, or the passphrase is wrong.
pub fn read_secret(
    file: &Path,
    passphrase: impl FnOnce() -> Result<Option<Passphrase>, PublishError>,
) -> Result<KeyFile, PublishError> {
    let text = Zeroizing::new(read_text(file, limits::MAX_KEY_TEXT)?);
    let passphrase = if SecretKey::is_locked(&text) { passphrase()? } else { None };
    let key = SecretKey::from_pem(&text, passphrase.as_ref().map(|bytes| bytes.as_slice()))
        .map_err(|error: SecretError| PublishError::content(file, error))?;
    Ok(KeyFile { key, is_open: is_open(file) })
}

/// The first line of a file: a passphrase.
///
/// # Errors
/// Where the file cannot be read.
pub fn read_passphrase(file: &Path) -> Result<Passphrase, PublishError> {
    let open = File::open(file).map_err(PublishError::io("cannot open", file))?;
    passphrase_from(open).map_err(PublishError::io("cannot read", file))
}

/// The first line of what is to be read from an open file, without its end.
///
/// # Errors
/// Where it cannot be read.
pub fn passphrase_from(from: impl Read) -> std::io::Result<Passphrase> {
    // With room for all of it, so that no copy is left where it grew.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSPHRASE));
    from.take(MAX_PASSPHRASE as u64).read_to_end(&mut line)?;
    let end = line.iter().position(|byte| *byte == b'\n').unwrap_or(line.len());
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(line)
}

/// Writes a new private key, for nobody but the owner, and the public one beside it as `FILE.pub`; returns the name
/// of that.
///
/// # Errors
/// Where one of the files exists, or cannot be written.
pub fn create_secret(file: &Path, pem: &str, public: &PublicKey) -> Result<PathBuf, PublishError> {
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    let beside = PathBuf::from(name);
    if beside.exists() {
        return Err(PublishError::Io {
            what: "cannot make",
            path: beside,
            error: std::io::ErrorKind::AlreadyExists.into(),
        });
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let write = |mut out: File, text: &str| out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    options.open(file).and_then(|out| write(out, pem)).map_err(PublishError::io("cannot make", file))?;
    let public = File::create_new(&beside).and_then(|out| write(out, &public.to_pem()));
    public.map_err(PublishError::io("cannot make", &beside))?;
    Ok(beside)
}

/// Reads a public key or certificate; of a private key that is not encrypted, the public half.
///
/// # Errors
/// Where there is none.
pub fn read_public(file: &Path) -> Result<Public, PublishError> {
    let text = Zeroizing::new(read_text(file, limits::MAX_KEY_TEXT)?);
    let wrong = |error: &dyn std::fmt::Display| PublishError::content(file, error);
    if text.contains("-----BEGIN CERTIFICATE-----") {
        let chain = Chain::from_pem(&text).map_err(|error| wrong(&error))?;
        let anchor = Anchor::from_pem(&text).map_err(|error| wrong(&error))?;
        return Ok(Public::Certificate(chain, Box::new(anchor)));
    }
    if text.contains("PRIVATE KEY-----") {
        let key = SecretKey::from_pem(&text, None).map_err(|error| wrong(&error))?;
        return Ok(Public::Key(Box::new(key.public().clone())));
    }
    PublicKey::from_pem(&text).map(|key| Public::Key(Box::new(key))).map_err(|error| wrong(&error))
}

/// Reads a text file of bounded size.
///
/// # Errors
/// Where it cannot be read, is longer, or not UTF-8.
pub fn read_text(file: &Path, most: usize) -> Result<String, PublishError> {
    let open = File::open(file).map_err(PublishError::io("cannot open", file))?;
    let mut text = String::new();
    open.take(most as u64 + 1).read_to_string(&mut text).map_err(PublishError::io("cannot read", file))?;
    if text.len() > most {
        return Err(PublishError::content(file, format_args!("more than {most} bytes")));
    }
    Ok(text)
}

#[cfg(unix)]
fn is_open(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

// Who may read a file there is in access lists, which the standard library does not know.
#[cfg(not(unix))]
fn is_open(_: &Path) -> bool {
    false
}
