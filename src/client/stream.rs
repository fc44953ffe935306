//! A download that goes to a function, in order: a thread that reads what is verified and calls it.
//!
//! The function belongs to the application and may block; it never runs on a thread of the runtime. What it has
//! taken moves the window of what is fetched.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::files::Held;
use super::inner::Inner;
use super::{Error, ErrorKind, Flow, PieceStore};
use crate::content::Layout;
use crate::wire::ByteRange;

/// Bytes handed over at once.
const CHUNK: usize = 256 * 1024;

/// What the application gave.
pub(super) type Function = Box<dyn FnMut(u64, &[u8]) -> Flow + Send>;

/// A stream to be started.
pub(super) struct Streaming {
    pub(super) function: Function,
    /// Of the file; `None` = all of it.
    pub(super) range: Option<ByteRange>,
    /// Bytes a second it will be read with, 0 = not known.
    pub(super) pace: u64,
}

impl Streaming {
    /// The pieces that are needed, of a file that has as many bytes as are meant.
    pub(super) fn pieces(&self, layout: &Layout) -> Range<u32> {
        bytes_of(self.range, layout.size()).map_or(0..0, |bytes| layout.touched(bytes))
    }
}

/// The bytes that are meant, of a file of this size.
pub(super) fn bytes_of(range: Option<ByteRange>, size: u64) -> Result<Range<u64>, Error> {
    match range {
        None => Ok(0..size),
        Some(range) if range.min == size => Ok(size..size),
        Some(range) => range.within(size).ok_or_else(|| {
            let text = format!("the range begins at byte {}, and the file has {size}", range.min);
            Error::new(ErrorKind::Argument, text)
        }),
    }
}

/// Where a reading thread is, and what it waits for.
#[derive(Debug)]
pub(super) struct Position {
    /// The bytes to be handed over.
    bytes: Range<u64>,
    /// The next of them.
    at: AtomicU64,
    news: Mutex<News>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct News {
    /// Something was verified since the thread looked last.
    verified: bool,
    /// Nothing more will come.
    over: bool,
}

impl Position {
    pub(super) fn new(bytes: Range<u64>) -> Self {
        Self { at: AtomicU64::new(bytes.start), bytes, news: Mutex::default(), changed: Condvar::new() }
    }

    /// The next byte that is handed over.
    pub(super) fn at(&self) -> u64 {
        self.at.load(Ordering::Acquire)
    }

    /// All that are handed over.
    pub(super) fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Whether none was handed over yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.at() == self.bytes.start
    }

    /// Something was verified.
    pub(super) fn wake(&self) {
        self.news().verified = true;
        self.changed.notify_all();
    }

    /// Nothing more will come: the thread ends as soon as the function returns.
    pub(super) fn end(&self) {
        self.news().over = true;
        self.changed.notify_all();
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for news; `false` at the end.
    fn wait(&self) -> bool {
        let mut news = self.news();
        while !news.verified && !news.over {
            news = self.changed.wait(news).unwrap_or_else(PoisonError::into_inner);
        }
        news.verified = false;
        !news.over
    }
}

/// How the thread ended, and the function, for another start.
pub(super) struct Finished {
    pub(super) result: Result<(), Error>,
    pub(super) function: Function,
}

/// Starts the thread. Completes when it has handed over everything, was told to end, or the function wants no more.
pub(super) fn start(
    inner: &Arc<Inner>,
    held: Arc<Held>,
    store: Arc<PieceStore>,
    position: Arc<Position>,
    mut function: Function,
) -> Result<oneshot::Receiver<Finished>, Error> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("pdtp-stream".into())
        .spawn(move || {
            let result = read(&held, &store, &position, &mut function);
            held.news.notify_one();
            drop(store);
            // The job may have ended already; then the function ends here.
            let _ = sender.send(Finished { result, function });
        })
        .map_err(|error| Error::io("cannot start a thread", &error))?;
    inner.add_stream(thread);
    Ok(receiver)
}

fn read(held: &Held, store: &PieceStore, position: &Position, function: &mut Function) -> Result<(), Error> {
    let bytes = position.bytes();
    let chunk = |left: u64| usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
    let mut buffer = vec![0; chunk(bytes.end - bytes.start)];
    while position.at() < bytes.end {
        let at = position.at();
        let length = store
            .read_at(at, &mut buffer[..chunk(bytes.end - at)])
            .map_err(|error| Error::io("cannot read from the temporary file", &error))?;
        if length == 0 {
            if !position.wait() {
                return Err(Error::new(ErrorKind::Cancelled, "the stream was ended"));
            }
            continue;
        }
        if position.news().over {
            return Err(Error::new(ErrorKind::Cancelled, "the stream was ended"));
        }
        if function(at, &buffer[..length]) == Flow::Abort {
            return Err(Error::new(ErrorKind::Cancelled, "the receiver wants no more"));
        }
        position.at.fetch_add(length as u64, Ordering::AcqRel);
        // The window moves.
        held.news.notify_one();
    }
    Ok(())
}
