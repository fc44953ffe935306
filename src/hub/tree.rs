//! The served directory, and nothing outside of it: every look at the disk goes through here.
//!
//! Not responsible for what files contain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileType, Metadata, OpenOptions};

use super::HubError;
use super::stamp::Stamp;
use crate::globs::Globs;
use crate::wire::{EntryKind, UrlPath};

/// First component of the paths that are the server's own; never taken from the disk.
const RESERVED: &[u8] = b".pdtp";

/// What of the tree is served.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Names that start with a dot, too.
    pub(super) hidden: bool,
    pub(super) globs: Globs,
    /// Symlinks to what is in the tree are as good as it; else they are not there.
    pub(super) follow: bool,
}

/// A directory tree that cannot be left.
#[derive(Debug)]
pub(super) struct Tree {
    dir: Dir,
    policy: Policy,
    /// The hub's own state, where somebody keeps it inside the served directory.
    state: Option<UrlPath>,
    /// Whether it was said that symlinks are left out.
    is_said: AtomicBool,
}

/// What was found at a path.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) kind: EntryKind,
    pub(super) stamp: Stamp,
    dev: u64,
}

/// Names one file or directory, whatever path leads to it.
pub(super) type Identity = (u64, u64);

impl Found {
    fn of(meta: &Metadata) -> Result<Self, HubError> {
        let kind = match () {
            _ if meta.is_file() => EntryKind::File,
            _ if meta.is_dir() => EntryKind::Dir,
            _ => return Err(HubError::NotFound),
        };
        #[cfg(unix)]
        let dev = cap_std::fs::MetadataExt::dev(meta);
        #[cfg(not(unix))]
        let dev = 0;
        Ok(Self { kind, stamp: Stamp::of_confined(meta), dev })
    }

    pub(super) fn identity(&self) -> Identity {
        (self.dev, self.stamp.ino)
    }
}

/// What a directory says of a name, before the name is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    File,
    Dir,
    /// A symlink, or a file system that does not tell.
    Unknown,
}

impl Tree {
    /// Whether `root` is a directory that can be read.
    pub(super) fn check(root: &Path) -> Result<(), HubError> {
        Self::open(root, Policy { hidden: false, globs: Globs::default(), follow: false }, None).map(|_| ())
    }

    pub(super) fn open(root: &Path, policy: Policy, state_dir: Option<&Path>) -> Result<Self, HubError> {
        let dir = Dir::open_ambient_dir(root, ambient_authority()).map_err(|e| match e.kind() {
            io::ErrorKind::NotADirectory => HubError::NotDirectory,
            _ => error_of(&e),
        })?;
        // To open it needs no permission to read it.
        dir.entries().map_err(|e| error_of(&e))?;
        let state = state_dir.and_then(|state| {
            let (state, root) = (state.canonicalize().ok()?, root.canonicalize().ok()?);
            let inside = state.strip_prefix(&root).ok()?;
            UrlPath::from_components(inside.components().map(|part| part.as_os_str().as_encoded_bytes()))
                .ok()
                .filter(|path| !path.is_root())
        });
        Ok(Self { dir, policy, state, is_said: AtomicBool::new(false) })
    }

    /// What is at `path`, symlinks followed.
    pub(super) fn stat(&self, path: &UrlPath) -> Result<Found, HubError> {
        let meta = self.look(&self.place(path)?)?;
        self.admit(path, Found::of(&meta)?)
    }

