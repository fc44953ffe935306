//! `--where`: which entries of a listing are shown.

use std::cmp::Ordering;
use std::str::FromStr;

use pdtp::wire::{Attribute, AttributeKind, Entry, EntryKind, SignedBy};

use crate::term;

/// A condition: a key, how to compare, and with what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    key: Key,
    test: Test,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Name,
    Type,
    Size,
    Modified,
    Signed,
    Attribute(Attribute),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Is,
    IsNot,
    Contains,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// As they are written; of two that begin alike the longer first.
const TESTS: [(&str, Test); 7] = [
    ("!=", Test::IsNot),
    ("<=", Test::AtMost),
    (">=", Test::AtLeast),
    ("=", Test::Is),
    ("~", Test::Contains),
    ("<", Test::Less),
    (">", Test::More),
];

const KEYS: [(&str, Key); 6] = [
    ("name", Key::Name),
    ("type", Key::Type),
    ("size", Key::Size),
    ("modified", Key::Modified),
    ("mime", Key::Attribute(Attribute::Format)),
    ("signed", Key::Signed),
];

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = text.find(['!', '=', '~', '<', '>']).unwrap_or(text.len());
        let (key, rest) = text.split_at(at);
        let found = TESTS.iter().find_map(|(sign, test)| Some((*test, rest.strip_prefix(sign)?)));
        let (test, value) =
            found.ok_or("a condition is KEY=VALUE, with !=, ~ (contains), <, <=, > or >= for =")?;
        let key = key.trim();
        let known = KEYS.iter().find(|(name, _)| *name == key).map(|(_, key)| *key);
        let key = known.or_else(|| Attribute::parse(key).map(Key::Attribute)).ok_or_else(|| {
            let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
            let attributes: Vec<_> = Attribute::ALL.iter().map(|attribute| attribute.name()).collect();
            format!("unknown key {key:?}; there are: {}, {}", names.join(", "), attributes.join(", "))
        })?;
        let value = value.trim().to_owned();
        if matches!(test, Test::Less | Test::AtMost | Test::More | Test::AtLeast) {
            match key {
                Key::Size if bytes(&value).is_none() => {
                    return Err("a size is a number, with K, M or G or without".to_owned());
                }
                Key::Attribute(attribute)
                    if attribute.kind() != AttributeKind::Text && value.parse::<f64>().is_err() =>
                {
                    return Err(format!("{value:?} is no number"));
                }
                _ => {}
            }
        }
        Ok(Self { key, test, value })
    }
}

impl Condition {
    /// Whether it takes what only rich listings tell.
    pub(crate) fn is_rich(&self) -> bool {
        matches!(self.key, Key::Attribute(_))
    }

    /// Whether it holds: for any value that there is, or of `!=` for all.
    pub(crate) fn holds(&self, entry: &Entry) -> bool {
        let values = self.key.values(entry);
        match self.test {
            Test::Is => values.iter().any(|value| self.order(value) == Some(Ordering::Equal)),
            Test::IsNot => values.iter().all(|value| self.order(value) != Some(Ordering::Equal)),
            Test::Contains => {
                let wanted = self.value.to_lowercase();
                values.iter().any(|value| value.to_lowercase().contains(&wanted))
            }
            _ => values.iter().filter_map(|value| self.order(value)).any(|order| match self.test {
                Test::Less => order.is_lt(),
                Test::AtMost => order.is_le(),
                Test::More => order.is_gt(),
                _ => order.is_ge(),
            }),
        }
    }

    /// How a value compares with the one wanted: as numbers where it is one, as text elsewhere, which is good for dates.
    fn order(&self, value: &str) -> Option<Ordering> {
        match self.key {
            Key::Size => match bytes(&self.value) {
                Some(wanted) => bytes(value)?.partial_cmp(&wanted),
                None => None,
            },
            Key::Attribute(attribute) if attribute.kind() != AttributeKind::Text => {
                value.parse::<f64>().ok()?.partial_cmp(&self.value.parse().ok()?)
            }
            _ => Some(value.cmp(&self.value)),
        }
    }
}

