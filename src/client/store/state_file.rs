//! `NAME.part.pdtp`: what an unfinished download is, so that it can be listed and taken up again without asking the
//! user. One JSON object. Nothing in it is trusted for content.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::wire::Digest;

/// Version of the format.
pub(super) const FORMAT: u32 = 1;

/// Content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) format: u32,
    /// Where it comes from.
    pub(super) uri: String,
    /// Which version; absent where the server has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Digest>,
    /// Bytes in all.
    pub(super) size: u64,
    pub(super) piece_size: u32,
    /// Bytes verified when this was written.
    pub(super) done: u64,
}

/// Longest state file that is read.
const MAX_STATE: u64 = 64 * 1024;

impl State {
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(MAX_STATE).read_to_end(&mut text)?;
        let state: Self = serde_json::from_slice(&text)?;
        if state.format == FORMAT { Ok(state) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Replaces the file in one step, so that a crash leaves the old one or the new one.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let new = with_suffix(path, ".new");
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path));
        if written.is_err() {
            // On a full disk a half-written file would only be in the way; the error that matters is the first.
            let _ = std::fs::remove_file(&new);
        }
        written
    }
}

/// `NAME.part`.
pub(super) fn part_path(target: &Path) -> PathBuf {
    with_suffix(target, ".part")
}

/// `NAME.part.pdtp`.
pub(super) fn state_path(target: &Path) -> PathBuf {
    with_suffix(target, ".part.pdtp")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
