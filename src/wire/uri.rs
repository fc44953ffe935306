use std::fmt;
use std::str::FromStr;

use super::path::PathError;
use super::{DEFAULT_PORT, Digest, UrlPath, limits};

/// `pdtp://host[:port]/path[#root=HEX]`: what people type, print and mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PdtpUri {
    /// Host name or address; an IPv6 address without its brackets.
    pub host: String,
    /// TCP port, 6086 where none is written.
    pub port: u16,
    /// File or directory.
    pub path: UrlPath,
    /// Whether the path was written with a `/` at its end: the user means a directory.
    pub is_dir: bool,
    /// The version wanted, whatever the server says.
    pub root: Option<Digest>,
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
        let mut root = None;
        for item in fragment.into_iter().flat_map(|f| f.split('&')).filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some(("root", hex)) => root = Some(hex.parse().map_err(|_| UriError::Root)?),
                _ => return Err(UriError::Unexpected("fragment")),
            }
        }
        Ok(Self { host, port, path: UrlPath::parse(path)?, is_dir: path.ends_with('/'), root })
    }
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
        self.root.iter().try_for_each(|root| write!(f, "#root={root}"))
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
