//! A listing as XML. In pieces: what comes before the entries, each of them on a line, and what comes after.

use std::fmt::Write as _;

use quick_xml::escape::partial_escape;

use super::{DUBLIN_CORE, NAMESPACE};
use crate::content::Date;
use crate::wire::{Attribute, Entry, EntryKind, SignedBy, UrlPath, clean};

/// What comes before the entries of a directory.
pub fn begin(path: &UrlPath) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <listing xmlns=\"{NAMESPACE}\" xmlns:dc=\"{DUBLIN_CORE}\" path=\"{}\">\n",
        attribute(path.as_str())
    )
}

/// What comes after the entries.
pub fn end() -> &'static str {
    "</listing>\n"
}

/// One entry, with the end of its line. `path` is relative to the directory, percent-encoded, and says exactly which file
/// it is. In the name, which is for people, U+FFFD stands for what is not UTF-8 and for what XML forbids. A time
/// outside of the years 1970 to 9999 is left out.
pub fn entry(path: &str, entry: &Entry) -> String {
    let element = match entry.kind {
        EntryKind::File => "file",
        EntryKind::Dir => "dir",
    };
    let mut out = format!("<{element} path=\"{}\"", attribute(path));
    if entry.about.as_ref().is_some_and(|about| about.is_pending) {
        out.push_str(" described=\"no\"");
    }
    out.push('>');
    text(&mut out, "name", &clean(&entry.name));
    if entry.kind == EntryKind::File {
        text(&mut out, "size", &entry.size.to_string());
    }
    let date = entry.mtime.and_then(|mtime| Date::from_unix(u64::try_from(mtime).ok()?));
    if let Some(date) = date {
        text(&mut out, "modified", &date.to_string());
    }
    if let Some(piece) = entry.chunk_size.filter(|piece| *piece > 0) {
        let count = entry.size.div_ceil(u64::from(piece));
        // Writing to a string does not fail.
        let _ = write!(out, "<pieces size=\"{piece}\" count=\"{count}\"/>");
    }
    if let Some(root) = entry.root {
        text(&mut out, "root", &root.to_string());
    }
    if entry.signed {
        out.push_str(match entry.signed_by {
            Some(SignedBy::Publisher) => "<signed by=\"publisher\"/>",
            Some(SignedBy::Server) => "<signed by=\"server\"/>",
            None => "<signed/>",
        });
    }
    let about = entry.about.as_ref().map(|about| &about.attributes);
    if let Some(mime) = entry.mime.as_ref().filter(|_| about.is_none_or(|all| !all.has(Attribute::Format))) {
        text(&mut out, "dc:format", &clean(mime));
    }
    for (attribute, value) in about.into_iter().flat_map(|all| all.iter()) {
        if attribute.is_dublin_core() {
            text(&mut out, &format!("dc:{}", attribute.element()), value);
        } else {
            text(&mut out, attribute.element(), value);
        }
    }
    let _ = writeln!(out, "</{element}>");
    out
}

/// An element with text, which has no characters that XML forbids.
fn text(out: &mut String, element: &str, value: &str) {
    let _ = write!(out, "<{element}>{}</{element}>", partial_escape(value));
}

/// For between quotes. Paths are visible ASCII, so there is no white space that would be lost there.
fn attribute(value: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(value)
}