    /// Opens a regular file for reading.
    pub(super) fn open_file(&self, path: &UrlPath) -> Result<(std::fs::File, Stamp), HubError> {
        let place = self.place(path)?;
        // Merely to open a device or a pipe can have effects, so it is looked at first, and once more when open.
        let meta = self.look(&place)?;
        if self.admit(path, Found::of(&meta)?)?.kind == EntryKind::Dir {
            return Err(HubError::IsDirectory);
        }
        let mut options = OpenOptions::new();
        options.read(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
        let file = self.dir.open_with(&place, &options).map_err(|e| error_of(&e))?.into_std();
        let meta = file.metadata().map_err(|e| error_of(&e))?;
        match () {
            _ if meta.is_file() => Ok((file, Stamp::of(&meta))),
            _ if meta.is_dir() => Err(HubError::IsDirectory),
            _ => Err(HubError::NotFound),
        }
    }

    /// Calls `each` with the names in a directory that may be served, in the order of the disk.
    pub(super) fn read_dir(&self, path: &UrlPath, mut each: impl FnMut(&[u8], Hint)) -> Result<(), HubError> {
        if !self.is_chosen(path, true) {
            return Err(HubError::NotFound);
        }
        let entries = match self.dir.read_dir(self.locate(path)?) {
            Ok(entries) => entries,
            Err(e) if is_not_directory(&e) && self.stat(path).is_ok() => return Err(HubError::NotDirectory),
            Err(e) => return Err(error_of(&e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| error_of(&e))?;
            let name = entry.file_name();
            let Some(name) = bytes_of(&name) else { continue };
            let hint = match entry.file_type() {
                Ok(kind) if kind.is_file() => Hint::File,
                Ok(kind) if kind.is_dir() => Hint::Dir,
                Ok(kind) if kind.is_symlink() && !self.policy.follow => {
                    if !self.is_said.swap(true, Ordering::Relaxed) {
                        tracing::info!(dir = %path, "symbolic links are not served; follow-symlinks changes that");
                    }
                    continue;
                }
                Ok(kind) if kind.is_symlink() || kind == FileType::unknown() => Hint::Unknown,
                Ok(_) => continue,
                Err(_) => Hint::Unknown,
            };
            if self.is_servable(path, name) {
                each(name, hint);
            }
        }
        Ok(())
    }

    /// A directory, for looks at many names in it.
    pub(super) fn open_dir(&self, path: &UrlPath) -> Result<Dir, HubError> {
        self.dir.open_dir(self.locate(path)?).map_err(|e| error_of(&e))
    }

    /// What is at `path`, which is `name` in the open directory `dir`; symlinks followed. Cheaper than [`Tree::stat`].
    pub(super) fn stat_in(&self, dir: &Dir, name: Vec<u8>, path: &UrlPath) -> Result<Found, HubError> {
        let name = name_of(name).ok_or(HubError::NotFound)?;
        let meta = dir.symlink_metadata(name).map_err(|e| error_of(&e))?;
        if meta.is_symlink() { self.stat(path) } else { self.admit(path, Found::of(&meta)?) }
    }

    /// The same of what is itself a directory or file, not a symlink to one.
    pub(super) fn stat_unfollowed_in(
        &self,
        dir: &Dir,
        name: &[u8],
        path: &UrlPath,
    ) -> Result<Found, HubError> {
        let name = name_of(name.to_vec()).ok_or(HubError::NotFound)?;
        let meta = dir.symlink_metadata(name).map_err(|e| error_of(&e))?;
        self.admit(path, Found::of(&meta)?)
    }

    /// What is at `path`, if it is itself a directory or file, not a symlink to one.
    pub(super) fn stat_unfollowed(&self, path: &UrlPath) -> Result<Found, HubError> {
        let meta = self.dir.symlink_metadata(self.locate(path)?).map_err(|e| error_of(&e))?;
        self.admit(path, Found::of(&meta)?)
    }

    /// What was found, if it is served.
    fn admit(&self, path: &UrlPath, found: Found) -> Result<Found, HubError> {
        let is_dir = found.kind == EntryKind::Dir;
        if self.is_chosen(path, is_dir) { Ok(found) } else { Err(HubError::NotFound) }
    }

    /// Whether the patterns choose it, if they choose the directory it is in.
    fn is_chosen(&self, path: &UrlPath, is_dir: bool) -> bool {
        let globs = &self.policy.globs;
        globs.choose_all()
            || path.is_root()
            || globs.choose(&path.components().collect::<Vec<_>>().join(&b'/'), is_dir)
    }

    /// Whether `path` may be served, were there something.
    pub(super) fn is_served(&self, path: &UrlPath) -> bool {
        self.locate(path).is_ok()
    }

    fn is_servable(&self, dir: &UrlPath, name: &[u8]) -> bool {
        let is_hidden = !self.policy.hidden && name.starts_with(b".");
        let is_reserved = dir.is_root() && name == RESERVED;
        let is_state =
            self.state.as_ref().is_some_and(|state| dir.join(name).is_ok_and(|path| path == *state));
        !is_hidden && !is_reserved && !is_state
    }

    /// The path relative to the tree, if it may be served and no symlink that is not followed is on the way to it.
    fn locate(&self, path: &UrlPath) -> Result<PathBuf, HubError> {
        let place = self.place(path)?;
        if !self.policy.follow && self.has_symlink(&place) {
            return Err(HubError::NotFound);
        }
        Ok(place)
    }

    /// The path relative to the tree, if it may be served as far as its names tell.
    fn place(&self, path: &UrlPath) -> Result<PathBuf, HubError> {
        if self.state.as_ref().is_some_and(|state| path.is_under(state)) {
            return Err(HubError::NotFound);
        }
        let mut place = PathBuf::new();
        for (at, part) in path.components().enumerate() {
            if (!self.policy.hidden && part.starts_with(b".")) || (at == 0 && part == RESERVED) {
                return Err(HubError::NotFound);
            }
            place.push(name_of(part).ok_or(HubError::NotFound)?);
        }
        if place.as_os_str().is_empty() {
            place.push(".");
        }
        let mut above = path.parent();
        while let Some(dir) = above.filter(|dir| !dir.is_root()) {
            if !self.is_chosen(&dir, true) {
                return Err(HubError::NotFound);
            }
            above = dir.parent();
        }
        Ok(place)
    }

    /// What is at a place. Symlinks are followed within the tree, if they are at all.
    fn look(&self, place: &Path) -> Result<Metadata, HubError> {
        let meta = match self.open_unfollowed(place) {
            Some(opened) => opened.and_then(|file| file.metadata()),
            None if !self.policy.follow && self.has_symlink(place) => return Err(HubError::NotFound),
            None => self.dir.metadata(place),
        };
        meta.map_err(|e| error_of(&e))
    }

    /// What is at a place, to be looked at only, if no symlink is on the way to it nor at its end: one question instead of
    /// one for each directory on the way. `None` where symlinks are followed, and where the system cannot do it.
    #[cfg(target_os = "linux")]
    fn open_unfollowed(&self, place: &Path) -> Option<io::Result<cap_std::fs::File>> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        if self.policy.follow {
            return None;
        }
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        match openat2(&self.dir, place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Kernels before 5.6, and who forbids it.
            Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => None,
            opened => Some(opened.map(|fd| cap_std::fs::File::from_std(fd.into())).map_err(io::Error::from)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_unfollowed(&self, _place: &Path) -> Option<io::Result<cap_std::fs::File>> {
        None
    }

    /// Whether there is a symlink on the way to a place, or at its end. What else is wrong with it is found by whoever
    /// opens it.
    fn has_symlink(&self, place: &Path) -> bool {
        if let Some(opened) = self.open_unfollowed(place) {
            return opened.is_err_and(|error| is_loop(&error));
        }
        let is_symlink = |place: &Path| self.dir.symlink_metadata(place).is_ok_and(|meta| meta.is_symlink());
        place.ancestors().take_while(|place| !place.as_os_str().is_empty()).any(is_symlink)
    }
}

/// Where a path is on this machine, seen from the place of the tree's root.
pub(super) fn place_of(root: &Path, path: &UrlPath) -> Option<PathBuf> {
    path.components().try_fold(root.to_owned(), |place, part| Some(place.join(name_of(part)?)))
}

/// The path of a place that is told relative to the tree's root.
pub(super) fn path_of(place: &Path) -> Option<UrlPath> {
    let names: Option<Vec<&[u8]>> = place.iter().map(bytes_of).collect();
    UrlPath::from_components(names?).ok()
}

#[cfg(unix)]
fn name_of(bytes: Vec<u8>) -> Option<std::ffi::OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(unix)]
fn bytes_of(name: &std::ffi::OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

// Elsewhere names are text. What would be more than one plain name there (a separator, a drive, a stream) is none.
#[cfg(not(unix))]
fn name_of(bytes: Vec<u8>) -> Option<std::ffi::OsString> {
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains(['\\', ':', '/'])).then(|| name.into())
}

#[cfg(not(unix))]
fn bytes_of(name: &std::ffi::OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

fn is_not_directory(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotADirectory
}

/// Whether a symlink was met that is not to be followed.
fn is_loop(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(libc::ELOOP)
}

/// In the words of the hub. That a path leads out of the tree is reported by `cap-std` as a missing permission.
pub(super) fn error_of(error: &io::Error) -> HubError {
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENAMETOOLONG | libc::ENXIO)) {
        return HubError::NotFound;
    }
    #[cfg(unix)]
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return HubError::Busy;
    }
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => {
            HubError::NotFound
        }
        io::ErrorKind::PermissionDenied => HubError::Denied,
        io::ErrorKind::IsADirectory => HubError::IsDirectory,
        _ => HubError::Io(error.to_string()),
    }
}
