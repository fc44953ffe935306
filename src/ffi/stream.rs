//! Data of streams on its way from the engine to the application.
//!
//! The engine offers bytes on a thread of its own and waits there; a word in the event queue makes the draining
//! thread take them, call the application's function with them, and send the verdict back. So data callbacks are
//! called where all callbacks are called, no byte is copied, and a slow application holds up its own stream only.
//!
//! An application that pulls events gets the bytes as an event instead, and has answered when it lets go of that.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::callbacks::DataFn;
use crate::client::{Client, Flow};

/// What a data callback wants.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum pdtp_data_answer {
    /// More.
    PDTP_DATA_CONTINUE = 0,
    /// These bytes were not taken: the same come again after pdtp_transfer_resume.
    PDTP_DATA_PAUSE = 1,
    /// No more: the transfer is cancelled.
    PDTP_DATA_ABORT = 2,
}

/// One stream, between the engine's thread and the draining one.
#[derive(Debug)]
pub(super) struct Stream {
    tag: u64,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug)]
struct State {
    step: Step,
    /// The application has given the transfer up.
    aborted: bool,
    /// Resumed since the bytes were taken: a PAUSE that is still to come is void.
    resumed: bool,
    /// The engine has let go of its end.
    closed: bool,
    /// What is taken and delivered by events: number and user data of the transfer, once they are known.
    owner: Option<(u64, usize)>,
}

/// Bytes in the hands of the application, as an event. Answered when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    stream: Arc<Stream>,
    streams: Weak<Streams>,
    offer: Offer,
    pub(super) owner: (u64, usize),
    answer: Cell<c_int>,
}

impl Lease {
    pub(super) fn offset(&self) -> u64 {
        self.offer.offset
    }

    /// Valid until it is dropped.
    pub(super) fn bytes(&self) -> (*const u8, usize) {
        (self.offer.data, self.offer.length)
    }

    pub(super) fn set_answer(&self, answer: c_int) {
        self.answer.set(answer);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.stream.answer(self.answer.get())
            && let Some(streams) = self.streams.upgrade()
        {
            streams.engine.post(self.stream.tag);
        }
    }
}

