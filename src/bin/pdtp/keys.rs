//! `pdtp keygen` and `pdtp fingerprint`; passphrases.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use pdtp::client::{Error, ErrorKind};
use pdtp::content::keys::{KeyKind, PublicKey, SecretKey};
use pdtp::content::trust::{Place, Trust, TrustEntry};
use pdtp::publisher::{self, Public, PublishError};
use zeroize::Zeroizing;

use crate::args::{Fingerprint, KeyType, Keygen, Passphrase};
use crate::exit::Failure;
use crate::term;

pub(crate) fn keygen(args: &Keygen) -> Result<(), Failure> {
    let kind = match args.kind {
        KeyType::Ed25519 => KeyKind::Ed25519,
        KeyType::EcdsaP256 => KeyKind::EcdsaP256,
        KeyType::Dsa2048 => KeyKind::Dsa2048,
        KeyType::Dsa3072 => KeyKind::Dsa3072,
    };
    let passphrase = if args.no_passphrase { None } else { new_passphrase(&args.passphrase)? };
    if matches!(args.kind, KeyType::Dsa2048 | KeyType::Dsa3072) && std::io::stderr().is_terminal() {
        eprintln!("looking for the primes of a DSA key; this takes a while");
    }
    let mut rng = UnwrapErr(SysRng);
    let broken = |error| Error::new(ErrorKind::Internal, format!("cannot make a key: {error}"));
    let key = SecretKey::generate(kind, &mut rng).map_err(broken)?;
    let locked = passphrase.as_ref().map(|secret| (secret.as_slice(), &mut rng));
    let pem = key.to_pem(locked).map_err(broken)?;
    let public = publisher::create_secret(&args.file, &pem, key.public()).map_err(failure)?;
    if passphrase.is_none() {
        eprintln!("pdtp: {} is not encrypted: who can read it can sign", shown(&args.file));
    }
    eprintln!("private key: {}", shown(&args.file));
    eprintln!("public key:  {}", shown(&public));
    print_line(&describe(key.public()))
}

pub(crate) fn fingerprint(args: &Fingerprint) -> Result<(), Failure> {
    for file in &args.files {
        let (key, name) = match publisher::read_public(file).map_err(failure)? {
            Public::Key(key) => (*key, None),
            Public::Certificate(chain, _) => {
                let key = chain.key().map_err(|error| failure_of(file, &error))?.clone();
                (key, Some(chain.signer()))
            }
        };
        let name = name.map(|name| format!(" {}", term::safe(name.as_bytes()))).unwrap_or_default();
        print_line(&format!("{}{name} {}", describe(&key), shown(file)))?;
    }
    Ok(())
}

fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.fingerprint(), key.describe())
}

/// Trusts a public key everywhere, or whom a certificate certifies.
pub(crate) fn trust(trust: &mut Trust, file: &Path) -> Result<(), Failure> {
    match publisher::read_public(file).map_err(failure)? {
        Public::Key(key) => trust.add_key(&key, ""),
        Public::Certificate(_, anchor) => {
            let (place, comment) = (Place::Everywhere, String::new());
            trust.add(TrustEntry::Authority { place, anchor, comment });
        }
    }
    Ok(())
}

/// Reads a private key, asking for its passphrase where it has one.
pub(crate) fn read_secret(file: &Path, from: &Passphrase) -> Result<SecretKey, Failure> {
    let mut failed = None;
    let read = publisher::read_secret(file, || {
        let prompt = format!("Passphrase of {}: ", shown(file));
        match passphrase(from, &prompt) {
            Ok(secret) => Ok(secret),
            Err(failure) => {
                failed = Some(failure);
                Ok(None)
            }
        }
    });
    if let Some(failure) = failed {
        return Err(failure);
    }
    let publisher::KeyFile { key, is_open } = read.map_err(failure)?;
    if is_open {
        eprintln!("pdtp: warning: others can read {}; `chmod 600` it", shown(file));
    }
    Ok(key)
}

/// From where the arguments say, or the terminal; `None` where there is neither.
fn passphrase(from: &Passphrase, prompt: &str) -> Result<Option<publisher::Passphrase>, Failure> {
    match (&from.passphrase_file, from.passphrase_fd) {
        (Some(file), _) => publisher::read_passphrase(file).map(Some).map_err(failure),
        (None, Some(fd)) => {
            let read = descriptor(fd).and_then(publisher::passphrase_from);
            let what = format!("cannot read the passphrase from descriptor {fd}");
            Ok(read.map(Some).map_err(|error| Error::io(what, &error))?)
        }
        (None, None) if std::io::stderr().is_terminal() => {
            let typed = rpassword::prompt_password(prompt);
            let typed = typed.map_err(|error| Error::io("cannot read from the terminal", &error))?;
            Ok(Some(Zeroizing::new(typed.into_bytes())))
        }
        (None, None) => Ok(None),
    }
}

/// The same for a new key: typed twice on a terminal, where an empty one means none.
fn new_passphrase(from: &Passphrase) -> Result<Option<publisher::Passphrase>, Failure> {
    let Some(first) = passphrase(from, "Passphrase (empty for none): ")? else { return Ok(None) };
    if first.is_empty() {
        return Ok(None);
    }
    let is_typed = from.passphrase_file.is_none() && from.passphrase_fd.is_none();
    if is_typed && passphrase(from, "The same again: ")?.as_ref() != Some(&first) {
        return Err(Error::new(ErrorKind::Argument, "the two passphrases differ").into());
    }
    Ok(Some(first))
}

/// An inherited descriptor, by the name that the system has for it.
#[cfg(unix)]
fn descriptor(fd: u32) -> std::io::Result<std::fs::File> {
    std::fs::File::open(format!("/dev/fd/{fd}"))
}

#[cfg(not(unix))]
fn descriptor(_: u32) -> std::io::Result<std::fs::File> {
    Err(std::io::ErrorKind::Unsupported.into())
}

pub(crate) fn failure(error: PublishError) -> Failure {
    let kind = match &error {
        PublishError::Io { error, .. } => Error::io("", error).kind,
        PublishError::Exists(_) => ErrorKind::Exists,
        PublishError::Unstable(_) => ErrorKind::Changed,
        _ => ErrorKind::Argument,
    };
    Error::new(kind, error.to_string()).into()
}

pub(crate) fn failure_of(file: &Path, error: &dyn std::fmt::Display) -> Failure {
    Error::new(ErrorKind::Argument, format!("{}: {error}", shown(file))).into()
}

pub(crate) fn shown(file: &Path) -> String {
    term::safe(file.as_os_str().as_encoded_bytes())
}

pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::stdout)
}
