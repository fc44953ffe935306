//! What is wrong with a document, and where.

use crate::wire::{AttributeError, limits};

/// An XML document that is not taken. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct XmlError {
    /// Where.
    pub line: usize,
    /// Where in it.
    pub column: usize,
    /// What.
    pub problem: XmlProblem,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlProblem {
    /// More than [`limits::MAX_XML`] bytes.
    #[error("longer than {} bytes", limits::MAX_XML)]
    TooLong,
    /// No well-formed XML.
    #[error("{0}")]
    Syntax(String),
    /// Another version of XML, or another encoding than UTF-8.
    #[error("not XML 1.0 in UTF-8")]
    Declaration,
    /// Bytes that are no UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// There is a DTD.
    #[error("a document type declaration is not allowed")]
    Doctype,
    /// Another entity than the five of XML.
    #[error("the entity &{0}; is not allowed")]
    Entity(String),
    /// A character that XML forbids, written out or by number.
    #[error("the character U+{0:04X} is not allowed")]
    Character(u32),
    /// More than [`limits::MAX_XML_DEPTH`] levels.
    #[error("elements nested more than {} deep", limits::MAX_XML_DEPTH)]
    Depth,
    /// More than [`limits::MAX_XML_ATTRIBUTES`].
    #[error("an element with more than {} attributes", limits::MAX_XML_ATTRIBUTES)]
    Attributes,
    /// More text than has a place here.
    #[error("text of more than {0} bytes")]
    Text(usize),
    /// Text where elements are expected, or elements where text is.
    #[error("{0} does not belong here")]
    Misplaced(&'static str),
    /// The root of the document is another element.
    #[error("the document is no {0}")]
    Root(&'static str),
    /// Something that has to be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is there twice.
    #[error("{0} is there twice")]
    Twice(&'static str),
    /// Something has a value that it cannot have.
    #[error("{0} has an impossible value")]
    Value(&'static str),
    /// More than [`limits::MAX_LIST_ENTRIES`].
    #[error("more than {} entries", limits::MAX_LIST_ENTRIES)]
    Entries,
    /// Metadata that is not taken.
    #[error("{0}: {1}")]
    Attribute(&'static str, AttributeError),
}

/// Bytes as the text of a document.
///
/// # Errors
/// [`XmlProblem::Encoding`], at the first that are none.
pub fn text_of(bytes: &[u8]) -> Result<&str, XmlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        let before =
            bytes.get(..good).and_then(|before| std::str::from_utf8(before).ok()).unwrap_or_default();
        XmlError::at(before, good, XmlProblem::Encoding)
    })
}

impl XmlError {
    /// At an offset into the text, in bytes.
    pub(super) fn at(text: &str, offset: usize, problem: XmlProblem) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        // Bytes that continue a character do not count.
        let column = before[line_start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        Self { line: before.iter().filter(|byte| **byte == b'\n').count() + 1, column: column + 1, problem }
    }
}
