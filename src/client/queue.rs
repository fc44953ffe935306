//! The event queue: what may be lost is dropped and counted, what is out of date is replaced, the rest is kept.
//!
//! Filled by tasks of the runtime, emptied by the application. Bounded: droppable events by the size of the queue,
//! states and numbers by one for each session or transfer, ends by one for each transfer, pages of listings by
//! being fetched only after the one before was taken.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::event::{Event, EventBody, EventMask};
use super::wake::WakeFd;

/// A function that tells the application to look into the queue.
pub(super) type Wakeup = Arc<dyn Fn() + Send + Sync>;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Signalled when an event comes, on an interruption, and at the end.
    came: Condvar,
    fd: WakeFd,
    /// Interruptions so far. Written by signal handlers, hence not in `state`.
    interruptions: AtomicU64,
    /// Most events before droppable ones are dropped.
    capacity: usize,
    bell: Bell,
}

#[derive(Debug, Default)]
struct State {
    /// In order of arrival.
    slots: BTreeMap<u64, Slot>,
    /// Where the event is that a newer one replaces.
    replaceable: HashMap<Key, u64>,
    next: u64,
    mask: EventMask,
    lost: u64,
    lost_types: u32,
    lost_ever: u64,
    interruptions_seen: u64,
    closed: bool,
    /// Threads that wait for an event. To wake nobody costs a system call, too.
    sleepers: usize,
}

#[derive(Debug)]
struct Slot {
    event: Event,
    /// Told when the event is taken.
    taken: Option<oneshot::Sender<()>>,
}

/// What newer events replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Session(u64),
    State(u64),
    Progress(u64),
    Share(u64),
    Reading(u64),
}

impl Key {
    fn of(body: &EventBody) -> Option<Self> {
        match body {
            EventBody::Session { session, .. } => Some(Self::Session(*session)),
            EventBody::State { transfer, .. } => Some(Self::State(*transfer)),
            EventBody::Progress { transfer, .. } => Some(Self::Progress(*transfer)),
            EventBody::Share { share, .. } => Some(Self::Share(*share)),
            EventBody::Reading { op, .. } => Some(Self::Reading(*op)),
            _ => None,
        }
    }
}

impl EventBody {
    /// The type of this event.
    pub fn mask(&self) -> EventMask {
        match self {
            Self::Session { .. } => EventMask::SESSION,
            Self::Listing { .. } => EventMask::LISTING,
            Self::State { .. } => EventMask::STATE,
            Self::Done { .. } => EventMask::DONE,
            Self::Progress { .. } => EventMask::PROGRESS,
            Self::FileDone { .. } | Self::FileRemoved { .. } => EventMask::FILE_DONE,
            Self::Peer { .. } => EventMask::PEER,
            Self::Notice { .. } | Self::Goaway { .. } => EventMask::NOTICE,
            Self::Overflow { .. } => EventMask::OVERFLOW,
            Self::Changed { .. } => EventMask::CHANGED,
            // In every mask.
            Self::Posted { .. } | Self::Decision { .. } => EventMask(0),
            Self::Verdict { .. } => EventMask::VERDICT,
            Self::Log { .. } => EventMask::LOG,
            Self::Share { .. } => EventMask::SHARE,
            Self::Reading { .. } => EventMask::READING,
        }
    }

    fn is_droppable(&self) -> bool {
        match self {
            Self::Verdict { .. }
            | Self::Log { .. }
            | Self::FileDone { .. }
            | Self::Peer { .. }
            | Self::Notice { .. }
            | Self::Goaway { .. } => true,
            // The end of a watch is told once.
            Self::Changed { change, .. } => !matches!(change, super::event::Change::Refused(_)),
            _ => false,
        }
    }
}

