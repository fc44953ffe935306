//! Draining: takes events out of the engine's queue and calls the application, one call at a time, on the thread
//! that the application chose; and the end of a client, which must wait for all that.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use super::callbacks::{EventFn, WakeupFn};
use super::config::{ConfigData, pdtp_dispatch};
use super::event::{self, pdtp_event};
use super::guard::{self, Context};
use super::handle::{give, take};
use super::log::LogFn;
use super::stream::Streams;
use super::verify::{VerdictView, VerifyFn};
use crate::client::{Client, Config, Error, ErrorKind, Event, EventBody, EventMask};

/// Most events that one `pdtp_client_dispatch` without a limit handles: the draining thread has other work, too.
pub(super) const DISPATCH_MAX: usize = 1024;

/// What all handles of a client share.
pub(super) struct Shared {
    pub(super) engine: Client,
    pub(super) streams: Arc<Streams>,
    dispatch: pdtp_dispatch,
    /// As the engine has it, for the grace time.
    config: Mutex<Config>,
    mask: Mutex<EventMask>,
    /// Locked by the thread that drains, all the while.
    drain: Mutex<Current>,
    /// Which thread that is.
    drainer: Mutex<Option<ThreadId>>,
    function: Mutex<Option<Arc<EventFn>>>,
    wakeup: Mutex<Option<Arc<WakeupFn>>>,
    verify: Mutex<Option<Arc<VerifyFn>>>,
    log: Mutex<Option<Arc<LogFn>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The client was freed from one of its callbacks: it ends when that returns.
    free_later: AtomicBool,
    ended: AtomicBool,
}

/// The event that `pdtp_client_next_event` gave out, alive until its next call.
struct Current(*mut pdtp_event);

// SAFETY: events hold no thread's own things; C is told on which thread to use them.
unsafe impl Send for Current {}

impl Current {
    fn replace(&mut self, event: *mut pdtp_event) {
        let old = std::mem::replace(&mut self.0, event);
        // SAFETY: NULL or from `give`, and only taken here.
        drop(unsafe { take(old, "event") });
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        self.replace(ptr::null_mut());
    }
}

/// Held by the thread that drains.
struct Draining<'a> {
    shared: &'a Shared,
    current: MutexGuard<'a, Current>,
}

