//! A control connection: what it speaks, frames in any portions, messages, and messages written back.
//!
//! The first byte of the input is the size of the portions; the rest is what a stranger sends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pdtp::wire::{Dialect, FrameReader, Message, Sniff, WireError, limits, sniff};

fuzz_target!(|data: &[u8]| {
    let Some((portion, stream)) = data.split_first() else { return };
    let settled = sniff(&stream[..stream.len().min(limits::SNIFF_BYTES)]);
    assert!(stream.len() < limits::SNIFF_BYTES || settled != Sniff::NeedMore);
    for dialect in [Dialect::Framed, Dialect::Line] {
        let whole = read(dialect, stream, stream.len().max(1));
        assert_eq!(whole, read(dialect, stream, usize::from(*portion).max(1)));
        for message in whole.into_iter().flatten() {
            // What was understood can be said, and is understood again.
            match message.to_json() {
                Ok(json) => assert_eq!(Message::parse(&json), Ok(message)),
                // What somebody wrote tightly can be too long with every optional member spelled out.
                Err(error) => assert!(matches!(error, WireError::FrameTooLong(_)), "{error}"),
            }
        }
    }
    let _ = Message::parse(stream);
});

fn read(dialect: Dialect, stream: &[u8], portion: usize) -> Vec<Result<Message, WireError>> {
    let mut reader = FrameReader::new(dialect);
    let mut messages = Vec::new();
    for part in stream.chunks(portion) {
        reader.feed(part);
        loop {
            match reader.next_body() {
                Ok(Some(body)) => messages.push(Message::parse(&body)),
                Ok(None) => break,
                Err(error) => {
                    messages.push(Err(without_count(error)));
                    return messages;
                }
            }
        }
    }
    messages
}

/// How much of a line was there when it was found too long depends on the portions.
fn without_count(error: WireError) -> WireError {
    match error {
        WireError::FrameTooLong(_) => WireError::FrameTooLong(0),
        other => other,
    }
}
