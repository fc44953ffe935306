use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::path::PathError;
use super::{DEFAULT_PORT, Digest, UrlPath, limits};

/// `pdtp://host[:port]/path[#root=HEX][&key=HEX]`: what people type, print and mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PdtpUri {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, 6086 where none is written.
    pub port: u16,
    /// File or directory.
    pub path: UrlPath,
    /// Whether the path was written with a `/` (or `/.`) at its end: the user means a directory.
    pub is_dir: bool,
    /// The version wanted, whatever the server says.
    pub root: Option<Digest>,
    /// Fingerprints of keys, one of which must have signed the file, whatever else is trusted. Several `key=`.
    pub keys: Vec<Digest>,
}

/// Why a text is not a PDTP URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Another scheme, or none.
    #[error("a PDTP URI starts with pdtp://")]
    Scheme,
    /// Empty, or with characters no host name has.
    #[error("no valid host in the URI")]
    Host,
    /// Not a number from 1 to 65535.
    #[error("no valid port in the URI")]
    Port,
    /// `user@`, `?query` and unknown `#key=value` mean nothing here.
    #[error("unexpected {0} in a PDTP URI")]
    Unexpected(&'static str),
    /// `#root=` without 64 lower-case hex digits.
    #[error("#root= takes 64 lower-case hex digits")]
    Root,
    /// `#key=` without 64 lower-case hex digits.
    #[error("#key= takes the fingerprint of a key: 64 lower-case hex digits")]
    Key,
    /// Longer than 4096 bytes.
    #[error("URI too long")]
    TooLong,
    /// The path is not one.
    #[error(transparent)]
    Path(#[from] PathError),
}

impl FromStr for PdtpUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > limits::MAX_URL {
            return Err(UriError::TooLong);
        }
        let scheme_end = text.find("://").ok_or(UriError::Scheme)?;
        if !text[..scheme_end].eq_ignore_ascii_case("pdtp") {
            return Err(UriError::Scheme);
        }
        let rest = &text[scheme_end + 3..];
        let (rest, fragment) = rest.split_once('#').map_or((rest, None), |(a, b)| (a, Some(b)));
        if rest.contains('?') {
            return Err(UriError::Unexpected("query"));
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(UriError::Unexpected("user name"));
        }
        let (host, port) = split_authority(authority)?;
        let (mut root, mut keys) = (None, Vec::new());
        for item in fragment.into_iter().flat_map(|f| f.split('&')).filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some(("root", hex)) => root = Some(hex.parse().map_err(|_| UriError::Root)?),
                Some(("key", hex)) => keys.push(hex.parse().map_err(|_| UriError::Key)?),
                _ => return Err(UriError::Unexpected("fragment")),
            }
        }
        Ok(Self { host, port, path: UrlPath::parse(path)?, is_dir: is_written_as_dir(path), root, keys })
    }
}

/// Whether the last component is empty or `.`, so that it adds nothing to the path but says that a directory is meant.
fn is_written_as_dir(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or_default();
    matches!(&*Cow::from(percent_decode_str(last)), b"" | b".")
}

/// Longest host name in bytes (RFC 1035).
const MAX_HOST: usize = 253;

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_authority(text: &str) -> Result<(String, u16), UriError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').ok_or(UriError::Host)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| UriError::Host)?;
        (host, if tail.is_empty() { None } else { Some(tail.strip_prefix(':').ok_or(UriError::Port)?) })
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
        let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || host.len() > MAX_HOST || !host.bytes().all(valid) {
            return Err(UriError::Host);
        }
        (host, port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => match text.parse() {
            Ok(0) | Err(_) => return Err(UriError::Port),
            Ok(port) => port,
        },
        Some(_) => return Err(UriError::Port),
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for PdtpUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pdtp://")?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if self.port != DEFAULT_PORT {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path.as_str())?;
        if self.is_dir && !self.path.is_root() {
            f.write_str("/")?;
        }
        let pins = self.root.iter().map(|root| ("root", root));
        let pins = pins.chain(self.keys.iter().map(|key| ("key", key)));
        for (n, (name, value)) in pins.enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { '#' } else { '&' })?;
        }
        Ok(())
    }
}