impl Drop for Draining<'_> {
    fn drop(&mut self) {
        *lock(&self.shared.drainer) = None;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No lock of this module is held while anything is done that may panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(config: ConfigData) -> Result<Arc<Self>, Error> {
        let ConfigData { engine: config, dispatch, verify, log } = config;
        let engine = Client::new(config.clone())?;
        if log.is_some() {
            engine.enable_events(EventMask::default() | EventMask::LOG);
        }
        let shared = Arc::new(Self {
            streams: Streams::new(engine.clone()),
            engine,
            dispatch,
            config: Mutex::new(config),
            mask: Mutex::default(),
            drain: Mutex::new(Current(ptr::null_mut())),
            drainer: Mutex::default(),
            function: Mutex::default(),
            wakeup: Mutex::default(),
            verify: Mutex::new(verify),
            log: Mutex::new(log),
            thread: Mutex::default(),
            free_later: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        if dispatch == pdtp_dispatch::PDTP_DISPATCH_THREAD {
            let drainer = Arc::clone(&shared);
            let thread =
                thread::Builder::new().name("pdtp-callbacks".to_owned()).spawn(move || drainer.run());
            match thread {
                Ok(thread) => *lock(&shared.thread) = Some(thread),
                Err(error) => {
                    shared.end();
                    return Err(Error::io("starting the callback thread", &error));
                }
            }
        }
        Ok(shared)
    }

    /// Refuses work on a client that has been freed.
    pub(super) fn alive(&self) -> Result<(), Error> {
        if self.ended.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::State, "the client of this handle was freed"));
        }
        Ok(())
    }

    /// Changes an option at run time.
    pub(super) fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        self.alive()?;
        self.engine.set(name, value)?;
        lock(&self.config).set(name, value)
    }

    /// Turns types of events on and off.
    pub(super) fn enable(&self, types: EventMask, on: bool) {
        let mut mask = lock(&self.mask);
        mask.0 = if on { mask.0 | types.0 } else { mask.0 & !types.0 };
        let for_function = if lock(&self.log).is_some() { EventMask::LOG } else { EventMask(0) };
        self.engine.enable_events(*mask | for_function);
    }

    /// From now on events go to `function`. The old one is destroyed, after its call under way has returned.
    pub(super) fn set_function(&self, function: Option<EventFn>) {
        let old = std::mem::replace(&mut *lock(&self.function), function.map(Arc::new));
        drop(old);
    }

    /// From now on `wakeup` is called. The old one is not, any more, and is destroyed.
    pub(super) fn set_wakeup(&self, wakeup: Option<WakeupFn>) {
        let wakeup = wakeup.map(Arc::new);
        let call = wakeup.clone();
        let mut kept = lock(&self.wakeup);
        // The engine's copy of the old one is gone when this returns; ours is the last.
        self.engine.set_wakeup(call.map(|f| Arc::new(move || f.call()) as Arc<dyn Fn() + Send + Sync>));
        let old = std::mem::replace(&mut *kept, wakeup);
        drop(kept);
        drop(old);
    }

    /// The right to drain; only one thread at a time has it, and not within a callback.
    fn drain(&self) -> Result<Draining<'_>, Error> {
        guard::may_block()?;
        self.alive()?;
        if self.dispatch == pdtp_dispatch::PDTP_DISPATCH_THREAD {
            return Err(Error::new(
                ErrorKind::State,
                "this client drains its events on a thread of its own (PDTP_DISPATCH_THREAD)",
            ));
        }
        match self.drain.try_lock() {
            Ok(current) => Ok(self.draining(current)),
            Err(TryLockError::Poisoned(poisoned)) => Ok(self.draining(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => {
                Err(Error::new(ErrorKind::State, "another thread is draining the events of this client"))
            }
        }
    }

    fn draining<'a>(&'a self, current: MutexGuard<'a, Current>) -> Draining<'a> {
        *lock(&self.drainer) = Some(thread::current().id());
        Draining { shared: self, current }
    }

    fn is_draining_here(&self) -> bool {
        *lock(&self.drainer) == Some(thread::current().id())
    }

    /// The next event that is the application's own to handle. An error when there is none in time.
    pub(super) fn next_event(
        self: &Arc<Self>,
        timeout: Option<Duration>,
    ) -> Result<*const pdtp_event, Error> {
        let mut draining = self.drain()?;
        draining.current.replace(ptr::null_mut());
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let left =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())).or(timeout);
            let Some(event) = self.engine.next_event(left) else {
                return Err(Error::new(
                    ErrorKind::Again,
                    "no event came in time, or the wait was interrupted",
                ));
            };
            match &event.body {
                EventBody::Posted { tag } => {
                    if let Some(lease) = self.streams.on_posted(*tag) {
                        let event = give(event::data(lease));
                        draining.current.replace(event);
                        return Ok(event);
                    }
                }
                body if self.is_decided(body) || self.is_logged(body) => {}
                _ => {
                    let event = give(event::convert(event));
                    draining.current.replace(event);
                    return Ok(event);
                }
            }
            if self.free_later.load(Ordering::Acquire) {
                drop(draining);
                self.end();
                return Err(Error::new(ErrorKind::State, "the client was freed in its data callback"));
            }
        }
    }

    /// Hands up to `max` events to the application's functions; waits up to `timeout` for the first.
    pub(super) fn dispatch(self: &Arc<Self>, max: usize, timeout: Option<Duration>) -> Result<usize, Error> {
        let mut draining = self.drain()?;
        draining.current.replace(ptr::null_mut());
        let mut handled = 0;
        while handled < max && !self.ended.load(Ordering::Acquire) {
            let event = match handled {
                0 => self.engine.next_event(timeout),
                // What came before an interruption was not what it interrupts: the next call is to return 0.
                _ => self.engine.waiting_event(),
            };
            let Some(event) = event else { break };
            self.deliver(event);
            handled += 1;
            if self.free_later.load(Ordering::Acquire) {
                drop(draining);
                self.end();
                break;
            }
        }
        Ok(handled)
    }

    /// The life of the callback thread.
    fn run(self: &Arc<Self>) {
        let draining = self.draining(lock(&self.drain));
        while !self.ended.load(Ordering::Acquire) && !self.free_later.load(Ordering::Acquire) {
            if let Some(event) = self.engine.next_event(None) {
                self.deliver(event);
            }
        }
        drop(draining);
        if self.free_later.load(Ordering::Acquire) {
            self.end();
        }
    }

    fn deliver(&self, event: Event) {
        let event = match event.body {
            EventBody::Posted { tag } => match self.streams.on_posted(tag) {
                Some(lease) => event::data(lease),
                None => return,
            },
            body if self.is_decided(&body) || self.is_logged(&body) => return,
            body => event::convert(Event { body, ..event }),
        };
        // Without a lock: the function may replace itself.
        let function = lock(&self.function).clone();
        if let Some(function) = function {
            let event = give(event);
            function.call(event);
            // SAFETY: from `give` above; C's right to it ended with the call.
            drop(unsafe { take(event, "event") });
        }
    }

    /// Asks the application's function about a decision; whether it has answered.
    fn is_decided(&self, body: &EventBody) -> bool {
        let EventBody::Decision { transfer, id, verdict } = body else { return false };
        // Without a lock: the function may free the client.
        let Some(function) = lock(&self.verify).clone() else { return false };
        let view = VerdictView::new(*transfer, *id, verdict, None);
        let answer = function.call(&view.seen);
        // It may have taken too long, or the transfer has been cancelled; then nobody waits any more.
        answer.map(|answer| drop(self.engine.decide(*id, answer))).is_some()
    }

    /// Gives a line of the log to the application's function; whether it is to be no event as well.
    fn is_logged(&self, body: &EventBody) -> bool {
        let EventBody::Log { level, target, line } = body else { return false };
        // Without a lock: the function may free the client.
        if let Some(function) = lock(&self.log).clone() {
            function.call(*level, target, line);
        }
        !lock(&self.mask).contains(EventMask::LOG)
    }

    /// Ends the client: for C's `pdtp_client_free`.
    pub(super) fn free(self: &Arc<Self>) {
        if self.is_draining_here() {
            // In a callback of this client. Ending here would wait for the callback that asks for it.
            self.free_later.store(true, Ordering::Release);
        } else if Context::current() == Context::Wakeup {
            // This thread is one that the end waits for. Where there cannot be another, the client stays.
            let ending = Arc::clone(self);
            let ender = thread::Builder::new().name("pdtp-end".to_owned());
            let _ = ender.spawn(move || ending.end());
        } else {
            self.end();
        }
    }

    /// Stops everything, waits for callbacks under way on other threads, destroys what the application gave.
    fn end(self: &Arc<Self>) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let grace = lock(&self.config).grace;
        self.set_wakeup(None);
        self.streams.abort_all();
        // An event that the application still holds has ended with the client: bytes in it are free.
        if let Ok(mut current) = self.drain.try_lock() {
            current.replace(ptr::null_mut());
        }
        // Also ends the wait of whoever drains.
        self.engine.shutdown(grace);
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != thread::current().id()
        {
            // It ends after the callback under way. A panic of it was told already.
            let _ = thread.join();
        }
        lock(&self.drain).replace(ptr::null_mut());
        self.set_function(None);
        let verify = lock(&self.verify).take();
        drop(verify);
        let log = lock(&self.log).take();
        drop(log);
        self.streams.clear();
    }
}
