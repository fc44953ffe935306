//! RDL, the rich directory listing: a page of a directory as XML, with Dublin Core elements and properties of media
//! (docs/rdl.md, docs/rdl.xsd).
//!
//! Text in, values out and back. Where the metadata comes from is the business of the hub; that bytes come from
//! somewhere is none of RDL's.

mod dublin_core;
mod parse;
mod position;
#[cfg(test)]
mod tests;
mod write;
mod xml;

#[cfg(feature = "server")]
pub use dublin_core::package_of_epub;
pub use dublin_core::parse_dublin_core;
pub use parse::{Document, parse};
pub use position::{XmlError, XmlProblem, text_of};
pub use write::{begin, end, entry};

/// Media type of a document.
pub const MEDIA_TYPE: &str = "application/rdl+xml";
/// Namespace of our own elements. Another number would be another format.
pub const NAMESPACE: &str = "urn:pdtp:rdl:1";
/// Namespace of the Dublin Core Metadata Element Set 1.1.
pub const DUBLIN_CORE: &str = "http://purl.org/dc/elements/1.1/";
/// What is added to the name of a file to name its sidecar with Dublin Core.
pub const SIDECAR_SUFFIX: &str = ".dc.xml";
