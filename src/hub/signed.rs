//! Signatures of what is served: sidecars that lie beside the files, and the hub's own where it has a key.
//!
//! The hub believes nothing of what a sidecar says but how the file is to be cut, so that it has the root that was
//! signed; clients verify. A sidecar that does not fit its file is not offered.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::fs::Dir;
use sha2::{Digest as _, Sha256};

use super::stamp::{Stamp, read_full_at};
use super::tree::Tree;
use super::version::FileVersion;
use crate::content::{Date, Manifest, PieceSize, SIDECAR_SUFFIX, Sidecar};
use crate::publisher::Signer;
use crate::wire::{Digest, FileSignature, SignedBy, UrlPath, limits};

/// Sidecars kept in memory.
const MAX_KEPT: usize = 4096;
/// All signatures of a file as JSON, so that a message with them fits a frame.
const MAX_JSON: usize = 56 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// The signatures of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    /// Who made them.
    pub by: SignedBy,
    /// All of them; `manifest` is in the first.
    pub signatures: Vec<FileSignature>,
    pub(super) manifest: Manifest,
}

impl Signed {
    /// From the text of a sidecar.
    fn parse(text: &str, by: SignedBy) -> Result<Self, String> {
        let Sidecar { manifest, mut signatures } = Sidecar::parse(text).map_err(|error| error.to_string())?;
        signatures.iter_mut().skip(1).for_each(|signature| signature.manifest.clear());
        let size = serde_json::to_vec(&signatures).map_or(usize::MAX, |json| json.len());
        if size > MAX_JSON {
            return Err("too long to be sent".to_owned());
        }
        Ok(Self { by, signatures, manifest })
    }

    /// Whether this is what was signed.
    pub(super) fn fits(&self, version: &FileVersion) -> bool {
        let Manifest { path, layout, root, .. } = &self.manifest;
        *path == version.path && *layout == version.hashes.layout() && *root == version.root()
    }

    /// The piece size with which a file of this size was signed.
    pub(super) fn piece_size(&self, path: &UrlPath, size: u64) -> Option<PieceSize> {
        let Manifest { layout, path: signed, .. } = &self.manifest;
        (layout.size() == size && signed == path).then(|| layout.piece_size())
    }

    /// The sidecar again.
    pub(super) fn to_text(&self) -> String {
        Sidecar { manifest: self.manifest.clone(), signatures: self.signatures.clone() }.to_string()
    }
}

/// What was read of a sidecar with this stamp; `None` = it is none.
type Read = (Stamp, Option<Arc<Signed>>);

/// Sidecars that were read, by the path of their file, and the hub's own key.
#[derive(Default)]
pub(super) struct Signatures {
    signer: Option<Arc<Signer>>,
    read: Mutex<HashMap<UrlPath, Read>>,
}

impl Signatures {
    pub(super) fn new(signer: Option<Arc<Signer>>) -> Self {
        Self { signer, ..Self::default() }
    }

    /// Whether the hub signs what nobody else has signed.
    pub(super) fn signs(&self) -> bool {
        self.signer.is_some()
    }

    /// The public key that the hub signs with, in PEM.
    pub(super) fn public_key(&self) -> Option<String> {
        self.signer.as_ref().map(|signer| signer.key().public().to_pem())
    }

    /// Whether there is a sidecar of a file in this open directory. One look at the disk.
    pub(super) fn is_beside(&self, tree: &Tree, dir: &Dir, path: &UrlPath) -> bool {
        sidecar_of(path).is_some_and(|beside| tree.stat_in(dir, beside.file_name(), &beside).is_ok())
    }

    /// The sidecar of a file, as it is now. Mostly one look at the disk.
    pub(super) fn beside(&self, tree: &Tree, path: &UrlPath) -> Option<Arc<Signed>> {
        let beside = sidecar_of(path)?;
        let stamp = tree.stat(&beside).ok()?.stamp;
        {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, signed)) = read.get(path).filter(|(known, _)| *known == stamp) {
                return signed.clone();
            }
        }
        let (file, stamp) = tree.open_file(&beside).ok()?;
        let mut text = String::new();
        let most = limits::MAX_SIGNATURES_TEXT as u64 + 1;
        let signed = match file.take(most).read_to_string(&mut text) {
            Ok(_) => Signed::parse(&text, SignedBy::Publisher),
            Err(error) => Err(error.to_string()),
        };
        let signed = signed.map(Arc::new).inspect_err(|why| {
            tracing::warn!(path = %beside, why, "not a sidecar; the file is served without signatures");
        });
        let signed = signed.ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= MAX_KEPT {
            read.clear();
        }
        read.insert(path.clone(), (stamp, signed.clone()));
        signed
    }

    /// The hub's own signature from before, if it is of this version and key.
    pub(super) fn own_from(&self, text: &str, version: &FileVersion) -> Option<Signed> {
        let key = self.signer.as_ref()?.key().public().to_pem();
        let signed = Signed::parse(text, SignedBy::Server).ok()?;
        (signed.fits(version) && signed.signatures.iter().all(|signature| signature.key == key))
            .then_some(signed)
    }

    /// Signs what is on the disk. Reads the whole file, because its digest is in what is signed. `None` without a key,
    /// or when the file cannot be read or is another by now.
    pub(super) fn sign(&self, version: &FileVersion, file: &File) -> Option<Signed> {
        let signer = self.signer.as_ref()?;
        let layout = version.hashes.layout();
        let sha256 = match version.digest {
            Some(digest) => digest,
            None => whole_digest(file, layout.size())?,
        };
        if !version.is_unchanged(file) {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let date = Date::from_unix(now.as_secs())?;
        let manifest = Manifest { path: version.path.clone(), layout, root: version.root(), sha256, date };
        let signatures = vec![signer.sign(&manifest)?];
        Some(Signed { by: SignedBy::Server, signatures, manifest })
    }
}

fn whole_digest(file: &File, size: u64) -> Option<Digest> {
    let (mut hasher, mut buffer, mut at) = (Sha256::new(), vec![0; CHUNK], 0);
    while at < size {
        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(CHUNK);
        let read = read_full_at(file, &mut buffer[..length], at).ok()?;
        if read < length {
            return None;
        }
        hasher.update(&buffer[..length]);
        at += length as u64;
    }
    Some(Digest(hasher.finalize().into()))
}

/// Where the sidecar of a file would be; sidecars themselves have none.
fn sidecar_of(path: &UrlPath) -> Option<UrlPath> {
    let mut name = path.file_name();
    if name.is_empty() || name.ends_with(SIDECAR_SUFFIX.as_bytes()) {
        return None;
    }
    name.extend(SIDECAR_SUFFIX.as_bytes());
    path.parent()?.join(&name).ok()
}
