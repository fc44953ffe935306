//! Heads of HTTP/1.1 requests and responses: parsing by `httparse`, limits, and the few fields that matter here.

use std::ops::Range;

use percent_encoding::percent_decode_str;

use crate::wire::limits::{MAX_HTTP_FIELDS, MAX_HTTP_HEAD};

/// Header fields in order; names compared without case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first field of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Whether a comma-separated field holds `word`, without case.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        self.all(name).any(|v| v.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
    }

    /// All fields of this name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    fn of(parsed: &[httparse::Header<'_>]) -> Self {
        // Values may be any bytes; what is not UTF-8 cannot be a value of ours, so nothing is lost by replacing it.
        let owned =
            |h: &httparse::Header<'_>| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned());
        Self(parsed.iter().map(owned).collect())
    }
}

/// The head of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// `GET`, `HEAD`, `PUT`, or any other token.
    pub method: String,
    /// As sent: origin form, or absolute form.
    pub target: String,
    /// HTTP/1.0 rather than 1.1.
    pub is_http10: bool,
    /// Header fields.
    pub fields: Fields,
}

impl RequestHead {
    /// Reads a head off the start of `bytes`, and says how many bytes it takes. `None`: more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HTTP_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let Some(len) = checked(request.parse(bytes), bytes.len())? else { return Ok(None) };
        let head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            is_http10: request.version == Some(0),
            fields: Fields::of(request.headers),
        };
        Ok(Some((head, len)))
    }

    /// The path of the target, without query, percent-encoding untouched; also of an absolute target.
    pub fn path(&self) -> &str {
        self.split().0
    }

    /// Whether `Host` has a port that is not `own`. Between peers it has none.
    pub fn names_other_port(&self, own: u16) -> bool {
        let host = self.fields.get("host").unwrap_or_default().trim();
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        port.is_some_and(|port| port.parse() != Ok(own))
    }

    /// The query of the target, without `?`.
    pub fn query(&self) -> Option<&str> {
        self.split().1
    }

    /// The value of `name` in the query, percent-decoded. `+` is just a plus.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query()?.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key == name).then(|| percent_decode_str(value).decode_utf8().ok().map(|v| v.into_owned()))?
        })
    }

    /// Path and query. A fragment does not belong into a target; one that is there all the same is cut off.
    fn split(&self) -> (&str, Option<&str>) {
        let target = self.target.split('#').next().unwrap_or_default();
        let origin_form = match target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                rest.find(['/', '?']).map_or("", |at| &rest[at..])
            }
            _ => target,
        };
        let (path, query) = match origin_form.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (origin_form, None),
        };
        (if path.is_empty() { "/" } else { path }, query)
    }
}

/// The head of a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// HTTP/1.0 rather than 1.1.
    pub is_http10: bool,
    /// Header fields.
    pub fields: Fields,
}

impl ResponseHead {
    /// Reads a head off the start of `bytes`, and says how many bytes it takes. `None`: more bytes are needed.
    pub fn parse(bytes: &[u8]) -> Parsed<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HTTP_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let Some(len) = checked(response.parse(bytes), bytes.len())? else { return Ok(None) };
        let head = Self {
            status: response.code.unwrap_or_default(),
            is_http10: response.version == Some(0),
            fields: Fields::of(response.headers),
        };
        Ok(Some((head, len)))
    }
}

/// A head and how many bytes it takes; `None` if it has not come whole.
pub type Parsed<H> = Result<Option<(H, usize)>, HeadError>;

fn checked(
    parsed: Result<httparse::Status<usize>, httparse::Error>,
    available: usize,
) -> Result<Option<usize>, HeadError> {
    match parsed {
        Ok(httparse::Status::Complete(len)) if len <= MAX_HTTP_HEAD => Ok(Some(len)),
        Ok(httparse::Status::Partial) if available < MAX_HTTP_HEAD => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HeadError::TooLarge),
        Err(error) => Err(HeadError::Broken(error.to_string())),
    }
}

/// What a `Range` field asks of a file (RFC 9110 section 14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeRequest {
    /// No such field, or one to be ignored (other unit, broken): send everything.
    Whole,
    /// These bytes (the first of several ranges).
    Part(Range<u64>),
    /// Nothing of the file: 416.
    Unsatisfiable,
}

