use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode};

use super::limits;

/// Bytes written as `%XX` in a path: everything that RFC 3986 does not allow in a `pchar`, and `%` itself.
const ENCODE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The path of a file or directory on a server, in its one canonical spelling: absolute, percent-encoded, without
/// empty, `.` or `..` components, without NUL. `/` is the root; no other path ends in `/`.
///
/// Two `UrlPath`s are equal exactly when they name the same bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UrlPath(String);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Paths start with `/`.
    #[error("a path starts with '/'")]
    Relative,
    /// `..`, also when written as `%2e%2e`.
    #[error("a path may not contain '..'")]
    DotDot,
    /// A NUL, or a `/` hidden as `%2f`.
    #[error("a path component may not contain NUL or an encoded '/'")]
    Forbidden,
    /// Longer than a URL may be, or a component longer than file systems take.
    #[error("path too long: at most 4096 bytes, and 255 a component")]
    TooLong,
}

impl UrlPath {
    /// The root directory.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// From the path of a URL, percent-encoded or not; a `%` that begins no escape stands for itself. A query or
    /// fragment is not part of it: where there is a `?` or `#`, it belongs to a name.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > limits::MAX_URL {
            return Err(PathError::TooLong);
        }
        let Some(rest) = text.strip_prefix('/') else { return Err(PathError::Relative) };
        let mut path = String::new();
        for part in rest.split('/') {
            let bytes: Vec<u8> = percent_decode_str(part).collect();
            push_component(&mut path, &bytes)?;
        }
        Ok(Self::finish(path))
    }

    /// From raw file names, root first.
    pub fn from_components<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, PathError> {
        let mut path = String::new();
        for part in parts {
            push_component(&mut path, part)?;
        }
        Ok(Self::finish(path))
    }

    fn finish(path: String) -> Self {
        if path.is_empty() { Self::root() } else { Self(path) }
    }

    /// This path and one more component, given as raw bytes. Nothing is added for an empty one and for `.`.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        let mut path = if self.is_root() { String::new() } else { self.0.clone() };
        push_component(&mut path, name)?;
        Ok(Self::finish(path))
    }

    /// The percent-encoded text, starting with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The raw names on the way from the root to here.
    pub fn components(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.0.split('/').filter(|part| !part.is_empty()).map(|part| percent_decode_str(part).collect())
    }

    /// The raw last component; empty for the root.
    pub fn file_name(&self) -> Vec<u8> {
        self.components().last().unwrap_or_default()
    }

    /// The directory this is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let at = self.0.rfind('/')?;
        match at {
            _ if self.is_root() => None,
            0 => Some(Self::root()),
            _ => Some(Self(self.0[..at].to_owned())),
        }
    }

    /// Whether this lies in `dir`, at any depth, or is `dir`.
    pub fn is_under(&self, dir: &Self) -> bool {
        dir.is_root() || self == dir || self.0.strip_prefix(&dir.0).is_some_and(|rest| rest.starts_with('/'))
    }
}

fn push_component(path: &mut String, bytes: &[u8]) -> Result<(), PathError> {
    match bytes {
        b"" | b"." => return Ok(()),
        b".." => return Err(PathError::DotDot),
        _ => {}
    }
    if bytes.contains(&0) || bytes.contains(&b'/') {
        return Err(PathError::Forbidden);
    }
    if bytes.len() > limits::MAX_COMPONENT {
        return Err(PathError::TooLong);
    }
    path.push('/');
    path.extend(percent_encode(bytes, ENCODE));
    // Here and not only at the end, so that no caller can make it grow.
    if path.len() > limits::MAX_URL { Err(PathError::TooLong) } else { Ok(()) }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