/// The URL of a file in messages: `http://VHOST/path`, as every generation of PDTP writes it. `vhost` is the host
/// the user typed, without port; an IPv6 address with or without its brackets.
pub fn file_url(vhost: &str, path: &UrlPath) -> String {
    if vhost.contains(':') && !vhost.starts_with('[') {
        format!("http://[{vhost}]{path}")
    } else {
        format!("http://{vhost}{path}")
    }
}

/// The path of a URL in a message: `http` or `pdtp`, any host and port. A query or fragment is not part of it.
pub fn path_of_url(url: &str) -> Result<UrlPath, UriError> {
    if url.len() > limits::MAX_URL {
        return Err(UriError::TooLong);
    }
    let (scheme, rest) = url.split_once("://").ok_or(UriError::Scheme)?;
    if !["http", "https", "pdtp"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(UriError::Scheme);
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    if host.is_empty() {
        return Err(UriError::Host);
    }
    Ok(UrlPath::parse(path)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn uri(text: &str) -> Result<PdtpUri, UriError> {
        text.parse()
    }

    #[test]
    fn uris_are_read_and_written() {
        let root = "ab".repeat(32);
        for (written, host, port, path, is_dir, shown) in [
            ("pdtp://h", "h", 6086, "/", true, "pdtp://h/"),
            ("pdtp://h/", "h", 6086, "/", true, "pdtp://h/"),
            ("PDTP://h/a", "h", 6086, "/a", false, "pdtp://h/a"),
            (
                "pdtp://files.example:6086/a/b/",
                "files.example",
                6086,
                "/a/b",
                true,
                "pdtp://files.example/a/b/",
            ),
            ("pdtp://127.0.0.1:1/a", "127.0.0.1", 1, "/a", false, "pdtp://127.0.0.1:1/a"),
            ("pdtp://h:65535/a", "h", 65535, "/a", false, "pdtp://h:65535/a"),
            ("pdtp://[::1]", "::1", 6086, "/", true, "pdtp://[::1]/"),
            ("pdtp://[::1]:99/a b", "::1", 99, "/a%20b", false, "pdtp://[::1]:99/a%20b"),
            ("pdtp://h/a//./b", "h", 6086, "/a/b", false, "pdtp://h/a/b"),
            ("pdtp://h/a#", "h", 6086, "/a", false, "pdtp://h/a"),
            ("pdtp://h//.", "h", 6086, "/", true, "pdtp://h/"),
            ("pdtp://h/a/%2e", "h", 6086, "/a", true, "pdtp://h/a/"),
            ("pdtp://h/a/b.", "h", 6086, "/a/b.", false, "pdtp://h/a/b."),
            ("pdtp://h/a:b@c", "h", 6086, "/a:b@c", false, "pdtp://h/a:b@c"),
        ] {
            let read = uri(written).unwrap_or_else(|e| panic!("{written}: {e}"));
            assert_eq!(
                (read.host.as_str(), read.port, read.path.as_str(), read.is_dir),
                (host, port, path, is_dir)
            );
            assert_eq!(read.to_string(), shown);
            assert_eq!(uri(shown), Ok(read.clone()));
            let pinned = uri(&format!("{}#root={root}", written.trim_end_matches('#'))).unwrap();
            assert_eq!(pinned.root, root.parse().ok());
            assert_eq!(uri(&pinned.to_string()), Ok(pinned));
        }
    }

    #[test]
    fn what_is_no_uri() {
        use UriError::*;
        for (text, error) in [
            ("", Scheme),
            ("h/a", Scheme),
            ("http://h/a", Scheme),
            ("pdtp:/h/a", Scheme),
            ("xpdtp://h/a", Scheme),
            ("pdtp://", Host),
            ("pdtp:///a", Host),
            ("pdtp://:80/a", Host),
            ("pdtp://a b/c", Host),
            ("pdtp://h%41/c", Host),
            ("pdtp://b\u{fc}cher.example/", Host),
            ("pdtp://h\r\nX: y/", Host),
            ("pdtp://[::1/a", Host),
            ("pdtp://[h]/a", Host),
            ("pdtp://[::1]x/a", Port),
            ("pdtp://h:/a", Port),
            ("pdtp://h:0/a", Port),
            ("pdtp://h:65536/a", Port),
            ("pdtp://h:+80/a", Port),
            ("pdtp://h:-1/a", Port),
            ("pdtp://h:80:80/a", Port),
            ("pdtp://::1/a", Host),
            ("pdtp://h:99999999999999999999/a", Port),
            ("pdtp://me@h/a", Unexpected("user name")),
            ("pdtp://h/a?b", Unexpected("query")),
            ("pdtp://h/a#b", Unexpected("fragment")),
            ("pdtp://h/a#b=c", Unexpected("fragment")),
            ("pdtp://h/a#root=", Root),
            ("pdtp://h/a#root=AB", Root),
            ("pdtp://h/../a", Path(PathError::DotDot)),
            ("pdtp://h/%00", Path(PathError::Forbidden)),
        ] {
            assert_eq!(uri(text), Err(error), "{text:?}");
        }
        assert!(uri(&format!("pdtp://{}/", "h".repeat(MAX_HOST))).is_ok());
        assert_eq!(uri(&format!("pdtp://{}/", "h".repeat(MAX_HOST + 1))), Err(Host));
        assert_eq!(uri(&format!("pdtp://h/{}", "a/".repeat(limits::MAX_URL))), Err(TooLong));
    }

    #[test]
    fn urls_in_messages_are_read_for_their_path_only() {
        let path = |text: &str| path_of_url(text).map(|p| p.to_string());
        for url in [
            "http://files.example/d/a%20b",
            "HTTP://other:99/d/a b",
            "https://user@[::1]:6086/d//a b/",
            "pdtp://h/d/./a%20b?query#fragment",
        ] {
            assert_eq!(path(url).as_deref(), Ok("/d/a%20b"), "{url}");
        }
        assert_eq!(path("http://h").as_deref(), Ok("/"));
        assert_eq!(path("http://h?q").as_deref(), Ok("/"));
        assert_eq!(path("http://h#a/b").as_deref(), Ok("/"));
        for (url, error) in [
            ("", UriError::Scheme),
            ("/d/a", UriError::Scheme),
            ("ftp://h/a", UriError::Scheme),
            ("http:/h/a", UriError::Scheme),
            ("http:///a", UriError::Host),
            ("http://h/a/../b", UriError::Path(PathError::DotDot)),
        ] {
            assert_eq!(path(url), Err(error), "{url}");
        }
        let url = |n: usize| format!("http://h{}", "/".repeat(n - 8));
        assert!(path(&url(limits::MAX_URL)).is_ok());
        assert_eq!(path(&url(limits::MAX_URL + 1)), Err(UriError::TooLong));
    }

    #[test]
    fn urls_have_one_pair_of_brackets() {
        let path = UrlPath::parse("/a").unwrap();
        assert_eq!(file_url("files.example", &path), "http://files.example/a");
        assert_eq!(file_url("::1", &path), "http://[::1]/a");
        assert_eq!(file_url("[::1]", &path), "http://[::1]/a");
        assert_eq!(file_url("h", &UrlPath::root()), "http://h/");
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_written_and_read_again(text in "(pdtp://)?([a-z.\\[\\]:0-9]{0,12}/)?[ -~]{0,30}") {
            if let Ok(read) = uri(&text) {
                prop_assert_eq!(uri(&read.to_string()), Ok(read));
            }
            let _ = path_of_url(&text);
        }
    }
}
