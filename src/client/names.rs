//! Names from a server as local names: nothing it says can lead out of the directory that the user chose.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Error, ErrorKind};
use crate::wire::{Entry, UrlPath};

/// Directories remembered as good; more are just looked at again.
const MAX_REMEMBERED: usize = 4096;

/// The names of an entry on the way from the listed directory to it; at least one.
///
/// # Errors
/// [`ErrorKind::Protocol`] for a name that no server that means well sends.
pub(super) fn components(entry: &Entry) -> Result<Vec<Vec<u8>>, Error> {
    let parsed = match &entry.path {
        Some(path) => UrlPath::parse(&format!("/{path}")),
        None => UrlPath::from_components(entry.name.split('/').map(str::as_bytes)),
    };
    let strange = |why: &str| {
        let shown: String = entry.name.chars().take(100).collect();
        Error::new(ErrorKind::Protocol, format!("the server lists a strange name, {shown:?}: {why}"))
    };
    let components: Vec<_> = parsed.map_err(|error| strange(&error.to_string()))?.components().collect();
    if components.is_empty() {
        return Err(strange("it is empty"));
    }
    Ok(components)
}

/// One raw name as a name of this system.
///
/// # Errors
/// [`ErrorKind::Argument`] for one that this system does not have.
pub(super) fn local_name(raw: &[u8]) -> Result<OsString, Error> {
    let bad = |why: &str| {
        let shown = String::from_utf8_lossy(raw);
        Error::new(ErrorKind::Argument, format!("{shown:?} cannot be a file name here: {why}"))
    };
    // `UrlPath` has seen to this already; it is what keeps us inside, so it is looked at again.
    if raw.is_empty() || raw == b"." || raw == b".." || raw.contains(&b'/') || raw.contains(&0) {
        return Err(bad("it is not a name"));
    }
    system_name(raw).map_err(bad)
}

#[cfg(unix)]
fn system_name(raw: &[u8]) -> Result<OsString, &'static str> {
    use std::os::unix::ffi::OsStrExt as _;
    Ok(std::ffi::OsStr::from_bytes(raw).to_owned())
}

#[cfg(not(unix))]
fn system_name(raw: &[u8]) -> Result<OsString, &'static str> {
    let name = std::str::from_utf8(raw).map_err(|_| "it is not UTF-8")?;
    match windows_objection(name) {
        Some(why) => Err(why),
        None => Ok(name.into()),
    }
}

/// Why Windows would not take a name, or take it for something else.
#[cfg(any(not(unix), test))]
fn windows_objection(name: &str) -> Option<&'static str> {
    const DEVICES: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
    if name.chars().any(|c| c.is_control() || "\\/:*?\"<>|".contains(c)) {
        return Some("it has a forbidden character");
    }
    if name.ends_with(['.', ' ']) {
        return Some("it ends with a dot or space");
    }
    let stem = name.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |port: &str| {
        let number = stem.strip_prefix(port).map(|n| n.chars().collect::<Vec<_>>());
        matches!(number.as_deref(), Some(['0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}']))
    };
    if DEVICES.contains(&stem.as_str()) || numbered("COM") || numbered("LPT") {
        return Some("it is the name of a device");
    }
    None
}

/// Creates directories below one that the user chose, and never goes through a symlink there: whoever put it there
/// did not mean our server to write through it.
#[derive(Debug)]
pub(super) struct Dirs {
    base: PathBuf,
    good: Mutex<HashSet<PathBuf>>,
}

impl Dirs {
    /// Creates `base` itself where it is missing; that one may be, or lie behind, a symlink. Blocks.
    pub(super) fn new(base: PathBuf) -> Result<Self, Error> {
        std::fs::create_dir_all(&base)
            .map_err(|error| Error::io(format!("cannot create {}", base.display()), &error))?;
        Ok(Self { base, good: Mutex::default() })
    }

    /// The same without creating anything, for those who only look.
    pub(super) fn as_they_are(base: PathBuf) -> Self {
        Self { base, good: Mutex::default() }
    }

