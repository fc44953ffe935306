use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeStruct};

use super::json::Object;

/// A range of bytes, both ends included; without `max` it runs to the end of the file.
///
/// On the wire `{"min":a,"max":b}`. `min` defaults to 0; `max` of -1 or null means "to the end", as
/// DistribuStream 0.1.0 reads it. Inverted ranges do not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ByteRange {
    /// First byte.
    pub min: u64,
    /// Last byte; `None` is the last byte of the file, whatever its size.
    pub max: Option<u64>,
}

impl ByteRange {
    /// The whole file.
    pub const ALL: Self = Self { min: 0, max: None };

    /// From `min` to `max`, both included.
    pub fn new(min: u64, max: u64) -> Self {
        Self { min, max: Some(max) }
    }

    /// From `FROM-TO` or `FROM-`, decimal, both included.
    pub fn from_text(text: &str) -> Option<Self> {
        let (min, max) = text.split_once('-')?;
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
        let (min, max) = (number(min)?, if max.is_empty() { None } else { Some(number(max)?) });
        max.is_none_or(|max| min <= max).then_some(Self { min, max })
    }

    /// As a half-open range of offsets within a file of `size` bytes: a `max` past the end means the end.
    /// `None` where nothing of the file is covered.
    pub fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        let end = self.max.map_or(size, |max| max.saturating_add(1).min(size));
        (self.min < end).then_some(self.min..end)
    }
}

impl Serialize for ByteRange {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut out = s.serialize_struct("ByteRange", 1 + usize::from(self.max.is_some()))?;
        out.serialize_field("min", &self.min)?;
        match self.max {
            Some(max) => out.serialize_field("max", &max)?,
            None => out.skip_field("max")?,
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for ByteRange {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            min: Option<u64>,
            max: Option<i128>,
        }
        let Object(raw) = Object::<Raw>::deserialize(d)?;
        let min = raw.min.unwrap_or(0);
        let max = match raw.max {
            None | Some(-1) => None,
            Some(max) => {
                Some(u64::try_from(max).map_err(|_| serde::de::Error::custom("range: max out of bounds"))?)
            }
        };
        if max.is_some_and(|max| max < min) {
            return Err(serde::de::Error::custom("range: max before min"));
        }
        Ok(Self { min, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<ByteRange> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn every_way_to_say_to_the_end() {
        for text in ["{}", r#"{"min":null}"#, r#"{"max":-1}"#, r#"{"min":0,"max":null}"#, r#"{"x":[1,{}]}"#] {
            assert_eq!(read(text), Some(ByteRange::ALL), "{text}");
        }
        assert_eq!(read(r#"{"max":9}"#), Some(ByteRange::new(0, 9)));
        assert_eq!(read(r#"{"max":9,"min":9}"#), Some(ByteRange::new(9, 9)));
        assert_eq!(read(r#"{"min":18446744073709551615}"#), Some(ByteRange { min: u64::MAX, max: None }));
        let last = r#"{"min":18446744073709551615,"max":18446744073709551615}"#;
        assert_eq!(read(last), Some(ByteRange::new(u64::MAX, u64::MAX)));
    }

    #[test]
    fn as_people_write_them() {
        assert_eq!(ByteRange::from_text("0-0"), Some(ByteRange::new(0, 0)));
        assert_eq!(ByteRange::from_text("10-19"), Some(ByteRange::new(10, 19)));
        assert_eq!(ByteRange::from_text("10-"), Some(ByteRange { min: 10, max: None }));
        for text in [
            "",
            "-",
            "-5",
            "5",
            "9-8",
            "1-2-3",
            "+1-2",
            "1-+2",
            " 1-2",
            "1-2 ",
            "a-b",
            "99999999999999999999-",
        ] {
            assert_eq!(ByteRange::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_range() {
        for text in [
            r#"{"min":10,"max":9}"#,
            r#"{"min":-1}"#,
            r#"{"min":-1,"max":9}"#,
            r#"{"max":-2}"#,
            r#"{"max":18446744073709551616}"#,
            r#"{"max":99999999999999999999999999999999999999999999}"#,
            r#"{"min":0.0}"#,
            r#"{"max":1e3}"#,
            r#"{"min":"0"}"#,
            r#"{"min":[]}"#,
            r#"{"min":1,"min":1}"#,
            "[0,9]",
            "[]",
            r#""0-9""#,
            "null",
            "9",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn within_a_file() {
        assert_eq!(ByteRange::ALL.within(10), Some(0..10));
        assert_eq!(ByteRange::ALL.within(0), None);
        assert_eq!(ByteRange::new(0, 9).within(10), Some(0..10));
        assert_eq!(ByteRange::new(0, 10).within(10), Some(0..10));
        assert_eq!(ByteRange::new(9, u64::MAX).within(10), Some(9..10));
        assert_eq!(ByteRange::new(10, 20).within(10), None);
        assert_eq!(ByteRange::new(5, 5).within(10), Some(5..6));
        assert_eq!(ByteRange { min: u64::MAX, max: None }.within(u64::MAX), None);
        let end = u64::MAX - 1;
        assert_eq!(ByteRange::new(end, u64::MAX).within(u64::MAX), Some(end..u64::MAX));
        // Inverted by hand: a caller's mistake, but no panic.
        assert_eq!(ByteRange::new(9, 3).within(10), None);
    }
}
