use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::PublishError;
use crate::content::SIDECAR_SUFFIX;
use crate::wire::UrlPath;

/// Directories within directories, at most.
const MAX_DEPTH: usize = 64;

/// A file below a directory, and where it is on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Here.
    pub file: PathBuf,
    /// There.
    pub path: UrlPath,
}

/// All files below `dir`, which is `prefix` on the server, in the order of their names. As the server does, it passes
/// over names that begin with a dot; sidecars are no files of their own here. Symbolic links to files are files; those
/// to directories are not followed.
///
/// # Errors
/// Where a directory cannot be read, or a name cannot be served.
pub fn walk(dir: &Path, prefix: &UrlPath) -> Result<Vec<Found>, PublishError> {
    let mut found = Vec::new();
    descend(dir, prefix, 0, &mut found)?;
    Ok(found)
}

fn descend(dir: &Path, prefix: &UrlPath, depth: usize, found: &mut Vec<Found>) -> Result<(), PublishError> {
    let io = || PublishError::io("cannot read the directory", dir);
    if depth > MAX_DEPTH {
        return Err(PublishError::Name(dir.to_owned()));
    }
    let mut entries = std::fs::read_dir(dir).map_err(io())?.collect::<Result<Vec<_>, _>>().map_err(io())?;
    entries.sort_unstable_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.starts_with(b".") || bytes.ends_with(SIDECAR_SUFFIX.as_bytes()) {
            continue;
        }
        let file = entry.path();
        let path = join(prefix, &name).ok_or_else(|| PublishError::Name(file.clone()))?;
        let kind = entry.file_type().map_err(PublishError::io("cannot look at", &file))?;
        if kind.is_dir() {
            descend(&file, &path, depth + 1, found)?;
        } else if kind.is_file() || (kind.is_symlink() && file.is_file()) {
            found.push(Found { file, path });
        }
    }
    Ok(())
}

/// The path on the server of a file of this name.
fn join(prefix: &UrlPath, name: &OsStr) -> Option<UrlPath> {
    #[cfg(unix)]
    let bytes = {
        use std::os::unix::ffi::OsStrExt as _;
        Some(name.as_bytes())
    };
    #[cfg(not(unix))]
    let bytes = name.to_str().map(str::as_bytes);
    prefix.join(bytes?).ok()
}

impl Found {
    /// A single file, which is in the directory `prefix` on the server.
    ///
    /// # Errors
    /// Where it has no name that can be served.
    pub fn single(file: &Path, prefix: &UrlPath) -> Result<Self, PublishError> {
        let path = file.file_name().and_then(|name| join(prefix, name));
        let path = path.ok_or_else(|| PublishError::Name(file.to_owned()))?;
        Ok(Self { file: file.to_owned(), path })
    }
}
