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
