//! Reading a file like a local one, while it comes: from anywhere in it, with jumps.
//!
//! Not responsible for who sends what: a reader says where it is and how much it wants ahead, and waits. What was
//! verified once is kept in a sparse temporary file until the last reader of the file has gone, so that a jump back
//! costs nothing.

mod asking;
mod source;
mod view;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::inner::Runtime;
use super::session::LinkUser;
use super::{Error, ErrorKind};
use crate::content::keys::Fingerprint;
use crate::content::trust::Policy;
use crate::wire::{Digest, UrlPath};

pub(super) use asking::Asking;
use source::{Found, Spot};
pub(super) use source::{Source, Terms, changed};

/// What is fetched ahead of a reader unless it says otherwise, bytes.
pub const DEFAULT_WINDOW: u64 = 64 * 1024 * 1024;

/// How a file is to be read.
#[derive(Debug, Clone)]
pub struct ReaderOptions {
    /// Bytes fetched ahead; 0 = only what is being read.
    pub window: u64,
    /// Only this version will do.
    pub expect_root: Option<Digest>,
    /// What to do about signatures; `None` = as the client is configured.
    pub verify: Option<Policy>,
    /// One of these keys must have signed it; empty = any that is trusted.
    pub keys: Vec<Fingerprint>,
}

impl Default for ReaderOptions {
    fn default() -> Self {
        Self { window: DEFAULT_WINDOW, expect_root: None, verify: None, keys: Vec::new() }
    }
}

/// A file that is read while it comes. Several readers of one file share what is fetched.
///
/// All functions may be called from any thread; two that read at once get what is at the position when each of them
/// looks. Dropping it ends it.
pub struct Reader {
    source: Arc<Source>,
    spot: Arc<Spot>,
    position: AtomicU64,
    is_cancelled: AtomicBool,
    cancelled: watch::Sender<bool>,
    size: u64,
    root: Digest,
    runtime: Arc<Runtime>,
}

impl Reader {
    /// See [`super::Session::open_reader`].
    pub(super) fn open(
        runtime: &Arc<Runtime>,
        link: &LinkUser,
        path: &UrlPath,
        options: ReaderOptions,
        timeout: Option<Duration>,
    ) -> Result<Self, Error> {
        let ReaderOptions { window, expect_root, verify, keys } = options;
        let policy = verify.unwrap_or_else(|| runtime.inner.config().verify);
        let terms = Terms { expect_root, policy, keys };
        let (source, spot) = join(runtime, link, path, &terms, window)?;
        let mut reader = Self::at(Arc::clone(runtime), source, spot);
        let waiting = Arc::clone(&reader.source);
        let ready = runtime.wait(timeout, &format!("opening {path}"), async move {
            let mut news = waiting.subscribe();
            loop {
                if let Some(version) = waiting.version()? {
                    return Ok(version);
                }
                // The sender lives as long as `waiting`.
                let _ = news.changed().await;
            }
        });
        let (root, layout) = ready?;
        (reader.root, reader.size) = (root, layout.size());
        Ok(reader)
    }

    fn at(runtime: Arc<Runtime>, source: Arc<Source>, spot: Arc<Spot>) -> Self {
        Self {
            source,
            spot,
            position: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            cancelled: watch::Sender::new(false),
            size: 0,
            root: Digest::default(),
            runtime,
        }
    }

    /// Another reader of the same version of the same file, at its start, with what is here already.
    ///
    /// # Errors
    /// Why this one cannot go on either.
    pub fn another(&self, position: u64, window: u64) -> Result<Self, Error> {
        let Some(spot) = self.source.enter(position, window) else {
            self.source.version()?;
            return Err(Error::new(ErrorKind::State, "the reader has ended"));
        };
        let mut other = Self::at(Arc::clone(&self.runtime), Arc::clone(&self.source), spot);
        (other.root, other.size) = (self.root, self.size);
        other.position = AtomicU64::new(position);
        Ok(other)
    }

    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The version that is read. Of a server of version 2: nothing that means anything.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The media type that the server gives, if it does.
    pub fn mime(&self) -> Option<String> {
        self.source.described().0
    }

    /// When the file was changed on the server, Unix seconds.
    pub fn mtime(&self) -> Option<i64> {
        self.source.described().1
    }

