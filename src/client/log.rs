//! What the library says about its own work, as events for the application.
//!
//! Lines are made with `tracing`. The threads of a client have its sink as their own subscriber, so that each client of a
//! process gets its own lines, and a Rust program's global subscriber is left alone. Not responsible for which lines
//! there are, nor for what becomes of them.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tracing::dispatcher::{DefaultGuard, Dispatch};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, span};

use super::event::EventBody;
use super::inner::Inner;

/// Longest line; what is longer is cut.
const MAX_LINE: usize = 4096;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LogLevel {
    /// Nothing.
    #[default]
    Off,
    /// What should not happen.
    Error,
    /// What went wrong, and was dealt with.
    Warn,
    /// The milestones.
    Info,
    /// What to look at when something goes wrong.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    const WORDS: [(Self, &str); 6] = [
        (Self::Off, "off"),
        (Self::Error, "error"),
        (Self::Warn, "warn"),
        (Self::Info, "info"),
        (Self::Debug, "debug"),
        (Self::Trace, "trace"),
    ];

    /// The level that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, name)| *name == word).map(|(level, _)| *level)
    }

    /// As a word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }

    /// The level of that number.
    pub fn from_number(number: usize) -> Option<Self> {
        Self::WORDS.get(number).map(|(level, _)| *level)
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl From<Level> for LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warn,
            Level::INFO => Self::Info,
            Level::DEBUG => Self::Debug,
            Level::TRACE => Self::Trace,
        }
    }
}

/// Where the lines of a client go.
#[derive(Debug, Clone)]
pub(super) struct Log {
    sink: Arc<Sink>,
    dispatch: Dispatch,
}

#[derive(Debug)]
struct Sink {
    level: AtomicU8,
    client: OnceLock<Weak<Inner>>,
}

thread_local! {
    static OF_THIS_THREAD: RefCell<Option<(Weak<Sink>, DefaultGuard)>> = const { RefCell::new(None) };
}

/// The sinks of all clients, for what happens on a thread of none of them.
static SINKS: Mutex<Vec<Weak<Sink>>> = Mutex::new(Vec::new());

impl Log {
    pub(super) fn new(level: LogLevel) -> Self {
        let sink = Arc::new(Sink { level: AtomicU8::new(level as u8), client: OnceLock::new() });
        {
            let mut sinks = SINKS.lock().unwrap_or_else(PoisonError::into_inner);
            sinks.retain(|sink| sink.strong_count() > 0);
            sinks.push(Arc::downgrade(&sink));
        }
        Self { dispatch: Dispatch::new(Shared(Arc::clone(&sink))), sink }
    }

    /// The client whose queue the lines go into.
    pub(super) fn belongs_to(&self, client: &Arc<Inner>) {
        // Once for each client.
        let _ = self.sink.client.set(Arc::downgrade(client));
    }

    /// From now on the lines of this thread go here.
    pub(super) fn enter_thread(&self) {
        let guard = tracing::dispatcher::set_default(&self.dispatch);
        OF_THIS_THREAD.set(Some((Arc::downgrade(&self.sink), guard)));
    }

    /// Before a thread ends.
    pub(super) fn leave_thread() {
        OF_THIS_THREAD.set(None);
    }

    pub(super) fn set_level(&self, level: LogLevel) {
        if self.sink.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            tracing::callsite::rebuild_interest_cache();
        }
    }
}

impl Sink {
    fn level(&self) -> LogLevel {
        LogLevel::from_number(self.level.load(Ordering::Relaxed).into()).unwrap_or_default()
    }

    fn line(level: LogLevel, target: &str, line: &str) -> EventBody {
        let line = line[..line.floor_char_boundary(MAX_LINE)].to_owned();
        EventBody::Log { level, target: target.to_owned(), line }
    }
}

