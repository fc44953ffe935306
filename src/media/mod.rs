//! What media files say of themselves: tags, and properties such as codec and duration.
//!
//! Files are a stranger's bytes, and the parsers of all their formats are large. So they run in a process of their own
//! ([`helper`]), which has nothing but the bytes that its parent hands it on request. The parent ([`Keeper`]) counts
//! them and the time, and kills the helper that takes too much of either: whatever a file makes of a parser, it costs
//! that one file its metadata.
//!
//! Not responsible for which files are looked at, nor for remembering what was found.

mod book;
pub mod helper;
mod image;
mod keeper;
mod pipe;
mod row;
mod tracks;

pub use keeper::{Command, Keeper, Stopper, Trouble};
pub use row::{decode, encode};

use std::io::{Read, Seek};

use crate::wire::{Attribute, Attributes};

/// Bytes of the beginning of a file that are enough to tell what it is.
pub const HEAD: usize = 16 * 1024;

/// Whether a file that begins so may have something to tell. Plain text has not.
pub fn is_worth_asking(head: &[u8]) -> bool {
    let is_text =
        |bytes: &[u8]| bytes.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c));
    head.starts_with(b"%PDF") || !is_text(head)
}

/// What can be found out of a file that begins with `head`. Only for the helper's process.
pub(crate) fn describe(source: impl Read + Seek + Send + Sync, head: &[u8], extension: &str) -> Attributes {
    let mut all = Attributes::default();
    let found = infer::get(head);
    let mime = found.map(|kind| kind.mime_type());
    match mime {
        Some("application/epub+zip") => book::describe(source, &mut all),
        Some(mime) if mime.starts_with("image/") => image::describe(source, head, &mut all),
        Some(mime)
            if mime.starts_with("audio/") || mime.starts_with("video/") || mime == "application/ogg" =>
        {
            tracks::describe(source, extension, &mut all);
        }
        // MP3 without tags begins with next to nothing.
        _ if matches!(extension, "mp3" | "mp2" | "mp1" | "aac") => {
            tracks::describe(source, extension, &mut all)
        }
        _ => {}
    }
    // What other formats are packed in says little.
    let is_telling = |mime: &&str| {
        !matches!(
            *mime,
            "application/zip" | "application/gzip" | "text/xml" | "application/xml" | "text/html"
        )
    };
    if let Some(mime) = mime.filter(is_telling) {
        all.add_lossy(Attribute::Format, mime);
    }
    all
}
