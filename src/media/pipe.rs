//! What helper and keeper say to each other. All numbers are little-endian.
//!
//! - keeper: a file: size (8 bytes), extension (1 byte length, text), beginning (4 bytes length, bytes)
//! - helper: [`READ`], offset (8), length (4); keeper: length (4), bytes: fewer than asked for at the end, none when
//!   there are no more for this file
//! - helper: [`DONE`], length (4), attributes ([`super::row`])

use std::io::{self, Read, Write};

/// The helper wants bytes.
pub(super) const READ: u8 = 1;
/// The helper has done.
pub(super) const DONE: u8 = 2;
/// Most bytes of one answer to [`READ`].
pub(super) const MAX_READ: usize = 128 * 1024;
/// Longest row of attributes.
pub(super) const MAX_ROW: usize = 16 * 1024;

/// One file to be looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) size: u64,
    pub(super) extension: String,
    pub(super) head: Vec<u8>,
}

/// What the helper says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Read { offset: u64, length: usize },
    Done(Vec<u8>),
}

impl Question {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let extension = &self.extension.as_bytes()[..self.extension.len().min(usize::from(u8::MAX))];
        to.write_all(&self.size.to_le_bytes())?;
        to.write_all(&[extension.len() as u8])?;
        to.write_all(extension)?;
        write_bytes(to, &self.head)?;
        to.flush()
    }

    /// `None` = there is none any more.
    pub(super) fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut size = [0; 8];
        if from.read(&mut size[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut size[1..])?;
        let mut length = [0];
        from.read_exact(&mut length)?;
        let mut extension = vec![0; usize::from(length[0])];
        from.read_exact(&mut extension)?;
        let head = read_bytes(from, super::HEAD)?;
        let extension = String::from_utf8_lossy(&extension).into_owned();
        Ok(Some(Self { size: u64::from_le_bytes(size), extension, head }))
    }
}

impl Answer {
    pub(super) fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Read { offset, length } => {
                to.write_all(&[READ])?;
                to.write_all(&offset.to_le_bytes())?;
                to.write_all(&(*length as u32).to_le_bytes())?;
            }
            Self::Done(row) => {
                to.write_all(&[DONE])?;
                write_bytes(to, row)?;
            }
        }
        to.flush()
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        match kind[0] {
            READ => {
                let (mut offset, mut length) = ([0; 8], [0; 4]);
                from.read_exact(&mut offset)?;
                from.read_exact(&mut length)?;
                let length = (u32::from_le_bytes(length) as usize).min(MAX_READ);
                Ok(Self::Read { offset: u64::from_le_bytes(offset), length })
            }
            DONE => read_bytes(from, MAX_ROW).map(Self::Done),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Bytes with their length before them.
pub(super) fn write_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u32).to_le_bytes())?;
    to.write_all(bytes)?;
    to.flush()
}

/// The reverse, if it is no more than `most`.
pub(super) fn read_bytes(from: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > most {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_understand_each_other() {
        let question = Question { size: 7, extension: "ogg".into(), head: b"OggS".to_vec() };
        let mut wire = Vec::new();
        question.write(&mut wire).unwrap();
        assert_eq!(Question::read(&mut &wire[..]).unwrap(), Some(question));
        assert!(Question::read(&mut &wire[..5]).is_err());
        assert_eq!(Question::read(&mut &[][..]).unwrap(), None);
        for answer in [Answer::Read { offset: 1 << 40, length: 5 }, Answer::Done(vec![1, 2, 3])] {
            let mut wire = Vec::new();
            answer.write(&mut wire).unwrap();
            assert_eq!(Answer::read(&mut &wire[..]).unwrap(), answer);
            assert!(Answer::read(&mut &wire[..wire.len() - 1]).is_err());
        }
        assert!(Answer::read(&mut &[DONE, 0xff, 0xff, 0xff, 0xff][..]).is_err());
        assert!(Answer::read(&mut &[9][..]).is_err());
    }
}