/// Reads a `Range` field for a file of `size` bytes. Of several ranges the first that covers something counts, which
/// RFC 9110 section 14.2 allows; a suffix of an empty file is the whole of it.
pub fn parse_range(field: Option<&str>, size: u64) -> RangeRequest {
    let Some(specs) = field.and_then(|f| strip_unit(f.trim())) else { return RangeRequest::Whole };
    let Some(specs) = specs.split(',').map(|spec| parse_spec(spec.trim())).collect::<Option<Vec<_>>>() else {
        return RangeRequest::Whole;
    };
    for spec in specs {
        match spec {
            Spec::From(first, last) if first < size => {
                return RangeRequest::Part(first..last.saturating_add(1).min(size));
            }
            Spec::Suffix(len) if len > 0 && size == 0 => return RangeRequest::Whole,
            Spec::Suffix(len) if len > 0 => return RangeRequest::Part(size.saturating_sub(len)..size),
            Spec::From(..) | Spec::Suffix(_) => {}
        }
    }
    RangeRequest::Unsatisfiable
}

enum Spec {
    From(u64, u64),
    Suffix(u64),
}

fn strip_unit(field: &str) -> Option<&str> {
    let (unit, specs) = field.split_once('=')?;
    unit.trim_end().eq_ignore_ascii_case("bytes").then_some(specs)
}

fn parse_spec(spec: &str) -> Option<Spec> {
    let (first, last) = spec.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", suffix) => number(suffix).map(Spec::Suffix),
        (first, "") => number(first).map(|first| Spec::From(first, u64::MAX)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From(first, last))
        }
    }
}

/// A decimal number; one too large for 64 bits is as good as the largest, because no file gets there.
fn number(digits: &str) -> Option<u64> {
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().unwrap_or(u64::MAX))
}

/// What a `Content-Range` field says about the bytes that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContentRange {
    bytes: Range<u64>,
    /// Of the whole file; `None` if not told.
    size: Option<u64>,
}

impl ContentRange {
    pub(super) fn parse(field: &str) -> Option<Self> {
        let (unit, rest) = field.trim().split_once(' ')?;
        let (bytes, size) = rest.trim().split_once('/')?;
        let (first, last) = bytes.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let size = if size == "*" { None } else { Some(number(size)?) };
        (unit.eq_ignore_ascii_case("bytes") && first <= last && size.is_none_or(|size| last < size))
            .then(|| Self { bytes: first..last.saturating_add(1), size })
    }

    /// Whether it says that these bytes of a file of this size follow.
    pub(super) fn is(&self, bytes: &Range<u64>, size: u64) -> bool {
        self.bytes == *bytes && self.size.is_none_or(|told| told == size)
    }
}

/// What the fields of a head say about the length of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    /// Neither `Content-Length` nor `Transfer-Encoding`.
    Nothing,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Reads the length of a body off its head. Contradictions are errors, because two readers that resolve them
/// differently can be played off against each other (RFC 9112 section 6.3).
pub(super) fn announced(fields: &Fields) -> Result<Announced, HeadError> {
    let broken = |what: &str| Err(HeadError::Broken(what.to_owned()));
    let mut lengths = fields.all("content-length").flat_map(|v| v.split(',')).map(|v| number(v.trim()));
    let length = lengths.next();
    if length.is_some_and(|first| first.is_none() || lengths.any(|other| other != first)) {
        return broken("bad Content-Length");
    }
    let coding: Vec<_> = fields.all("transfer-encoding").collect();
    match (length.flatten(), coding.as_slice()) {
        (None, []) => Ok(Announced::Nothing),
        (Some(length), []) => Ok(Announced::Length(length)),
        (None, [one]) if one.trim().eq_ignore_ascii_case("chunked") => Ok(Announced::Chunked),
        (None, _) => broken("unknown Transfer-Encoding"),
        (Some(_), _) => broken("both Content-Length and Transfer-Encoding"),
    }
}

/// Appends a field, with whatever could end its line early replaced.
pub(super) fn push_field(head: &mut Vec<u8>, name: &str, value: &str) {
    let clean = |b: u8| if b == b'\t' || (b >= b' ' && b != 0x7f) { b } else { b' ' };
    head.extend(name.bytes().filter(|b| b.is_ascii_graphic() && *b != b':'));
    head.extend_from_slice(b": ");
    head.extend(value.bytes().map(clean));
    head.extend_from_slice(b"\r\n");
}

/// Why a head was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// Not HTTP/1.
    #[error("not an HTTP/1 message: {0}")]
    Broken(String),
    /// Over 16 KiB or 64 fields.
    #[error("header block too large")]
    TooLarge,
}