#[cfg(feature = "ffi")]
/// Tells of a panic: the client on whose thread it happened, all of them if it is no such thread. May be called in the
/// middle of anything: what is locked just now is not told.
pub(crate) fn tell_panic(line: &str) {
    let own = OF_THIS_THREAD.try_with(|own| own.try_borrow().ok()?.as_ref()?.0.upgrade()).ok().flatten();
    let sinks = match own {
        Some(sink) => vec![sink],
        None => {
            SINKS.try_lock().map(|all| all.iter().filter_map(Weak::upgrade).collect()).unwrap_or_default()
        }
    };
    for sink in sinks {
        if sink.level() >= LogLevel::Error
            && let Some(client) = sink.client.get().and_then(Weak::upgrade)
        {
            client.queue.try_push(Sink::line(LogLevel::Error, "pdtp::panic", line));
        }
    }
}

/// What `tracing` sees of a sink.
struct Shared(Arc<Sink>);

impl tracing::Subscriber for Shared {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change.
        Interest::sometimes()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.level().filter())
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.0.level().filter()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let Some(client) = self.0.client.get().and_then(Weak::upgrade) else { return };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { mut message, rest } = fields;
        message.push_str(&rest);
        let level = LogLevel::from(*event.metadata().level());
        client.queue.push(0, Sink::line(level, event.metadata().target(), &message));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    /// ` name=value` of each.
    rest: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{Client, Config, EventMask};

    fn lines(client: &Client) -> Vec<(LogLevel, String, String)> {
        std::iter::from_fn(|| client.next_event(Some(Duration::ZERO)))
            .filter_map(|event| match event.body {
                EventBody::Log { level, target, line } => Some((level, target, line)),
                _ => None,
            })
            .collect()
    }

    fn client(log_level: LogLevel) -> Client {
        let client = Client::new(Config { log_level, log: true, ..Config::default() }).unwrap();
        client.enable_events(EventMask::LOG);
        client
    }

    /// On a thread of this client alone.
    fn log_on(client: &Client, work: impl FnOnce() + Send + 'static) {
        let (sender, receiver) = crossbeam_channel::bounded::<()>(1);
        client.runtime.inner.handle.spawn_blocking(move || {
            work();
            drop(sender);
        });
        receiver.recv().unwrap_err();
    }

    #[test]
    fn lines_of_a_client_are_its_events_and_nobody_elses() {
        let (one, other) = (client(LogLevel::Info), client(LogLevel::Trace));
        log_on(&one, || {
            tracing::debug!("not so much");
            tracing::warn!(n = 5, who = "me", "a word");
        });
        tracing::error!("from elsewhere");
        let told = (LogLevel::Warn, module_path!().to_owned(), "a word n=5 who=\"me\"".to_owned());
        assert_eq!(lines(&one), [told]);
        assert!(lines(&other).is_empty());
        one.set("log_level", "debug").unwrap();
        log_on(&one, || tracing::debug!("now it is told"));
        assert_eq!(lines(&one).len(), 1);
        one.set("log_level", "off").unwrap();
        log_on(&one, || tracing::error!("not any more"));
        assert!(lines(&one).is_empty());
    }

    #[test]
    fn a_panic_is_told_to_the_client_whose_thread_it_is_or_else_to_all() {
        let (one, other, mute) = (client(LogLevel::Error), client(LogLevel::Error), client(LogLevel::Off));
        log_on(&one, || tell_panic("first"));
        assert!(lines(&other).is_empty());
        assert_eq!(lines(&one)[0].2, "first");
        tell_panic("second");
        for client in [&one, &other] {
            assert!(
                lines(client).iter().any(|(level, _, line)| *level == LogLevel::Error && line == "second")
            );
        }
        assert!(lines(&mute).is_empty());
    }

    #[test]
    fn long_lines_are_cut() {
        let client = client(LogLevel::Info);
        log_on(&client, || tracing::info!("{}", "ü".repeat(MAX_LINE)));
        assert_eq!(lines(&client)[0].2.len(), MAX_LINE);
    }

    #[test]
    fn words_are_names() {
        for (level, word) in LogLevel::WORDS {
            assert_eq!(LogLevel::from_word(word), Some(level));
            assert_eq!(level.word(), word);
            assert_eq!(LogLevel::from_number(level as usize), Some(level));
        }
        assert_eq!(LogLevel::from_word("loud"), None);
    }
}
