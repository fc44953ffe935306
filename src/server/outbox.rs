//! What is waiting to be written to one client.
//!
//! The dispatcher puts messages in without ever waiting; the connection's task takes bytes out. A client that does
//! not read what it asked for is found out by the number of bytes that pile up here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::wire::{Dialect, Message, WireError, limits};

/// With this many bytes waiting, no further message is taken from the client: whoever asks faster than it reads is
/// slowed down before it has to be dropped.
pub(crate) const READ_PAUSE: usize = 256 * 1024;

/// Answers that are got ready for one client at once, where that takes time: what is ready waits for its turn.
const ANSWERS: usize = 8;

/// See the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    dialect: Dialect,
    answers: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    state: Mutex<State>,
    /// There is something to write, or the end.
    filled: Notify,
    /// Bytes have been written.
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: BytesMut,
    /// Taken by the writer and not yet accepted by the kernel.
    taken: usize,
    /// Accepted by the kernel since the beginning.
    written: u64,
    closed: bool,
}

impl State {
    fn backlog(&self) -> usize {
        self.waiting.len() + self.taken
    }
}

/// The right to have an answer in work, given back when dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    _permit: Option<OwnedSemaphorePermit>,
}

/// The right to say it now, of one at a time; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _answer: Answer,
    _turn: Option<OwnedSemaphorePermit>,
}

/// The backlog has passed its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Outbox {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            answers: Arc::new(Semaphore::new(ANSWERS)),
            turns: Arc::new(Semaphore::new(1)),
            state: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Waits until one more answer may be got ready.
    pub(crate) async fn begin_answer(&self) -> Answer {
        // The semaphore is never closed.
        Answer { _permit: self.answers.clone().acquire_owned().await.ok() }
    }

    /// Waits until there is room for an answer that is ready. Of those that wait one at a time may believe that it is room
    /// for it, so the backlog stays below its limit however many there are.
    pub(crate) async fn turn(&self, answer: Answer) -> Turn {
        let turn = self.turns.clone().acquire_owned().await.ok();
        self.has_room().await;
        Turn { _answer: answer, _turn: turn }
    }

    /// Adds a message; [`Outbox::flush`] has it written. One that does not fit into a frame is an error of ours, and
    /// is told from a client that does not read: `Ok(Err(_))`.
    pub(crate) fn push(&self, message: &Message) -> Result<Result<(), WireError>, Overflow> {
        let mut state = self.lock();
        if state.closed {
            return Ok(Ok(()));
        }
        let before = state.waiting.len();
        let encoded = message.encode(self.dialect, &mut state.waiting);
        if state.backlog() > limits::MAX_WRITE_BACKLOG {
            state.waiting.truncate(before);
            return Err(Overflow);
        }
        Ok(encoded)
    }

    /// Adds a last message whatever the backlog, and closes.
    pub(crate) fn push_last(&self, message: &Message) {
        // Too long for a frame is the only way to fail, and there is nobody left to tell.
        let _ = message.encode(self.dialect, &mut self.lock().waiting);
        self.close();
    }

    /// Wakes the writer.
    pub(crate) fn flush(&self) {
        self.filled.notify_one();
    }

    /// Nothing more will come; the writer ends when it has written what is here.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Bytes that wait to be written.
    pub(crate) fn backlog(&self) -> usize {
        self.lock().backlog()
    }

    /// Bytes that were written since the beginning.
    pub(crate) fn written(&self) -> u64 {
        self.lock().written
    }

    /// Whether [`Outbox::close`] was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// All that waits to be written; `None` at the end. For one writer.
    pub(crate) async fn take(&self) -> Option<BytesMut> {
        loop {
            {
                let mut state = self.lock();
                if !state.waiting.is_empty() {
                    let bytes = std::mem::take(&mut state.waiting);
                    state.taken = bytes.len();
                    return Some(bytes);
                }
                if state.closed {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }

    /// The kernel has accepted `bytes` of what was taken.
    pub(crate) fn wrote(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.backlog();
        state.taken = state.taken.saturating_sub(bytes);
        state.written += bytes as u64;
        if before >= READ_PAUSE && state.backlog() < READ_PAUSE {
            self.drained.notify_waiters();
        }
    }

    /// Waits until the backlog is so small that more may be asked.
    pub(crate) async fn has_room(&self) {
        loop {
            let drained = self.drained.notified();
            {
                let state = self.lock();
                if state.backlog() < READ_PAUSE || state.closed {
                    return;
                }
            }
            drained.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::wire::{Notice, Ping};

    fn long_message() -> Message {
        Notice { message: "x".repeat(60_000) }.into()
    }

    #[test]
    fn the_backlog_is_bounded() {
        let outbox = Outbox::new(Dialect::Framed);
        let fits = limits::MAX_WRITE_BACKLOG / 60_000;
        for _ in 0..fits {
            assert_eq!(outbox.push(&long_message()), Ok(Ok(())));
        }
        assert_eq!(outbox.push(&long_message()), Err(Overflow));
    }

    #[tokio::test]
    async fn what_the_writer_holds_counts_until_it_is_written() {
        let outbox = Outbox::new(Dialect::Framed);
        for _ in 0..17 {
            assert_eq!(outbox.push(&long_message()), Ok(Ok(())));
        }
        let taken = outbox.take().await.unwrap();
        assert_eq!(outbox.push(&long_message()), Err(Overflow));
        outbox.wrote(taken.len());
        assert_eq!(outbox.push(&long_message()), Ok(Ok(())));
    }

    #[tokio::test]
    async fn reading_goes_on_when_the_backlog_is_written() {
        let outbox = std::sync::Arc::new(Outbox::new(Dialect::Line));
        outbox.has_room().await;
        for _ in 0..5 {
            outbox.push(&long_message()).unwrap().unwrap();
        }
        let waiting = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.has_room().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let taken = outbox.take().await.unwrap();
        outbox.wrote(taken.len());
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn answers_that_are_ready_wait_for_room() {
        const ALL: usize = 64;
        let outbox = Arc::new(Outbox::new(Dialect::Framed));
        let (in_work, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let answers: Vec<_> = (0..ALL)
            .map(|_| {
                let (outbox, in_work, most) = (outbox.clone(), in_work.clone(), most.clone());
                tokio::spawn(async move {
                    let answer = outbox.begin_answer().await;
                    most.fetch_max(in_work.fetch_add(1, Relaxed) + 1, Relaxed);
                    tokio::task::yield_now().await;
                    let turn = outbox.turn(answer).await;
                    in_work.fetch_sub(1, Relaxed);
                    tokio::task::yield_now().await;
                    assert_eq!(outbox.push(&long_message()), Ok(Ok(())));
                    outbox.flush();
                    drop(turn);
                })
            })
            .collect();
        // Nothing is written for a while, and then all of it.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        assert!(outbox.backlog() < READ_PAUSE + limits::MAX_FRAME, "{}", outbox.backlog());
        let mut written = 0;
        while written < ALL * 60_000 {
            let taken = outbox.take().await.unwrap().len();
            written += taken;
            outbox.wrote(taken);
        }
        for answer in answers {
            answer.await.unwrap();
        }
        assert_eq!(most.load(Relaxed), ANSWERS);
    }

    #[tokio::test]
    async fn the_end_comes_after_what_was_said() {
        let outbox = Outbox::new(Dialect::Line);
        outbox.push_last(&Ping {}.into());
        outbox.push(&Ping {}.into()).unwrap().unwrap();
        assert_eq!(&outbox.take().await.unwrap()[..], b"[\"ping\",{}]\n");
        assert!(outbox.take().await.is_none());
    }
}
