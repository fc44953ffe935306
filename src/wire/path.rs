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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> Result<String, PathError> {
        UrlPath::parse(text).map(|p| p.to_string())
    }

    #[test]
    fn one_spelling_for_every_way_to_write_a_path() {
        for (written, is) in [
            ("/", "/"),
            ("//", "/"),
            ("/.", "/"),
            ("/./", "/"),
            ("/%2e/%2E", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/%61", "/a"),
            ("/%7Euser/~user", "/~user/~user"),
            ("/a b", "/a%20b"),
            ("/a%20b", "/a%20b"),
            ("/a+b", "/a+b"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/caf%e9", "/caf%E9"),
            ("/%ff%fe", "/%FF%FE"),
            ("/a?b#c", "/a%3Fb%23c"),
            ("/100%", "/100%25"),
            ("/100%zz", "/100%25zz"),
            ("/%2", "/%252"),
            ("/a%25%32%65", "/a%252e"),
            ("/...", "/..."),
            ("/..a/b..", "/..a/b.."),
            ("/a:b@c;d=e,f!$&'()*", "/a:b@c;d=e,f!$&'()*"),
            ("/a\\b", "/a%5Cb"),
            ("/\r\n\t\u{7f}", "/%0D%0A%09%7F"),
        ] {
            assert_eq!(canonical(written).as_deref(), Ok(is), "{written:?}");
            assert_eq!(canonical(is).as_deref(), Ok(is));
        }
    }

    #[test]
    fn nothing_leads_out_of_the_tree() {
        for text in ["/..", "/../", "/a/../b", "/a/..", "/%2e%2e", "/%2E.", "/.%2e/a", "/a/%2e%2e/%2e%2e/etc"]
        {
            assert_eq!(canonical(text), Err(PathError::DotDot), "{text}");
        }
        for text in ["/a%2fb", "/%2F", "/..%2f..%2fetc", "/%2e%2e%2f", "/a%00", "/%00", "/a\0b"] {
            assert_eq!(canonical(text), Err(PathError::Forbidden), "{text:?}");
        }
        for text in ["", "a", "a/b", "..", "%2fa", "\\a", "C:/", "http://h/a"] {
            assert_eq!(canonical(text), Err(PathError::Relative), "{text}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let name = |n: usize| "x".repeat(n);
        assert!(canonical(&format!("/{}", name(limits::MAX_COMPONENT))).is_ok());
        assert_eq!(canonical(&format!("/{}", name(limits::MAX_COMPONENT + 1))), Err(PathError::TooLong));
        // 255 bytes that take three characters each.
        let encoded = format!("/{}", "%ff".repeat(limits::MAX_COMPONENT));
        assert_eq!(canonical(&encoded), Ok(encoded.to_uppercase()));
        assert_eq!(canonical(&format!("{encoded}%ff")), Err(PathError::TooLong));

        let longest = format!("/{}", name(limits::MAX_COMPONENT)).repeat(limits::MAX_URL / 256);
        assert_eq!(longest.len(), limits::MAX_URL);
        let path = UrlPath::parse(&longest).unwrap();
        assert_eq!(path.as_str(), longest);
        assert_eq!(path.join(b"x"), Err(PathError::TooLong));
        assert_eq!(canonical(&format!("{longest}/")), Err(PathError::TooLong));
        // Short as written, too long in its canonical spelling.
        assert_eq!(canonical(&"/ ".repeat(limits::MAX_URL / 2)), Err(PathError::TooLong));
        assert_eq!(UrlPath::from_components(std::iter::repeat(&b"x"[..])), Err(PathError::TooLong));
    }

    #[test]
    fn parents_names_and_places() {
        let path = |text: &str| UrlPath::parse(text).unwrap();
        assert_eq!(path("/a%ff/b").components().collect::<Vec<_>>(), [&b"a\xff"[..], b"b"]);
        assert_eq!(path("/a/b%20c").file_name(), b"b c");
        assert_eq!(path("/").file_name(), b"");
        assert_eq!(path("/").components().count(), 0);
        assert_eq!(path("/a/b").parent(), Some(path("/a")));
        assert_eq!(path("/a").parent(), Some(UrlPath::root()));
        assert_eq!(path("/").parent(), None);
        assert_eq!(path("/a").join(b"b\xff"), Ok(path("/a/b%FF")));
        assert_eq!(UrlPath::root().join(b"a"), Ok(path("/a")));
        assert_eq!(path("/a").join(b".."), Err(PathError::DotDot));
        assert_eq!(path("/a").join(b"b/c"), Err(PathError::Forbidden));
        assert_eq!(path("/a").join(b"%2e%2e"), Ok(path("/a/%252e%252e")));
        for (inner, outer, is) in [
            ("/a/b", "/a", true),
            ("/a", "/a", true),
            ("/ab", "/a", false),
            ("/a", "/a/b", false),
            ("/a", "/", true),
            ("/", "/", true),
            ("/", "/a", false),
        ] {
            assert_eq!(path(inner).is_under(&path(outer)), is, "{inner} {outer}");
        }
    }

    fn component() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>().prop_filter("not in file names", |b| !matches!(b, 0 | b'/')), 1..20)
            .prop_filter("not a name", |name| name != b"." && name != b"..")
    }

    proptest! {
        #[test]
        fn file_names_survive(parts in vec(component(), 0..8)) {
            let path = UrlPath::from_components(parts.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(path.components().collect::<Vec<_>>(), parts.clone());
            prop_assert!(path.as_str().bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(UrlPath::parse(path.as_str()), Ok(path.clone()));
            let joined = parts.iter().try_fold(UrlPath::root(), |dir, name| dir.join(name));
            prop_assert_eq!(joined, Ok(path.clone()));
            let url = crate::wire::file_url("files.example", &path);
            prop_assert_eq!(crate::wire::path_of_url(&url), Ok(path));
        }

        #[test]
        fn any_text_parses_to_something_canonical_or_not_at_all(text in "/?([%./ -~\\x00a-f0-9]|[%][0-9a-f]{2}|\\PC){0,40}") {
            if let Ok(path) = UrlPath::parse(&text) {
                prop_assert_eq!(UrlPath::parse(path.as_str()), Ok(path.clone()));
                for name in path.components() {
                    prop_assert!(!matches!(&name[..], b"" | b"." | b".."));
                    prop_assert!(!name.contains(&0) && !name.contains(&b'/'));
                }
            }
        }

        #[test]
        fn arbitrary_bytes_as_names_do_no_harm(parts in vec(vec(any::<u8>(), 0..300), 0..20)) {
            if let Ok(path) = UrlPath::from_components(parts.iter().map(Vec::as_slice)) {
                prop_assert_eq!(UrlPath::parse(path.as_str()), Ok(path));
            }
        }
    }
}
