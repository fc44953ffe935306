//! What is told of a file besides its bytes: Dublin Core elements, and properties of media.
//!
//! Not responsible for where it comes from, nor for the XML in which it travels ([`crate::content::rdl`]).

use std::fmt;

use super::limits;

/// Declares [`Attribute`] with its names, so that they cannot disagree.
macro_rules! attributes {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal $element:literal $kind:ident ),+ $(,)?) => {
        /// What a value says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Attribute {
            $( $(#[$doc])* $variant, )+
        }

        impl Attribute {
            /// All of them, in the order in which they are written.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// The name, as `dc.title` or `media.width`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// The element in XML, without its namespace.
            pub fn element(self) -> &'static str {
                match self { $( Self::$variant => $element, )+ }
            }

            /// What values it has.
            pub fn kind(self) -> AttributeKind {
                match self { $( Self::$variant => AttributeKind::$kind, )+ }
            }
        }
    };
}

/// What values an [`Attribute`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttributeKind {
    /// Any text.
    Text,
    /// A number from 0 on, in digits.
    Count,
    /// A number from 0 on, in digits, with a point and more digits or without.
    Decimal,
}

attributes! {
    /// Name given to the resource.
    Title = "dc.title" "title" Text,
    /// Who made it.
    Creator = "dc.creator" "creator" Text,
    /// Topic.
    Subject = "dc.subject" "subject" Text,
    /// Account of it.
    Description = "dc.description" "description" Text,
    /// Who made it available.
    Publisher = "dc.publisher" "publisher" Text,
    /// Who contributed to it.
    Contributor = "dc.contributor" "contributor" Text,
    /// A point in its life, best as `YYYY-MM-DD`.
    Date = "dc.date" "date" Text,
    /// Nature or genre.
    Type = "dc.type" "type" Text,
    /// Media type.
    Format = "dc.format" "format" Text,
    /// Reference to it, as an ISBN.
    Identifier = "dc.identifier" "identifier" Text,
    /// What it is derived from.
    Source = "dc.source" "source" Text,
    /// Language of the content.
    Language = "dc.language" "language" Text,
    /// What is related to it.
    Relation = "dc.relation" "relation" Text,
    /// Place or time that it is about.
    Coverage = "dc.coverage" "coverage" Text,
    /// Rights held in it.
    Rights = "dc.rights" "rights" Text,
    /// How it is encoded; once for each track, the picture first.
    Codec = "media.codec" "codec" Text,
    /// Bits a second, of all tracks together.
    Bitrate = "media.bitrate" "bitrate" Count,
    /// Seconds.
    Duration = "media.duration" "duration" Decimal,
    /// Of sound, in Hz.
    SampleRate = "media.sample-rate" "sample-rate" Count,
    /// Of sound.
    Channels = "media.channels" "channels" Count,
    /// Pixels.
    Width = "media.width" "width" Count,
    /// Pixels.
    Height = "media.height" "height" Count,
}

impl Attribute {
    /// By its [`Attribute::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|attribute| attribute.name() == name)
    }

    /// By its [`Attribute::element`]; of Dublin Core, or of ours.
    pub fn of_element(is_dublin_core: bool, element: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|attribute| attribute.is_dublin_core() == is_dublin_core && attribute.element() == element)
    }

    /// Whether it is an element of the Dublin Core Metadata Element Set 1.1.
    pub fn is_dublin_core(self) -> bool {
        self <= Self::Rights
    }

    fn allows(self, value: &str) -> bool {
        let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match self.kind() {
            AttributeKind::Text => true,
            AttributeKind::Count => are_digits(value) && value.parse::<u64>().is_ok(),
            AttributeKind::Decimal => {
                let (whole, part) = value.split_once('.').unwrap_or((value, "0"));
                value.len() <= 32 && are_digits(whole) && are_digits(part)
            }
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a value is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// More than [`limits::MAX_ATTRIBUTE_TEXT`] bytes.
    #[error("a value of more than {} bytes", limits::MAX_ATTRIBUTE_TEXT)]
    TooLong,
    /// More than [`limits::MAX_ATTRIBUTES`], or all together more than [`limits::MAX_ATTRIBUTES_TEXT`] bytes.
    #[error(
        "more than {} values, or more than {} bytes of them, for one file",
        limits::MAX_ATTRIBUTES,
        limits::MAX_ATTRIBUTES_TEXT
    )]
    TooMany,
    /// A character that XML has no way to write.
    #[error("a character that XML does not allow")]
    Character,
    /// Not the number that it has to be.
    #[error("not a number from 0 on")]
    Number,
}

/// Attributes with their values: within bounds, none of them empty, and none with characters that XML forbids.
///
/// The values of one attribute keep the order in which they were added; attributes are in the order of
/// [`Attribute::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    all: Vec<(Attribute, Box<str>)>,
    bytes: usize,
}

impl Attributes {
    /// Adds a value as it is; an empty one counts as none.
    ///
    /// # Errors
    /// See [`AttributeError`]; nothing is added then.
    pub fn add(&mut self, attribute: Attribute, value: &str) -> Result<(), AttributeError> {
        if value.is_empty() {
            return Ok(());
        }
        if value.len() > limits::MAX_ATTRIBUTE_TEXT {
            return Err(AttributeError::TooLong);
        }
        if !attribute.allows(value) {
            return Err(AttributeError::Number);
        }
        if !value.chars().all(is_xml_char) {
            return Err(AttributeError::Character);
        }
        let bytes = self.bytes + value.len();
        if self.all.len() >= limits::MAX_ATTRIBUTES || bytes > limits::MAX_ATTRIBUTES_TEXT {
            return Err(AttributeError::TooMany);
        }
        self.bytes = bytes;
        let at = self.all.partition_point(|(other, _)| *other <= attribute);
        self.all.insert(at, (attribute, value.into()));
        Ok(())
    }