impl Queue {
    pub(super) fn new(capacity: u32) -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            came: Condvar::new(),
            fd: WakeFd::new()?,
            interruptions: AtomicU64::new(0),
            capacity: capacity as usize,
            bell: Bell::default(),
        })
    }

    /// Adds an event, unless its type is turned off.
    pub(super) fn push(&self, user_data: usize, body: EventBody) {
        self.insert(Event { user_data, body }, None);
    }

    /// The same, unless the queue is locked just now.
    pub(super) fn try_push(&self, body: EventBody) {
        match self.state.try_lock() {
            Ok(state) => self.insert_into(state, Event { user_data: 0, body }, None),
            Err(TryLockError::Poisoned(state)) => {
                self.insert_into(state.into_inner(), Event { user_data: 0, body }, None);
            }
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Adds a page of a listing; completes when the application has taken it (at once if nobody wants it).
    pub(super) fn push_and_wait(&self, user_data: usize, body: EventBody) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.insert(Event { user_data, body }, Some(sender));
        receiver
    }

    /// Adds an event that is never dropped. Where many wait already, what comes back completes when this one was taken: to
    /// be waited for before there is another.
    pub(super) fn push_in_full(&self, user_data: usize, body: EventBody) -> Option<oneshot::Receiver<()>> {
        let is_crowded = self.state().slots.len() >= self.capacity / 2;
        let (sender, receiver) = oneshot::channel();
        self.insert(Event { user_data, body }, Some(sender));
        is_crowded.then_some(receiver)
    }

    fn insert(&self, event: Event, taken: Option<oneshot::Sender<()>>) {
        self.insert_into(self.state(), event, taken);
    }

    fn insert_into(
        &self,
        mut state: MutexGuard<'_, State>,
        event: Event,
        taken: Option<oneshot::Sender<()>>,
    ) {
        if state.closed || !state.mask.contains(event.body.mask()) {
            return;
        }
        // Lines of the log are many, and not to crowd out the rest.
        let is_log = matches!(event.body, EventBody::Log { .. });
        let room = if is_log { self.capacity / 2 } else { self.capacity };
        // Who waits until it is taken adds no other before: those are bounded by themselves.
        if event.body.is_droppable() && taken.is_none() && state.slots.len() >= room {
            state.lost += 1;
            state.lost_ever += 1;
            state.lost_types |= event.body.mask().0;
            // The queue is not empty, so nobody sleeps.
            return;
        }
        let key = Key::of(&event.body);
        if let Some(at) = key.and_then(|key| state.replaceable.get(&key).copied())
            && let Some(slot) = state.slots.get_mut(&at)
        {
            slot.event = event;
            return;
        }
        let was_empty = state.is_empty();
        let at = state.next;
        state.next += 1;
        if let Some(key) = key {
            state.replaceable.insert(key, at);
        }
        state.slots.insert(at, Slot { event, taken });
        if was_empty {
            self.fd.raise();
        }
        let is_awaited = state.sleepers > 0;
        drop(state);
        if is_awaited {
            self.came.notify_one();
        }
        if was_empty {
            self.bell.ring();
        }
    }

    /// Takes numbers of a transfer back that have become pointless, because its end follows.
    pub(super) fn forget_progress(&self, transfer: u64) {
        self.forget(Key::Progress(transfer));
    }

    /// Takes the states of a session back: its owner has let it go.
    pub(super) fn forget_session(&self, session: u64) {
        self.forget(Key::Session(session));
    }

    /// Takes back how far a listing is: its next page follows.
    pub(super) fn forget_reading(&self, op: u64) {
        self.forget(Key::Reading(op));
    }

    fn forget(&self, key: Key) {
        let mut state = self.state();
        if let Some(at) = state.replaceable.remove(&key) {
            state.slots.remove(&at);
            if state.is_empty() {
                self.fd.lower();
            }
        }
    }

    /// See [`super::Client::next_event`].
    pub(super) fn next(&self, timeout: Option<Duration>) -> Option<Event> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.state();
        loop {
            if let Some(event) = self.pop(&mut state) {
                return Some(event);
            }
            let interruptions = self.interruptions.load(Ordering::Acquire);
            if state.closed || interruptions != state.interruptions_seen {
                state.interruptions_seen = interruptions;
                return None;
            }
            state.sleepers += 1;
            state = match (timeout, deadline) {
                (Some(_), Some(deadline)) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        state.sleepers -= 1;
                        return None;
                    }
                    self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                // No timeout, or one beyond the end of time.
                _ => self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
            state.sleepers -= 1;
        }
    }

    /// What is there already. No wait, so no interruption ends with it.
    #[cfg(any(feature = "ffi", test))]
    pub(super) fn take(&self) -> Option<Event> {
        self.pop(&mut self.state())
    }

    fn pop(&self, state: &mut State) -> Option<Event> {
        let event = match state.slots.pop_first() {
            Some((_, slot)) => {
                if let Some(key) = Key::of(&slot.event.body) {
                    state.replaceable.remove(&key);
                }
                if let Some(taken) = slot.taken {
                    // The one who waited may have gone.
                    let _ = taken.send(());
                }
                Some(slot.event)
            }
            None if state.lost > 0 => {
                let body = EventBody::Overflow {
                    count: std::mem::take(&mut state.lost),
                    types: EventMask(std::mem::take(&mut state.lost_types)),
                };
                // A word about the queue itself: meant for nobody in particular.
                state.mask.contains(EventMask::OVERFLOW).then_some(Event { user_data: 0, body })
            }
            None => None,
        };
        if state.is_empty() {
            // Also takes back what an interruption raised.
            self.fd.lower();
        }
        event
    }

    pub(super) fn fd(&self) -> isize {
        self.fd.raw()
    }

    /// Async-signal-safe: an atomic addition and one system call. Whoever waits in [`Queue::next`] is woken by
    /// [`Queue::wake_interrupted`], which is not.
    pub(super) fn interrupt(&self) {
        self.interruptions.fetch_add(1, Ordering::AcqRel);
        self.fd.raise();
    }

    pub(super) fn interruptions(&self) -> u64 {
        self.interruptions.load(Ordering::Acquire)
    }

    /// Makes waiting threads look for interruptions.
    pub(super) fn wake_interrupted(&self) {
        // The lock orders this after a waiter's own look, so that it cannot fall asleep on an old answer.
        drop(self.state());
        self.came.notify_all();
    }

    pub(super) fn set_mask(&self, mask: EventMask) {
        self.state().mask = mask;
    }

    pub(super) fn mask(&self) -> EventMask {
        self.state().mask
    }

    /// See [`super::Client::set_wakeup`].
    pub(super) fn set_wakeup(&self, wake: Option<Wakeup>) {
        self.bell.set(wake);
        if !self.state().is_empty() {
            self.bell.ring();
        }
    }

    /// No events from now on; what is in the queue can still be taken. Wakes everybody, and ends the thread that
    /// wakes the application.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
        self.bell.set(None);
    }

    /// Events waiting, and events lost since the start.
    pub(super) fn counts(&self) -> (u32, u64) {
        let state = self.state();
        (u32::try_from(state.slots.len()).unwrap_or(u32::MAX), state.lost_ever)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.lost == 0
    }
}

