//! EPUB: a ZIP archive with a package document, which has Dublin Core in it.

use std::io::{Read, Seek};

use crate::content::rdl;
use crate::wire::{Attributes, limits};

/// Which file says where the package document is.
const CONTAINER: &str = "META-INF/container.xml";
/// Most entries of the archive.
const MAX_ENTRIES: usize = 10_000;

pub(super) fn describe(source: impl Read + Seek, all: &mut Attributes) {
    let Ok(mut archive) = zip::ZipArchive::new(source) else { return };
    if archive.len() > MAX_ENTRIES {
        return;
    }
    let package = text_of(&mut archive, CONTAINER).and_then(|text| rdl::package_of_epub(&text).ok());
    let Some(text) = package.and_then(|package| text_of(&mut archive, &package)) else { return };
    if let Ok(found) = rdl::parse_dublin_core(&text) {
        all.complete_with(&found);
    }
}

/// A file of the archive, if it is text of no more than [`limits::MAX_XML`] bytes, whatever it claims.
fn text_of(archive: &mut zip::ZipArchive<impl Read + Seek>, name: &str) -> Option<String> {
    let mut text = String::new();
    let file = archive.by_name(name).ok()?;
    file.take(limits::MAX_XML as u64 + 1).read_to_string(&mut text).ok()?;
    Some(text)
}