    /// Adds what can be made of a value that comes from anywhere: without space around it, with U+FFFD for what XML
    /// forbids, cut to the longest that is allowed. What has no place any more is left out.
    pub fn add_lossy(&mut self, attribute: Attribute, value: &str) {
        let value = clean(value.trim());
        let mut end = value.len().min(limits::MAX_ATTRIBUTE_TEXT);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        // What is left out here is no fault of anybody's.
        let _ = self.add(attribute, value[..end].trim_end());
    }

    /// The first value.
    pub fn get(&self, attribute: Attribute) -> Option<&str> {
        self.values(attribute).next()
    }

    /// All values of one attribute.
    pub fn values(&self, attribute: Attribute) -> impl Iterator<Item = &str> {
        self.iter().filter(move |(other, _)| *other == attribute).map(|(_, value)| value)
    }

    /// Whether there is a value.
    pub fn has(&self, attribute: Attribute) -> bool {
        self.get(attribute).is_some()
    }

    /// Everything.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Attribute, &str)> {
        self.all.iter().map(|(attribute, value)| (*attribute, &**value))
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds those attributes of `other` of which there is no value here.
    pub fn complete_with(&mut self, other: &Self) {
        let missing: Vec<Attribute> =
            Attribute::ALL.iter().copied().filter(|attribute| !self.has(*attribute)).collect();
        for (attribute, value) in other.iter().filter(|(attribute, _)| missing.contains(attribute)) {
            // What has no place any more is left out.
            let _ = self.add(attribute, value);
        }
    }
}

/// What is told of a file or directory beyond what every listing has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// What is known.
    pub attributes: Attributes,
    /// The server has still to look at the file: more may be known soon.
    pub is_pending: bool,
}

/// Whether XML 1.0 has a way to write this character.
pub fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// With U+FFFD in place of what XML forbids.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if is_xml_char(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for &attribute in Attribute::ALL {
            assert_eq!(Attribute::parse(attribute.name()), Some(attribute));
            let found = Attribute::of_element(attribute.is_dublin_core(), attribute.element());
            assert_eq!(found, Some(attribute));
        }
        assert_eq!(Attribute::ALL.iter().filter(|attribute| attribute.is_dublin_core()).count(), 15);
        assert_eq!(Attribute::parse("dc.colour"), None);
    }

    #[test]
    fn values_have_bounds() {
        let mut all = Attributes::default();
        assert_eq!(all.add(Attribute::Title, ""), Ok(()));
        assert!(all.is_empty());
        let long = "x".repeat(limits::MAX_ATTRIBUTE_TEXT + 1);
        assert_eq!(all.add(Attribute::Title, &long), Err(AttributeError::TooLong));
        assert_eq!(all.add(Attribute::Title, "\u{1}"), Err(AttributeError::Character));
        assert_eq!(all.add(Attribute::Title, "\u{ffff}"), Err(AttributeError::Character));
        for wrong in ["-1", "1.5", "1e3", "x", "99999999999999999999"] {
            assert_eq!(all.add(Attribute::Width, wrong), Err(AttributeError::Number), "{wrong}");
        }
        for wrong in [".5", "5.", "1.2.3", "-1", "nan"] {
            assert_eq!(all.add(Attribute::Duration, wrong), Err(AttributeError::Number), "{wrong}");
        }
        assert_eq!(all.add(Attribute::Duration, "12.5"), Ok(()));
        let half = "x".repeat(limits::MAX_ATTRIBUTE_TEXT);
        assert_eq!(all.add(Attribute::Title, &half), Ok(()));
        assert_eq!(all.add(Attribute::Title, &half), Err(AttributeError::TooMany));
        let mut many = Attributes::default();
        (0..limits::MAX_ATTRIBUTES).for_each(|_| many.add(Attribute::Subject, "x").unwrap());
        assert_eq!(many.add(Attribute::Subject, "x"), Err(AttributeError::TooMany));
    }

    #[test]
    fn what_comes_from_anywhere_is_made_fit() {
        let mut all = Attributes::default();
        all.add_lossy(Attribute::Title, " \n a\u{0}b\u{fffe} ");
        all.add_lossy(Attribute::Width, "wide");
        let long = "\u{e9}".repeat(limits::MAX_ATTRIBUTE_TEXT);
        all.add_lossy(Attribute::Creator, &format!("x{long}"));
        assert_eq!(all.get(Attribute::Title), Some("a\u{fffd}b\u{fffd}"));
        assert!(!all.has(Attribute::Width));
        assert_eq!(all.get(Attribute::Creator).map(str::len), Some(limits::MAX_ATTRIBUTE_TEXT - 1));
    }

    #[test]
    fn the_first_source_that_says_something_wins_attribute_by_attribute() {
        let of = |pairs: &[(Attribute, &str)]| {
            let mut all = Attributes::default();
            pairs.iter().for_each(|(attribute, value)| all.add(*attribute, value).unwrap());
            all
        };
        let mut first = of(&[(Attribute::Rights, "r"), (Attribute::Title, "mine")]);
        first.complete_with(&of(&[
            (Attribute::Title, "its"),
            (Attribute::Creator, "b"),
            (Attribute::Creator, "a"),
        ]));
        let all: Vec<_> = first.iter().map(|(attribute, value)| format!("{attribute}={value}")).collect();
        assert_eq!(all, ["dc.title=mine", "dc.creator=b", "dc.creator=a", "dc.rights=r"]);
    }
}