/// Calls the application's wake-up function from a thread of its own: it must neither stall a worker of the runtime
/// nor run under a lock, whatever it does.
#[derive(Default)]
struct Bell {
    ringer: Mutex<Option<Ringer>>,
}

struct Ringer {
    ring: crossbeam_channel::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Bell {
    fn ring(&self) {
        if let Some(ringer) = &*self.ringer() {
            // Full: it is about to be rung anyway.
            let _ = ringer.ring.try_send(());
        }
    }

    /// After this returns, the function before is not called any more.
    fn set(&self, wake: Option<Wakeup>) {
        let old = self.ringer().take();
        if let Some(Ringer { ring, thread }) = old {
            drop(ring);
            // From within the function itself there is no waiting for its end.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        let Some(wake) = wake else { return };
        let (ring, rung) = crossbeam_channel::bounded::<()>(1);
        let thread = std::thread::Builder::new().name("pdtp-wakeup".into()).spawn(move || {
            while rung.recv().is_ok() {
                wake();
            }
        });
        // Without a thread to spare there is no wake-up; the descriptor and `next_event` still work.
        if let Ok(thread) = thread {
            *self.ringer() = Some(Ringer { ring, thread });
        }
    }

    fn ringer(&self) -> MutexGuard<'_, Option<Ringer>> {
        self.ringer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Bell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bell")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Listing, Progress, SessionState, TransferState};
    use crate::wire::UrlPath;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn queue() -> Queue {
        Queue::new(16).unwrap()
    }

    fn notice(n: usize) -> EventBody {
        EventBody::Notice { session: 1, message: n.to_string() }
    }

    fn progress(transfer: u64, done: u64) -> EventBody {
        EventBody::Progress { transfer, progress: Box::new(Progress { done, ..Progress::default() }) }
    }

    fn done(transfer: u64) -> EventBody {
        EventBody::Done {
            transfer,
            path: UrlPath::root(),
            root: None,
            result: Ok(()),
            progress: Box::default(),
        }
    }

    #[cfg(unix)]
    fn is_readable(queue: &Queue) -> bool {
        let mut poll = libc::pollfd { fd: queue.fd() as i32, events: libc::POLLIN, revents: 0 };
        #[allow(unsafe_code, reason = "poll is what applications do with the descriptor")]
        // SAFETY: one valid structure, and its count.
        let ready = unsafe { libc::poll(&mut poll, 1, 0) };
        ready == 1
    }

    #[test]
    fn newer_numbers_replace_older_ones() {
        let queue = queue();
        queue.push(7, progress(1, 10));
        queue.push(7, progress(2, 5));
        queue.push(7, progress(1, 20));
        assert_eq!(queue.next(NOW).unwrap().body, progress(1, 20));
        queue.push(7, progress(1, 30));
        assert_eq!(queue.next(NOW).unwrap().body, progress(2, 5));
        assert_eq!(queue.next(NOW).unwrap().body, progress(1, 30));
        assert_eq!(queue.next(NOW), None);
    }

    #[test]
    fn the_latest_state_of_each_is_kept() {
        let queue = queue();
        queue.push(0, EventBody::Session { session: 1, state: SessionState::Connecting });
        queue.push(0, EventBody::State { transfer: 1, state: TransferState::Queued });
        queue.push(0, EventBody::Session { session: 1, state: SessionState::Ready });
        queue.push(0, EventBody::State { transfer: 1, state: TransferState::Active });
        assert_eq!(
            queue.next(NOW).unwrap().body,
            EventBody::Session { session: 1, state: SessionState::Ready }
        );
        assert_eq!(
            queue.next(NOW).unwrap().body,
            EventBody::State { transfer: 1, state: TransferState::Active }
        );
        assert_eq!(queue.next(NOW), None);
    }

    #[test]
    fn ends_are_kept_where_noise_is_dropped_and_counted() {
        let queue = queue();
        (0..20).for_each(|n| queue.push(0, notice(n)));
        (0..20).for_each(|n| queue.push(0, done(n)));
        for n in 0..16 {
            assert_eq!(queue.next(NOW).unwrap().body, notice(n));
        }
        for n in 0..20 {
            assert_eq!(queue.next(NOW).unwrap().body, done(n));
        }
        let overflow = queue.next(NOW).unwrap().body;
        assert_eq!(overflow, EventBody::Overflow { count: 4, types: EventMask::NOTICE });
        assert_eq!(queue.next(NOW), None);
        assert_eq!(queue.counts(), (0, 4));
    }

    #[cfg(unix)]
    #[test]
    fn the_descriptor_is_readable_exactly_while_events_wait() {
        let queue = queue();
        assert!(!is_readable(&queue));
        queue.push(0, done(1));
        queue.push(0, progress(2, 1));
        assert!(is_readable(&queue));
        queue.next(NOW).unwrap();
        assert!(is_readable(&queue));
        queue.forget_progress(2);
        assert!(!is_readable(&queue));
        (0..17).for_each(|n| queue.push(0, notice(n)));
        (0..16).for_each(|_| assert!(queue.next(NOW).is_some()));
        assert!(is_readable(&queue), "the overflow is still to be told");
        assert!(queue.next(NOW).is_some());
        assert!(!is_readable(&queue));
    }

    #[test]
    fn types_turned_off_do_not_come() {
        let queue = queue();
        queue.set_mask(EventMask::DONE);
        queue.push(0, notice(1));
        let mut taken =
            queue.push_and_wait(0, EventBody::Listing { op: 1, result: Ok(Listing::default()), last: false });
        assert!(taken.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Closed), "nobody waits");
        queue.push(0, done(1));
        assert_eq!(queue.next(NOW).unwrap().body, done(1));
        assert_eq!(queue.next(NOW), None);
    }

    #[test]
    fn taking_a_page_asks_for_the_next() {
        let queue = queue();
        let page = EventBody::Listing { op: 1, result: Ok(Listing::default()), last: false };
        let mut taken = queue.push_and_wait(0, page);
        assert_eq!(taken.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        queue.next(NOW).unwrap();
        assert_eq!(taken.try_recv(), Ok(()));
    }

    #[test]
    fn an_interruption_ends_one_wait() {
        let queue = queue();
        queue.interrupt();
        assert_eq!(queue.next(None), None);
        queue.push(0, done(1));
        assert!(queue.next(None).is_some());
        assert_eq!(queue.next(NOW), None);
        // Whoever takes what is there already has not waited.
        queue.push(0, done(2));
        queue.interrupt();
        assert!(queue.take().is_some());
        assert_eq!(queue.take(), None);
        assert_eq!(queue.next(None), None);
    }

    #[test]
    fn waiting_ends_with_an_event_an_interruption_or_the_end() {
        let queue = Arc::new(queue());
        let waiter = |queue: &Arc<Queue>| {
            let queue = Arc::clone(queue);
            std::thread::spawn(move || queue.next(Some(Duration::from_secs(60))))
        };
        let waiting = waiter(&queue);
        queue.push(0, done(1));
        assert!(waiting.join().unwrap().is_some());
        let waiting = waiter(&queue);
        queue.interrupt();
        queue.wake_interrupted();
        assert_eq!(waiting.join().unwrap(), None);
        let waiting = waiter(&queue);
        queue.close();
        assert_eq!(waiting.join().unwrap(), None);
    }

    #[test]
    fn the_application_is_woken_when_the_queue_fills_and_never_after_it_asked_for_silence() {
        let queue = queue();
        let (sender, woken) = crossbeam_channel::unbounded();
        queue.push(0, done(1));
        let wakes = sender.clone();
        queue.set_wakeup(Some(Arc::new(move || wakes.send(()).unwrap())));
        woken.recv_timeout(Duration::from_secs(60)).expect("there was something in the queue already");
        queue.next(NOW).unwrap();
        queue.push(0, done(2));
        woken.recv_timeout(Duration::from_secs(60)).expect("it became non-empty");
        queue.set_wakeup(None);
        queue.next(NOW).unwrap();
        queue.push(0, done(3));
        assert!(woken.try_recv().is_err());
    }
}
