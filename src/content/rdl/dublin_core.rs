//! Simple Dublin Core as it lies beside files, in whatever element it is wrapped.

use super::position::{XmlError, XmlProblem};
use super::xml::{Vocabulary, Xml};
use crate::wire::{Attribute, Attributes, limits};

/// Levels at which elements of Dublin Core are found: in the root, or in one element in it (as in RDF and in OPF).
const LEVELS: usize = 2;

/// Reads the elements of Dublin Core 1.1 in a document. Everything else in it is passed over. Text comes without the
/// space around it; empty elements count as none.
///
/// # Errors
/// What is not well-formed, not of simple Dublin Core, or beyond the bounds of [`limits`], with its place.
pub fn parse_dublin_core(text: &str) -> Result<Attributes, XmlError> {
    let mut xml = Xml::new(text)?;
    let Some(root) = xml.element()? else {
        return Err(xml.error(text.len(), XmlProblem::Missing("the root element")));
    };
    let mut all = Attributes::default();
    if root.vocabulary == Vocabulary::DublinCore {
        return Err(xml.error(root.offset, XmlProblem::Misplaced("an element of Dublin Core as the root")));
    }
    inside(&mut xml, LEVELS, &mut all)?;
    xml.finish()?;
    Ok(all)
}

fn inside(xml: &mut Xml<'_>, levels: usize, all: &mut Attributes) -> Result<(), XmlError> {
    loop {
        let Some(element) = xml.element_in_text()? else { return Ok(()) };
        if element.vocabulary == Vocabulary::DublinCore {
            let Some(attribute) = Attribute::of_element(true, &element.name) else {
                return Err(xml.error(element.offset, XmlProblem::Value("an element of Dublin Core")));
            };
            let value = xml.text_of(limits::MAX_ATTRIBUTE_TEXT)?;
            all.add(attribute, value.trim())
                .map_err(|error| xml.error(element.offset, XmlProblem::Attribute(attribute.name(), error)))?;
        } else if levels > 1 {
            inside(xml, levels - 1, all)?;
        } else {
            xml.skip()?;
        }
    }
}

/// Where the package document of an EPUB is, as its `META-INF/container.xml` says.
///
/// # Errors
/// What is not well-formed, or says no such thing.
#[cfg(feature = "server")]
pub fn package_of_epub(text: &str) -> Result<String, XmlError> {
    let mut xml = Xml::new(text)?;
    let mut depth = 0;
    loop {
        match xml.element_in_text()? {
            Some(element) if element.name == "rootfile" => {
                let path = element.attribute("full-path").map(str::to_owned);
                return path.ok_or_else(|| xml.error(element.offset, XmlProblem::Missing("full-path")));
            }
            Some(_) => depth += 1,
            None if depth == 0 => return Err(xml.error(text.len(), XmlProblem::Missing("rootfile"))),
            None => depth -= 1,
        }
    }
}
