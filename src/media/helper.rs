//! The helper's end: reads what it is asked to look at, asks for bytes, answers.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use super::pipe::{Answer, MAX_READ, Question, read_bytes};
use super::row;

/// Serves a keeper until it closes its end. To be called by a process that does nothing else and may be killed at any
/// time.
///
/// # Errors
/// When the keeper breaks off, or says what makes no sense.
pub fn run(from: impl Read + Send + 'static, to: impl Write + Send + 'static) -> io::Result<()> {
    let pipes = Arc::new(Mutex::new(Pipes { from: BufReader::new(from), to }));
    loop {
        let question = match pipes.lock() {
            Ok(mut pipes) => Question::read(&mut pipes.from)?,
            Err(_) => return Err(io::ErrorKind::Other.into()),
        };
        let Some(question) = question else { return Ok(()) };
        let remote = Remote { pipes: pipes.clone(), size: question.size, position: 0 };
        // Parsers ask for a few bytes at a time.
        let source = BufReader::with_capacity(MAX_READ / 2, remote);
        let all = super::describe(source, &question.head, &question.extension);
        match pipes.lock() {
            Ok(mut pipes) => Answer::Done(row::encode(&all)).write(&mut pipes.to)?,
            Err(_) => return Err(io::ErrorKind::Other.into()),
        }
    }
}

struct Pipes<R, W> {
    from: BufReader<R>,
    to: W,
}

/// A file that the keeper has.
struct Remote<R, W> {
    pipes: Arc<Mutex<Pipes<R, W>>>,
    size: u64,
    position: u64,
}

impl<R: Read, W: Write> Read for Remote<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let length = buffer.len().min(MAX_READ).min(left);
        if length == 0 {
            return Ok(0);
        }
        let mut pipes = self.pipes.lock().map_err(|_| io::ErrorKind::Other)?;
        Answer::Read { offset: self.position, length }.write(&mut pipes.to)?;
        let bytes = read_bytes(&mut pipes.from, length)?;
        if bytes.is_empty() {
            return Err(io::Error::other("no more bytes for this file"));
        }
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl<R, W> Seek for Remote<R, W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
