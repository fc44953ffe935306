//! XML from strangers: elements and their text, within bounds that have names.
//!
//! quick-xml finds the tokens and resolves namespaces. What it leaves to its user is checked here: characters,
//! references, one root, names, and how much of everything there may be. No DTD is read, so there is no entity that
//! could expand, and nothing outside of the document is ever looked at.

use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::position::{XmlError, XmlProblem};
use super::{DUBLIN_CORE, NAMESPACE};
use crate::wire::{is_xml_char, limits};

/// Whose element it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    Rdl,
    DublinCore,
    Other,
}

/// A start tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) vocabulary: Vocabulary,
    /// Name without prefix.
    pub(super) name: String,
    /// Attributes without a namespace.
    attributes: Vec<(String, String)>,
    /// Where it begins.
    pub(super) offset: usize,
}

impl Element {
    /// The value of an attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is this one of ours.
    pub(super) fn is(&self, name: &str) -> bool {
        self.vocabulary == Vocabulary::Rdl && self.name == name
    }
}

/// A document being read.
pub(super) struct Xml<'a> {
    text: &'a str,
    reader: NsReader<&'a [u8]>,
    depth: usize,
    has_root: bool,
    /// Bytes of the text before what the reader was given.
    skipped: usize,
}

/// What comes next.
enum Token {
    Open(Element),
    Close,
    Text(String),
    End,
}

