//! The language of PDTP, sans-IO: bytes in, values out.
//!
//! This room knows no socket, no clock and no file. It is responsible for turning bytes into values that cannot
//! be wrong, and values into bytes; what the values *mean* is decided in the rooms above.

mod about;
mod digest;
mod error;
mod frame;
mod json;
pub mod limits;
mod message;
mod path;
mod range;
mod sniff;
pub mod token;
mod uri;

pub use about::{About, Attribute, AttributeError, AttributeKind, Attributes, clean, is_xml_char};
pub use digest::{Digest, DigestError};
pub use error::WireError;
pub use frame::{Dialect, FrameReader, encode_frame};
pub use message::*;
pub use path::UrlPath;
pub use range::ByteRange;
pub use sniff::{Sniff, sniff};
pub use uri::{PdtpUri, UriError, file_url, path_of_url};

/// TCP port of PDTP, registered with IANA as `pdtp`.
pub const DEFAULT_PORT: u16 = 6086;
/// Version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 3;