    /// Where the next read begins. May be past the end.
    pub fn tell(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    /// Goes somewhere else. Never waits; what was fetched ahead and is not near the new place is asked for no longer.
    pub fn seek(&self, position: u64) {
        self.position.store(position, Ordering::Release);
        self.source.moved(&self.spot, position, None);
    }

    /// How many bytes are fetched ahead from now on; 0 = only what is being read.
    pub fn set_window(&self, bytes: u64) {
        self.source.moved(&self.spot, self.tell(), Some(bytes));
    }

    /// The bytes around the position that can be read without waiting; empty at the position if there are none.
    pub fn buffered(&self) -> Range<u64> {
        let at = self.tell();
        if at >= self.size {
            return at..at;
        }
        at..at + self.source.available(at)
    }

    /// Reads what is there, at least one byte; waits for that up to `timeout` (`None` = for ever). 0 at the end.
    ///
    /// # Errors
    /// [`ErrorKind::Again`] when nothing came in time; [`ErrorKind::Cancelled`], [`ErrorKind::Interrupted`];
    /// [`ErrorKind::Changed`] when the version can no longer be had, and others for good.
    pub fn read(&self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<usize, Error> {
        let result = self.try_read(buffer, timeout);
        self.source.set_waiting(&self.spot, false);
        result
    }

    fn try_read(&self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<usize, Error> {
        loop {
            self.check()?;
            let at = self.tell();
            if at >= self.size || buffer.is_empty() {
                return Ok(0);
            }
            if let Some(length) = self.take(at, buffer)? {
                return Ok(length);
            }
            self.source.set_waiting(&self.spot, true);
            if timeout == Some(Duration::ZERO) {
                return Err(self.nothing_yet());
            }
            self.wait(at, timeout)?;
        }
    }

    /// Copies what is there, and moves on.
    fn take(&self, at: u64, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        match self.source.read(at, buffer)? {
            Found::Nothing => Ok(None),
            Found::Bytes(length) => {
                let next = at + length as u64;
                // Unless somebody went elsewhere meanwhile.
                let moved = self.position.compare_exchange(at, next, Ordering::AcqRel, Ordering::Acquire);
                if moved.is_ok() {
                    self.source.moved(&self.spot, next, None);
                }
                Ok(Some(length))
            }
        }
    }

    /// Waits until there is something at `at`, or it is no longer the position.
    fn wait(&self, at: u64, timeout: Option<Duration>) -> Result<(), Error> {
        let (source, mut news) = (Arc::clone(&self.source), self.source.subscribe());
        let (spot, mut cancelled) = (Arc::clone(&self.spot), self.cancelled.subscribe());
        let what = format!("reading {}", self.source.path);
        let waited = self.runtime.wait(timeout, &what, async move {
            loop {
                source.version()?;
                if source.available(at) > 0 || spot.position() != at || *cancelled.borrow_and_update() {
                    return Ok(());
                }
                tokio::select! {
                    _ = news.changed() => {}
                    _ = cancelled.changed() => {}
                }
            }
        });
        match waited {
            Err(error) if error.kind == ErrorKind::Timeout => Err(self.nothing_yet()),
            other => other,
        }
    }

    /// The same for a task: completes when a read at `position` would not wait.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut news = self.source.subscribe();
        let mut cancelled = self.cancelled.subscribe();
        loop {
            self.check()?;
            self.source.version()?;
            let at = self.tell();
            if at >= self.size || self.source.available(at) > 0 {
                self.source.set_waiting(&self.spot, false);
                return Ok(());
            }
            self.source.set_waiting(&self.spot, true);
            tokio::select! {
                _ = news.changed() => {}
                _ = cancelled.changed() => {}
            }
        }
    }

    /// Ends reading for good: whoever reads, now or later, is told [`ErrorKind::Cancelled`].
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.cancelled.send_replace(true);
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_cancelled.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Cancelled,
                format!("reading {} was cancelled", self.source.path),
            ));
        }
        self.runtime.inner.check_open()
    }

    fn nothing_yet(&self) -> Error {
        let text = format!("nothing has come yet at byte {} of {}", self.tell(), self.source.path);
        Error::new(ErrorKind::Again, text)
    }

    /// What it fetches ahead.
    pub fn window(&self) -> u64 {
        self.spot.window()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.source.leave(&self.spot);
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.source.path)
            .field("at", &self.tell())
            .finish_non_exhaustive()
    }
}

/// A place at the source of a file: the one that is there, or a new one.
fn join(
    runtime: &Arc<Runtime>,
    link: &LinkUser,
    path: &UrlPath,
    terms: &Terms,
    window: u64,
) -> Result<(Arc<Source>, Arc<Spot>), Error> {
    let mut sources = link.files.sources();
    let known = sources.get(path).and_then(std::sync::Weak::upgrade).filter(|source| source.suits(terms));
    if let Some(source) = known
        && let Some(spot) = source.enter(0, window)
    {
        return Ok((source, spot));
    }
    {
        // The lock that the end of the client takes: nothing begins after it.
        let _links = runtime.inner.links();
        runtime.inner.check_open()?;
        runtime.inner.transfer_started();
    }
    let source = Arc::new(Source::new(path.clone(), terms.clone(), window));
    // Nobody has seen it yet: it has not ended.
    let spot =
        source.enter(0, window).ok_or_else(|| Error::new(ErrorKind::Internal, "a new reader has ended"));
    sources.retain(|_, source| source.strong_count() > 0);
    sources.insert(path.clone(), Arc::downgrade(&source));
    drop(sources);
    runtime.inner.handle.spawn(Arc::clone(&source).run(link.clone()));
    Ok((source, spot?))
}