    /// Where an entry would go, whatever is there.
    pub(super) fn path(&self, components: &[Vec<u8>]) -> Result<PathBuf, Error> {
        components.iter().try_fold(self.base.clone(), |path, name| Ok(path.join(local_name(name)?)))
    }

    /// Where an entry goes; the directories above it are created. Blocks.
    pub(super) fn place(&self, components: &[Vec<u8>]) -> Result<PathBuf, Error> {
        let Some((name, dirs)) = components.split_last() else {
            return Err(Error::new(ErrorKind::Internal, "an entry without a name"));
        };
        Ok(self.create(dirs)?.join(local_name(name)?))
    }

    /// Creates a directory and all above it. Blocks.
    pub(super) fn create(&self, components: &[Vec<u8>]) -> Result<PathBuf, Error> {
        let mut path = self.base.clone();
        for component in components {
            path.push(local_name(component)?);
            if self.good.lock().unwrap_or_else(PoisonError::into_inner).contains(&path) {
                continue;
            }
            create_one(&path)?;
            let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
            if good.len() >= MAX_REMEMBERED {
                good.clear();
            }
            good.insert(path.clone());
        }
        Ok(path)
    }
}

fn create_one(path: &Path) -> Result<(), Error> {
    let failed = |error| Error::io(format!("cannot create directory {}", path.display()), &error);
    match std::fs::create_dir(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let meta = std::fs::symlink_metadata(path).map_err(failed)?;
    if meta.is_dir() {
        return Ok(());
    }
    let what = if meta.is_symlink() { "a symlink" } else { "not a directory" };
    let text = format!("{} is in the way: it is {what}", path.display());
    Err(Error::new(ErrorKind::Exists, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, path: Option<&str>) -> Entry {
        Entry { name: name.to_owned(), path: path.map(str::to_owned), ..Entry::default() }
    }

    #[test]
    fn names_are_taken_apart() {
        let parts = |name, path| components(&entry(name, path)).unwrap();
        assert_eq!(parts("a", None), [b"a".to_vec()]);
        assert_eq!(parts("a/b c", None), [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(parts("x\u{fffd}", Some("x%ff")), [vec![b'x', 0xff]]);
        assert_eq!(parts("100%25", None), [b"100%25".to_vec()], "a name is not percent-encoded");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for (name, path) in [
            ("..", None),
            ("a/../../b", None),
            ("/", None),
            ("", None),
            (".", None),
            ("a\0b", None),
            ("a", Some("%2e%2e/b")),
            ("a", Some("..")),
            ("a", Some("b%2fc")),
            ("a", Some("")),
        ] {
            let error = components(&entry(name, path)).expect_err(name);
            assert_eq!(error.kind, ErrorKind::Protocol, "{name:?} {path:?}");
        }
        // An absolute name is one below the base.
        assert_eq!(components(&entry("/etc/passwd", None)).unwrap(), [b"etc".to_vec(), b"passwd".to_vec()]);
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0"] {
            assert!(local_name(name).is_err());
        }
    }

    #[test]
    fn windows_names() {
        for bad in ["CON", "con.txt", "NUL", "COM1", "lpt9.log", "a:b", "a\\b", "a.", "a ", "a?", "AUX .x"] {
            assert!(windows_objection(bad).is_some(), "{bad}");
        }
        for good in ["CONSOLE", "a.b", "COM", "COM10", ".hidden", "LPT"] {
            assert!(windows_objection(good).is_none(), "{good}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn directories_are_created_and_symlinks_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let dirs = Dirs::new(base.path().join("new")).unwrap();
        let parts = |names: &[&str]| names.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>();
        let place = dirs.place(&parts(&["a", "b", "file"])).unwrap();
        assert_eq!(place, base.path().join("new/a/b/file"));
        assert!(base.path().join("new/a/b").is_dir());
        std::os::unix::fs::symlink(outside.path(), base.path().join("new/link")).unwrap();
        let error = dirs.place(&parts(&["link", "file"])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists, "{error}");
        let error = dirs.create(&parts(&["link", "dir"])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Exists, "{error}");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        std::fs::write(base.path().join("new/f"), "").unwrap();
        assert!(dirs.place(&parts(&["f", "x"])).unwrap_err().message.contains("in the way"));
    }
}
