//! Attributes as bytes: for pipes, and for the catalogue.

use crate::wire::{Attribute, Attributes};

/// One byte for the attribute, two for the length of its value, the value; and so on.
pub fn encode(all: &Attributes) -> Vec<u8> {
    let mut row = Vec::new();
    for (attribute, value) in all.iter() {
        let code = Attribute::ALL.iter().position(|other| *other == attribute);
        let (Some(code), Ok(length)) =
            (code.and_then(|at| u8::try_from(at).ok()), u16::try_from(value.len()))
        else {
            continue;
        };
        row.push(code);
        row.extend(length.to_le_bytes());
        row.extend(value.as_bytes());
    }
    row
}

/// The reverse; `None` when it is no such thing, or beyond the bounds of [`Attributes`].
pub fn decode(mut row: &[u8]) -> Option<Attributes> {
    let mut all = Attributes::default();
    while let Some((code, rest)) = row.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let attribute = *Attribute::ALL.get(usize::from(*code))?;
        all.add(attribute, std::str::from_utf8(value).ok()?).ok()?;
        row = rest;
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_again_and_broken_ones_are_none() {
        let mut all = Attributes::default();
        all.add(Attribute::Title, "caf\u{e9}").unwrap();
        all.add(Attribute::Width, "640").unwrap();
        let row = encode(&all);
        assert_eq!(decode(&row), Some(all));
        assert_eq!(decode(&[]), Some(Attributes::default()));
        for end in 1..row.len() {
            // Cut between two values it is a shorter row.
            assert!(decode(&row[..end]).is_none_or(|all| all.len() == 1), "{end}");
        }
        assert_eq!(decode(&[0xff, 1, 0, b'x']), None);
        assert_eq!(decode(&[0, 1, 0, 0xff]), None);
        assert_eq!(decode(&[19, 1, 0, b'x']), None, "a width that is no number");
    }
}