impl Key {
    fn values(self, entry: &Entry) -> Vec<String> {
        let is_file = entry.kind == EntryKind::File;
        match self {
            Self::Name => vec![entry.name.clone()],
            Self::Type => vec![if is_file { "file" } else { "dir" }.to_owned()],
            Self::Size if is_file => vec![entry.size.to_string()],
            Self::Size => Vec::new(),
            Self::Modified => entry.mtime.map(term::date).into_iter().collect(),
            Self::Signed => match (entry.signed, entry.signed_by) {
                (false, _) => vec!["no".to_owned()],
                (true, Some(SignedBy::Publisher)) => vec!["yes".to_owned(), "publisher".to_owned()],
                (true, Some(SignedBy::Server)) => vec!["yes".to_owned(), "server".to_owned()],
                (true, None) => vec!["yes".to_owned()],
            },
            Self::Attribute(attribute) => match &entry.about {
                Some(about) => about.attributes.values(attribute).map(str::to_owned).collect(),
                // Of a server without rich listings.
                None if attribute == Attribute::Format => entry.mime.iter().cloned().collect(),
                None => Vec::new(),
            },
        }
    }
}

/// A number, with a power of 1024 or without.
fn bytes(text: &str) -> Option<f64> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G', 'k', 'm', 'g']) {
        Some(number) => (number, text[number.len()..].to_ascii_uppercase()),
        None => (text, String::new()),
    };
    let power = match unit.as_str() {
        "K" => 1,
        "M" => 2,
        "G" => 3,
        _ => 0,
    };
    Some(number.parse::<f64>().ok().filter(|number| *number >= 0.0)? * 1024f64.powi(power))
}

#[cfg(test)]
mod tests {
    use pdtp::wire::{About, Attributes};

    use super::*;

    fn holds(condition: &str) -> bool {
        let mut attributes = Attributes::default();
        for (attribute, value) in [
            (Attribute::Creator, "Ada"),
            (Attribute::Creator, "Grace Hopper"),
            (Attribute::Date, "1843-09-01"),
            (Attribute::Duration, "95.5"),
            (Attribute::Title, "a=b"),
        ] {
            attributes.add(attribute, value).unwrap();
        }
        let entry = Entry {
            name: "a.ogg".into(),
            size: 3 << 20,
            mtime: Some(0),
            signed: true,
            signed_by: Some(SignedBy::Publisher),
            about: Some(Box::new(About { attributes, is_pending: false })),
            ..Entry::default()
        };
        condition.parse::<Condition>().unwrap().holds(&entry)
    }

    #[test]
    fn conditions_of_all_kinds() {
        for (condition, expected) in [
            ("dc.creator=Ada", true),
            ("dc.creator=ada", false),
            ("dc.creator~ADA", true),
            ("dc.creator ~ hopper", true),
            ("dc.creator!=Ada", false),
            ("dc.creator!=Bob", true),
            ("dc.rights!=x", true),
            ("dc.rights=x", false),
            ("dc.title=a=b", true),
            ("media.duration>60", true),
            ("media.duration>100", false),
            ("media.duration=95.50", true),
            ("media.width>0", false),
            ("size>2M", true),
            ("size<=3M", true),
            ("size<3M", false),
            ("dc.date<1900", true),
            ("modified<1971", true),
            ("signed=publisher", true),
            ("signed=no", false),
            ("name~.OGG", true),
            ("type=dir", false),
        ] {
            assert_eq!(holds(condition), expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("dc.creator", "KEY=VALUE"),
            ("dc.creator!Ada", "KEY=VALUE"),
            ("creator=Ada", "dc.creator"),
            ("media.width>wide", "no number"),
            ("size>big", "a size"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
