//! Heads of HTTP/1.1 requests and responses: parsing by `httparse`, limits, and the few fields that matter here.

use std::ops::Range;

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
        self.0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .any(|(_, v)| v.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
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
    /// The path of the target, without query, percent-encoding untouched; also of an absolute target.
    pub fn path(&self) -> &str {
        todo!()
    }

    /// The query of the target, without `?`.
    pub fn query(&self) -> Option<&str> {
        todo!()
    }

    /// The value of `name` in the query, percent-decoded.
    pub fn query_value(&self, name: &str) -> Option<String> {
        let _ = name;
        todo!()
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

/// Reads a `Range` field for a file of `size` bytes.
pub fn parse_range(field: Option<&str>, size: u64) -> RangeRequest {
    let _ = (field, size);
    todo!()
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