impl State {
    fn taken(&self) -> Option<Offer> {
        match self.step {
            Step::Taken(offer) => Some(offer),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Idle,
    Offered(Offer),
    Taken(Offer),
    Paused(Offer),
    Answered(Flow),
}

/// Bytes of the engine's thread, which waits until they are answered.
#[derive(Debug, Clone, Copy)]
struct Offer {
    offset: u64,
    data: *const u8,
    length: usize,
}

// SAFETY: the bytes are shared and unchanged while the offer stands; see `Feed::offer`.
unsafe impl Send for Offer {}

impl Stream {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands what is offered to `call`, on the draining thread. `true` when it is to be called again at once.
    fn deliver(&self, call: impl FnOnce(u64, &[u8]) -> c_int) -> bool {
        let Some(offer) = self.take() else { return false };
        // SAFETY: `Feed::offer` keeps the bytes until the step is `Answered`, and `Taken` is only left below.
        let verdict = call(offer.offset, unsafe { std::slice::from_raw_parts(offer.data, offer.length) });
        self.answer(verdict)
    }

    /// Takes what is offered. It is there until [`Stream::answer`].
    fn take(&self) -> Option<Offer> {
        let mut state = self.state();
        let Step::Offered(offer) = state.step else { return None };
        state.step = Step::Taken(offer);
        state.resumed = false;
        Some(offer)
    }

    /// Gives back what was taken. `true` when it is to be taken again at once.
    fn answer(&self, verdict: c_int) -> bool {
        let mut state = self.state();
        let (again, Some(offer)) = (state.resumed && !state.aborted, state.taken()) else { return false };
        state.step = match verdict {
            _ if state.aborted => Step::Answered(Flow::Abort),
            _ if verdict == pdtp_data_answer::PDTP_DATA_CONTINUE as c_int => Step::Answered(Flow::Continue),
            _ if verdict == pdtp_data_answer::PDTP_DATA_PAUSE as c_int && again => Step::Offered(offer),
            _ if verdict == pdtp_data_answer::PDTP_DATA_PAUSE as c_int => Step::Paused(offer),
            _ => Step::Answered(Flow::Abort),
        };
        self.answered.notify_one();
        matches!(state.step, Step::Offered(_))
    }

    /// Offers paused bytes again. `true` when the draining thread must be told.
    fn resume(&self) -> bool {
        let mut state = self.state();
        state.resumed = true;
        let Step::Paused(offer) = state.step else { return false };
        state.step = Step::Offered(offer);
        true
    }

    /// No more bytes are wanted, and nobody waits any longer for an answer.
    pub(super) fn abort(&self) {
        let mut state = self.state();
        state.aborted = true;
        if matches!(state.step, Step::Offered(_) | Step::Paused(_)) {
            state.step = Step::Answered(Flow::Abort);
        }
        self.answered.notify_one();
    }

    /// Whose it is; nothing is offered by an event before that.
    pub(super) fn set_owner(&self, transfer: u64, user_data: usize) {
        self.state().owner = Some((transfer, user_data));
        self.answered.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }
}

/// The engine's end of a stream.
#[derive(Debug)]
pub(super) struct Feed {
    stream: Arc<Stream>,
    streams: Weak<Streams>,
}

impl Feed {
    /// Offers bytes and waits for the verdict, however long it takes. On a thread of the engine.
    pub(super) fn offer(&mut self, offset: u64, bytes: &[u8]) -> Flow {
        let mut state = self.stream.state();
        while state.owner.is_none() && !state.aborted {
            state = self.stream.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.aborted {
            return Flow::Abort;
        }
        state.step = Step::Offered(Offer { offset, data: bytes.as_ptr(), length: bytes.len() });
        drop(state);
        // Without a drainer (the client is being freed) `abort` has been or will be called.
        self.announce();
        let mut state = self.stream.state();
        loop {
            if let Step::Answered(flow) = state.step {
                state.step = Step::Idle;
                return flow;
            }
            state = self.stream.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn announce(&self) {
        if let Some(streams) = self.streams.upgrade() {
            streams.engine.post(self.stream.tag);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stream.state().closed = true;
        self.announce();
    }
}

/// The streams of a client and their functions.
pub(super) struct Streams {
    engine: Client,
    table: Mutex<Table>,
    last_tag: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    open: HashMap<u64, Open>,
    /// The client ends: nobody will answer, so new streams are aborted from the start.
    ended: bool,
}

#[derive(Debug, Clone)]
struct Open {
    stream: Arc<Stream>,
    /// `None`: by events.
    function: Option<Arc<DataFn>>,
}

impl Streams {
    pub(super) fn new(engine: Client) -> Arc<Self> {
        Arc::new(Self { engine, table: Mutex::default(), last_tag: AtomicU64::new(0) })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream that calls `function`; without one, its bytes come as events. Somebody says whose it is
    /// ([`Stream::set_owner`]) before anything comes.
    pub(super) fn open(self: &Arc<Self>, function: Option<DataFn>) -> (Arc<Stream>, Feed) {
        let tag = self.last_tag.fetch_add(1, Ordering::Relaxed) + 1;
        let mut table = self.table();
        let state =
            State { step: Step::Idle, aborted: table.ended, resumed: false, closed: false, owner: None };
        let stream = Arc::new(Stream { tag, state: Mutex::new(state), answered: Condvar::new() });
        let open = Open { stream: Arc::clone(&stream), function: function.map(Arc::new) };
        table.open.insert(tag, open);
        drop(table);
        let feed = Feed { stream: Arc::clone(&stream), streams: Arc::downgrade(self) };
        (stream, feed)
    }

    /// Ends a stream that was not started; its function's data is destroyed.
    pub(super) fn forget(&self, stream: &Stream) {
        let open = self.table().open.remove(&stream.tag);
        // Destroyed here, when the table is no longer locked.
        drop(open);
    }

    /// A word about a stream came out of the event queue. On the draining thread. What is to become an event of it.
    pub(super) fn on_posted(self: &Arc<Self>, tag: u64) -> Option<Lease> {
        // The function may close or open streams, so it is not called under the lock.
        let Open { stream, function } = self.table().open.get(&tag).cloned()?;
        let mut lease = None;
        match function {
            Some(function) => while stream.deliver(|offset, bytes| function.call(offset, bytes)) {},
            None => {
                let owner = stream.state().owner;
                lease = owner.zip(stream.take()).map(|(owner, offer)| Lease {
                    streams: Arc::downgrade(self),
                    stream: Arc::clone(&stream),
                    offer,
                    owner,
                    answer: Cell::new(pdtp_data_answer::PDTP_DATA_CONTINUE as c_int),
                });
            }
        }
        if stream.is_closed() {
            self.forget(&stream);
        }
        lease
    }

    /// Goes on with a stream whose function answered PAUSE.
    pub(super) fn resume(&self, stream: &Stream) {
        if stream.resume() {
            self.engine.post(stream.tag);
        }
    }

    /// Releases every thread of the engine that waits for the application, now and in future.
    pub(super) fn abort_all(&self) {
        let mut table = self.table();
        table.ended = true;
        table.open.values().for_each(|open| open.stream.abort());
    }

    /// Destroys the data of all functions. When nothing drains any more.
    pub(super) fn clear(&self) {
        let open = std::mem::take(&mut self.table().open);
        drop(open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Arc<Stream> {
        let owner = Some((1, 0));
        let state = State { step: Step::Idle, aborted: false, resumed: false, closed: false, owner };
        Arc::new(Stream { tag: 1, state: Mutex::new(state), answered: Condvar::new() })
    }

    fn offer(stream: &Arc<Stream>, bytes: &'static [u8]) -> std::thread::JoinHandle<Flow> {
        let mut feed = Feed { stream: Arc::clone(stream), streams: Weak::new() };
        std::thread::spawn(move || feed.offer(7, bytes))
    }

    fn until_offered(stream: &Stream) {
        while !matches!(stream.state().step, Step::Offered(_)) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn bytes_reach_the_function_and_its_verdict_comes_back() {
        for (verdict, flow) in [
            (pdtp_data_answer::PDTP_DATA_CONTINUE as c_int, Flow::Continue),
            (pdtp_data_answer::PDTP_DATA_ABORT as c_int, Flow::Abort),
            (77, Flow::Abort),
        ] {
            let stream = stream();
            let engine = offer(&stream, b"abc");
            until_offered(&stream);
            assert!(!stream.deliver(|offset, bytes| {
                assert_eq!((offset, bytes), (7, b"abc".as_slice()));
                verdict
            }));
            assert_eq!(engine.join().unwrap(), flow);
            assert!(stream.is_closed(), "the feed was dropped");
        }
    }

    #[test]
    fn paused_bytes_come_again() {
        let stream = stream();
        let engine = offer(&stream, b"abc");
        until_offered(&stream);
        assert!(!stream.deliver(|_, _| pdtp_data_answer::PDTP_DATA_PAUSE as c_int));
        assert!(!stream.deliver(|_, _| unreachable!("paused")));
        assert!(stream.resume());
        assert!(!stream.resume(), "once is enough");
        assert!(!stream.deliver(|_, bytes| {
            assert_eq!(bytes, b"abc");
            0
        }));
        assert_eq!(engine.join().unwrap(), Flow::Continue);
    }

    #[test]
    fn a_resume_during_the_call_that_pauses_is_not_lost() {
        let stream = stream();
        let engine = offer(&stream, b"abc");
        until_offered(&stream);
        let again = stream.deliver(|_, _| {
            stream.resume();
            pdtp_data_answer::PDTP_DATA_PAUSE as c_int
        });
        assert!(again);
        stream.deliver(|_, _| 0);
        assert_eq!(engine.join().unwrap(), Flow::Continue);
    }

    #[test]
    fn an_abort_releases_the_engine_but_not_from_under_the_function() {
        let one = stream();
        let engine = offer(&one, b"abc");
        until_offered(&one);
        one.abort();
        assert_eq!(engine.join().unwrap(), Flow::Abort);
        assert_eq!(offer(&one, b"def").join().unwrap(), Flow::Abort, "and stays");

        let two = stream();
        let engine = offer(&two, b"abc");
        until_offered(&two);
        two.deliver(|_, bytes| {
            two.abort();
            assert!(!engine.is_finished(), "the bytes are in use");
            assert_eq!(bytes, b"abc");
            0
        });
        assert_eq!(engine.join().unwrap(), Flow::Abort);
    }
}