impl<'a> Xml<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, XmlError> {
        if text.len() > limits::MAX_XML {
            return Err(XmlError::at(text, 0, XmlProblem::TooLong));
        }
        if let Some((offset, bad)) = text.char_indices().find(|(_, c)| !is_xml_char(*c)) {
            return Err(XmlError::at(text, offset, XmlProblem::Character(bad.into())));
        }
        let body = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = NsReader::from_str(body);
        let config = reader.config_mut();
        config.check_comments = true;
        config.expand_empty_elements = true;
        reader.resolver_mut().set_max_namespace_bindings(limits::MAX_XML_ATTRIBUTES * limits::MAX_XML_DEPTH);
        Ok(Self { text, reader, depth: 0, has_root: false, skipped: text.len() - body.len() })
    }

    /// The next element within the one that is open (at the beginning: the root); `None` = it ends.
    pub(super) fn element(&mut self) -> Result<Option<Element>, XmlError> {
        loop {
            let offset = self.offset();
            match self.token()? {
                Token::Open(element) => return Ok(Some(element)),
                Token::Close | Token::End => return Ok(None),
                Token::Text(text) if is_blank(&text) => {}
                Token::Text(_) => return Err(self.error(offset, XmlProblem::Misplaced("text"))),
            }
        }
    }

    /// The same where there may be text between the elements, which is of no interest.
    pub(super) fn element_in_text(&mut self) -> Result<Option<Element>, XmlError> {
        loop {
            match self.token()? {
                Token::Open(element) => return Ok(Some(element)),
                Token::Close | Token::End => return Ok(None),
                Token::Text(_) => {}
            }
        }
    }

    /// The text of the element that was just opened, up to its end. It has no elements in it.
    pub(super) fn text_of(&mut self, most: usize) -> Result<String, XmlError> {
        let mut whole = String::new();
        loop {
            let offset = self.offset();
            match self.token()? {
                Token::Text(text) if whole.len() + text.len() > most => {
                    return Err(self.error(offset, XmlProblem::Text(most)));
                }
                Token::Text(text) => whole.push_str(&text),
                Token::Open(_) => return Err(self.error(offset, XmlProblem::Misplaced("an element"))),
                Token::Close | Token::End => return Ok(whole),
            }
        }
    }

    /// Passes over the rest of the element that was just opened.
    pub(super) fn skip(&mut self) -> Result<(), XmlError> {
        let outside = self.depth.saturating_sub(1);
        while self.depth > outside {
            self.token()?;
        }
        Ok(())
    }

    /// After the root: nothing more may come but comments.
    pub(super) fn finish(mut self) -> Result<(), XmlError> {
        match self.element()? {
            None => Ok(()),
            Some(element) => Err(self.error(element.offset, XmlProblem::Misplaced("a second root"))),
        }
    }

    pub(super) fn error(&self, offset: usize, problem: XmlProblem) -> XmlError {
        XmlError::at(self.text, offset, problem)
    }

    /// Where the next token begins.
    pub(super) fn offset(&self) -> usize {
        self.skipped + usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    fn syntax(&self, offset: usize, error: impl std::fmt::Display) -> XmlError {
        self.error(offset, XmlProblem::Syntax(error.to_string()))
    }

    fn token(&mut self) -> Result<Token, XmlError> {
        loop {
            let offset = self.offset();
            let event = match self.reader.read_resolved_event() {
                Ok((namespace, event)) => (vocabulary(&namespace), event),
                Err(error) => {
                    let at = usize::try_from(self.reader.error_position()).unwrap_or(0) + self.skipped;
                    return Err(self.syntax(at.max(offset), error));
                }
            };
            match event {
                (vocabulary, Event::Start(start)) => {
                    return self.open(offset, vocabulary, &start).map(Token::Open);
                }
                (_, Event::End(_)) => {
                    self.depth -= 1;
                    return Ok(Token::Close);
                }
                (_, Event::Text(text)) => {
                    if text.contains("]]>") {
                        return Err(self.error(offset, XmlProblem::Misplaced("]]>")));
                    }
                    return self.inside(offset, text.xml10_content().into_owned());
                }
                (_, Event::CData(text)) if self.depth > 0 => {
                    return Ok(Token::Text(text.xml10_content().into_owned()));
                }
                (_, Event::CData(_)) => return Err(self.error(offset, XmlProblem::Misplaced("text"))),
                (_, Event::GeneralRef(reference)) => {
                    let text = self.resolve(offset, &reference)?;
                    // Outside of the root even a space must not be written by its number.
                    if self.depth == 0 {
                        return Err(self.error(offset, XmlProblem::Misplaced("text")));
                    }
                    return Ok(Token::Text(text));
                }
                (_, Event::Decl(declaration)) => {
                    let is_first = offset == self.skipped;
                    let is_xml_1 = declaration.version().is_ok_and(|version| version == "1.0");
                    let is_utf_8 = match declaration.encoding() {
                        None => true,
                        Some(encoding) => encoding.is_ok_and(|name| name.eq_ignore_ascii_case("utf-8")),
                    };
                    if !(is_first && is_xml_1 && is_utf_8) {
                        return Err(self.error(offset, XmlProblem::Declaration));
                    }
                }
                (_, Event::DocType(_)) => return Err(self.error(offset, XmlProblem::Doctype)),
                (_, Event::Comment(_) | Event::PI(_)) => {}
                (_, Event::Eof) if self.depth > 0 => {
                    return Err(self.syntax(offset, "the document ends within an element"));
                }
                (_, Event::Eof) => return Ok(Token::End),
                (_, Event::Empty(_)) => return Err(self.syntax(offset, "an element that is not expected")),
            }
        }
    }

    fn inside(&self, offset: usize, text: String) -> Result<Token, XmlError> {
        if self.depth == 0 && !is_blank(&text) {
            return Err(self.error(offset, XmlProblem::Misplaced("text")));
        }
        Ok(Token::Text(text))
    }

    fn open(
        &mut self,
        offset: usize,
        vocabulary: Result<Vocabulary, String>,
        start: &BytesStart<'_>,
    ) -> Result<Element, XmlError> {
        let vocabulary = vocabulary.map_err(|prefix| {
            self.syntax(offset, format!("the prefix {prefix:?} stands for no namespace"))
        })?;
        if self.depth == 0 && std::mem::replace(&mut self.has_root, true) {
            return Err(self.error(offset, XmlProblem::Misplaced("a second root")));
        }
        self.depth += 1;
        if self.depth > limits::MAX_XML_DEPTH {
            return Err(self.error(offset, XmlProblem::Depth));
        }
        if !is_name(start.name().as_ref()) {
            return Err(self.syntax(offset, "an element whose name is none"));
        }
        let mut attributes = Vec::new();
        for (count, attribute) in start.attributes().enumerate() {
            if count >= limits::MAX_XML_ATTRIBUTES {
                return Err(self.error(offset, XmlProblem::Attributes));
            }
            let attribute = attribute.map_err(|error| self.syntax(offset, error))?;
            let name: &str = attribute.key.as_ref();
            if !is_name(name) {
                return Err(self.syntax(offset, "an attribute whose name is none"));
            }
            if attribute.value.len() > limits::MAX_XML_VALUE {
                return Err(self.error(offset, XmlProblem::Text(limits::MAX_XML_VALUE)));
            }
            if attribute.value.contains('<') {
                return Err(self.error(offset, XmlProblem::Misplaced("<")));
            }
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|error| self.syntax(offset, error))?;
            if let Some(bad) = value.chars().find(|c| !is_xml_char(*c)) {
                return Err(self.error(offset, XmlProblem::Character(bad.into())));
            }
            if !name.contains(':') {
                attributes.push((name.to_owned(), value.into_owned()));
            }
        }
        let name: &str = start.local_name().into_inner();
        Ok(Element { vocabulary, name: name.to_owned(), attributes, offset })
    }

    /// What a reference stands for: one of the five, or a character by its number.
    fn resolve(&self, offset: usize, reference: &BytesRef<'_>) -> Result<String, XmlError> {
        let name: &str = reference;
        let known = match name {
            "lt" => Some("<"),
            "gt" => Some(">"),
            "amp" => Some("&"),
            "apos" => Some("'"),
            "quot" => Some("\""),
            _ => None,
        };
        if let Some(known) = known {
            return Ok(known.to_owned());
        }
        match reference.resolve_char_ref() {
            Ok(Some(c)) if is_xml_char(c) => Ok(c.to_string()),
            Ok(Some(c)) => Err(self.error(offset, XmlProblem::Character(c.into()))),
            Ok(None) => Err(self.error(offset, XmlProblem::Entity(name.chars().take(32).collect()))),
            Err(error) => Err(self.syntax(offset, error)),
        }
    }
}

/// Whose namespace it is; an error with the prefix that was not declared.
fn vocabulary(namespace: &ResolveResult<'_>) -> Result<Vocabulary, String> {
    match namespace {
        ResolveResult::Bound(namespace) => Ok(match namespace.as_ref() {
            NAMESPACE => Vocabulary::Rdl,
            DUBLIN_CORE => Vocabulary::DublinCore,
            _ => Vocabulary::Other,
        }),
        ResolveResult::Unbound => Ok(Vocabulary::Other),
        ResolveResult::Unknown(prefix) => Err(prefix.chars().take(32).collect()),
    }
}

/// Only of what XML calls white space.
fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Whether it is a name with at most one prefix. Beyond ASCII everything is taken for a letter.
fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
        part.starts_with(starts)
            && part.chars().all(|c| starts(c) || c.is_ascii_digit() || matches!(c, '.' | '-'))
    };
    match text.split_once(':') {
        Some((prefix, name)) => is_part(prefix) && is_part(name),
        None => is_part(text),
    }
}
