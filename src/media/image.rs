//! Pictures: their size, and what the camera or its owner wrote into them.
//!
//! Where the picture was taken (GPS) is not told: who serves a directory of photographs has seldom thought of it.

use std::io::{BufReader, Read, Seek};

use exif::{In, Tag, Value};

use crate::wire::{Attribute, Attributes};

pub(super) fn describe(source: impl Read + Seek, head: &[u8], all: &mut Attributes) {
    let mut source = BufReader::new(source);
    let size = imagesize::blob_size(head).or_else(|_| imagesize::reader_size(&mut source));
    if let Ok(size) = size {
        all.add_lossy(Attribute::Width, &size.width.to_string());
        all.add_lossy(Attribute::Height, &size.height.to_string());
    }
    if source.rewind().is_err() {
        return;
    }
    let Ok(fields) = exif::Reader::new().read_from_container(&mut source) else { return };
    for (tag, attribute) in [
        (Tag::ImageDescription, Attribute::Description),
        (Tag::Artist, Attribute::Creator),
        (Tag::Copyright, Attribute::Rights),
    ] {
        if let Some(Value::Ascii(texts)) = fields.get_field(tag, In::PRIMARY).map(|field| &field.value) {
            texts.iter().for_each(|text| all.add_lossy(attribute, &String::from_utf8_lossy(text)));
        }
    }
    let date = [Tag::DateTimeOriginal, Tag::DateTimeDigitized].into_iter().find_map(|tag| {
        match &fields.get_field(tag, In::PRIMARY)?.value {
            Value::Ascii(texts) => exif::DateTime::from_ascii(texts.first()?).ok(),
            _ => None,
        }
    });
    if let Some(date) = date {
        // The time of day is of a place that is not known.
        all.add_lossy(Attribute::Date, &format!("{:04}-{:02}-{:02}", date.year, date.month, date.day));
    }
}
