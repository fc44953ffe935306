//! A listing out of its XML.

use super::position::{XmlError, XmlProblem};
use super::xml::{Element, Vocabulary, Xml};
use crate::content::Date;
use crate::wire::{About, Attribute, Digest, Entry, EntryKind, SignedBy, UrlPath, limits};

/// A listing, or a page of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The directory.
    pub path: UrlPath,
    /// What is in it, each with [`Entry::about`].
    pub entries: Vec<Entry>,
}

/// Longest text of the elements of ours that are not metadata.
const MAX_WORD: usize = 128;

/// Reads a document. Elements and attributes that are not known are passed over: a later version may have more.
///
/// # Errors
/// What is not well-formed, makes no sense, or is beyond the bounds of [`limits`], with its place.
pub fn parse(text: &str) -> Result<Document, XmlError> {
    let mut xml = Xml::new(text)?;
    let root = xml.element()?;
    let Some(root) = root.filter(|root| root.is("listing")) else {
        return Err(xml.error(0, XmlProblem::Root("RDL listing")));
    };
    let path = root.attribute("path").map(UrlPath::parse);
    let path = match path {
        Some(Ok(path)) => path,
        Some(Err(_)) => return Err(xml.error(root.offset, XmlProblem::Value("path"))),
        None => return Err(xml.error(root.offset, XmlProblem::Missing("path"))),
    };
    let mut entries = Vec::new();
    while let Some(element) = xml.element()? {
        let kind = match () {
            _ if element.is("file") => EntryKind::File,
            _ if element.is("dir") => EntryKind::Dir,
            _ => {
                xml.skip()?;
                continue;
            }
        };
        if entries.len() >= limits::MAX_LIST_ENTRIES {
            return Err(xml.error(element.offset, XmlProblem::Entries));
        }
        entries.push(entry(&mut xml, kind, &element)?);
    }
    xml.finish()?;
    Ok(Document { path, entries })
}

fn entry(xml: &mut Xml<'_>, kind: EntryKind, element: &Element) -> Result<Entry, XmlError> {
    let wrong = |xml: &Xml<'_>, problem| Err(xml.error(element.offset, problem));
    let mut entry = Entry { kind, ..Entry::default() };
    match element.attribute("path").map(|path| named(&mut entry, path)) {
        Some(true) => {}
        Some(false) => return wrong(xml, XmlProblem::Value("path")),
        None => return wrong(xml, XmlProblem::Missing("path")),
    }
    let mut about = About { is_pending: element.attribute("described") == Some("no"), ..About::default() };
    let mut size = None;
    let mut pieces: Option<(u32, u64)> = None;
    while let Some(inner) = xml.element()? {
        let at = inner.offset;
        let metadata = match inner.vocabulary {
            Vocabulary::Rdl => Attribute::of_element(false, &inner.name),
            Vocabulary::DublinCore => match Attribute::of_element(true, &inner.name) {
                None => return Err(xml.error(at, XmlProblem::Value("an element of Dublin Core"))),
                known => known,
            },
            Vocabulary::Other => None,
        };
        if let Some(attribute) = metadata {
            let value = xml.text_of(limits::MAX_ATTRIBUTE_TEXT)?;
            about
                .attributes
                .add(attribute, &value)
                .map_err(|error| xml.error(at, XmlProblem::Attribute(attribute.name(), error)))?;
            continue;
        }
        if inner.vocabulary == Vocabulary::Other {
            xml.skip()?;
            continue;
        }
        match inner.name.as_str() {
            "size" => once(xml, at, &mut size, "size", |text| text.parse().ok())?,
            "modified" => {
                let unix = |text: &str| i64::try_from(text.parse::<Date>().ok()?.unix()).ok();
                once(xml, at, &mut entry.mtime, "modified", unix)?;
            }
            "root" => once(xml, at, &mut entry.root, "root", |text| text.parse::<Digest>().ok())?,
            "pieces" => {
                let number = |name| inner.attribute(name).and_then(|text| text.parse::<u64>().ok());
                let read = number("size").and_then(|size| u32::try_from(size).ok()).zip(number("count"));
                let read = read.filter(|(size, _)| *size > 0);
                let Some(read) = read else { return Err(xml.error(at, XmlProblem::Value("pieces"))) };
                if pieces.replace(read).is_some() {
                    return Err(xml.error(at, XmlProblem::Twice("pieces")));
                }
                xml.skip()?;
            }
            "signed" => {
                if std::mem::replace(&mut entry.signed, true) {
                    return Err(xml.error(at, XmlProblem::Twice("signed")));
                }
                entry.signed_by = match inner.attribute("by") {
                    Some("publisher") => Some(SignedBy::Publisher),
                    Some("server") => Some(SignedBy::Server),
                    // A word of later.
                    _ => None,
                };
                xml.skip()?;
            }
            // The name is for people; the path says the same exactly.
            _ => xml.skip()?,
        }
    }
    match (kind, size) {
        (EntryKind::File, Some(size)) => entry.size = size,
        (EntryKind::File, None) => return wrong(xml, XmlProblem::Missing("size")),
        (EntryKind::Dir, None) => {}
        (EntryKind::Dir, Some(_)) => return wrong(xml, XmlProblem::Misplaced("the size of a directory")),
    }
    if let Some((piece, count)) = pieces {
        if count != entry.size.div_ceil(u64::from(piece)) {
            return wrong(xml, XmlProblem::Value("pieces"));
        }
        entry.chunk_size = Some(piece);
    }
    entry.mime = about.attributes.get(Attribute::Format).map(str::to_owned);
    entry.about = Some(Box::new(about));
    Ok(entry)
}

/// The text of an element that may be there once.
fn once<T>(
    xml: &mut Xml<'_>,
    offset: usize,
    place: &mut Option<T>,
    name: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<(), XmlError> {
    let text = xml.text_of(MAX_WORD)?;
    let Some(value) = parse(text.trim_matches([' ', '\t', '\r', '\n'])) else {
        return Err(xml.error(offset, XmlProblem::Value(name)));
    };
    match place.replace(value) {
        Some(_) => Err(xml.error(offset, XmlProblem::Twice(name))),
        None => Ok(()),
    }
}

/// Gives an entry the names that follow from its relative path; `false` = it is none.
fn named(entry: &mut Entry, relative: &str) -> bool {
    let Ok(path) = UrlPath::parse(&format!("/{relative}")) else { return false };
    if path.as_str()[1..] != *relative {
        return false;
    }
    let raw = path.components().collect::<Vec<_>>().join(&b'/');
    entry.path = std::str::from_utf8(&raw).is_err().then(|| relative.to_owned());
    entry.name = String::from_utf8_lossy(&raw).into_owned();
    true
}
