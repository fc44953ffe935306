//! Options: one table behind the typed setters, the C setters by name, the command line and the TOML.

use std::path::PathBuf;
use std::time::Duration;

use super::{Error, ErrorKind, LogLevel};
use crate::content::trust::{Policy, Trust};

/// When pieces are given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeding {
    /// Never: no listener, nothing offered.
    Off,
    /// While a download of this client is under way.
    Downloading,
    /// Until the client ends. Servers are told when they are connected to: what a client gives counts for it only then.
    Always,
}

/// How servers are spoken to (docs/protocol.md, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DialectChoice {
    /// In frames; in lines where that does not work. What has worked is remembered for each server.
    #[default]
    Auto,
    /// In frames.
    Framed,
    /// In lines, as DistribuStream 0.1.0 does, and as version 2.
    Line,
}

/// How a client behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where temporary pieces of streams live; `None` = the system's directory for temporary files.
    pub cache_dir: Option<PathBuf>,
    /// Where lists of unfinished downloads are kept; `None` = nowhere.
    pub state_dir: Option<PathBuf>,
    /// TCP port for peers: 0 = any free one. Only opened when seeding is on.
    pub listen_port: u16,
    /// Bytes a second in, 0 = no limit.
    pub down_limit: u64,
    /// Bytes a second out to peers, 0 = no limit.
    pub up_limit: u64,
    /// See [`Seeding`].
    pub seeding: Seeding,
    /// Bytes of files that are given to others after their download, 0 = no limit. Those used least recently go first.
    pub seed_bytes: u64,
    /// How long a file is given after its download, zero = no limit.
    pub seed_time: Duration,
    /// Bytes that streams may leave in temporary files, to be given to others and read again; 0 = nothing is left.
    pub cache_bytes: u64,
    /// Bounds dialling a server or a peer.
    pub connect_timeout: Duration,
    /// How long ending the client may take.
    pub grace: Duration,
    /// Program name and version put before the library's in `register.agent`.
    pub agent: String,
    /// Dial peers at private addresses even if the server is at a public one.
    pub allow_private: bool,
    /// See [`DialectChoice`].
    pub dialect: DialectChoice,
    /// Files of a tree downloaded at once. Of small ones (up to 64 KiB) 32 count as one.
    pub parallel_files: u32,
    /// Events held for the application before droppable ones are dropped.
    pub event_queue: u32,
    /// What to do about signatures, unless a request says otherwise.
    pub verify: Policy,
    /// Keys and authorities that are trusted, besides those of the trust file.
    pub trust: Trust,
    /// The trust file: read at the start, and added to when the application accepts a new key. Beside it, with
    /// `.seen` added to the name, is kept which dates were seen. `None` = nothing is kept.
    pub trust_store: Option<PathBuf>,
    /// The application answers [`super::EventBody::Decision`] by [`super::Client::decide`]; otherwise the policy
    /// decides.
    pub decisions: bool,
    /// How much is told by [`super::EventBody::Log`].
    pub log_level: LogLevel,
    /// Lines of the log are events. Else they go where the program's `tracing` subscriber takes them.
    pub log: bool,
    /// How long an answer may take; who is not answered is refused.
    pub decision_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_dir: None,
            state_dir: None,
            listen_port: 0,
            down_limit: 0,
            up_limit: 0,
            seeding: Seeding::Downloading,
            seed_bytes: 0,
            seed_time: Duration::ZERO,
            cache_bytes: 256 * 1024 * 1024,
            connect_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(3),
            agent: String::new(),
            allow_private: false,
            dialect: DialectChoice::Auto,
            parallel_files: 32,
            event_queue: 1024,
            verify: Policy::Ask,
            trust: Trust::default(),
            trust_store: None,
            decisions: false,
            log_level: LogLevel::Off,
            log: false,
            decision_timeout: Duration::from_secs(300),
        }
    }
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`.
    Bool,
    /// A number.
    Number,
    /// Bytes or bytes a second: a number, optionally with `K`, `M`, `G` (powers of 1024).
    Bytes,
    /// Seconds, or a number with `ms`, `s`, `m`, `h`.
    Duration,
    /// Text.
    Text,
    /// One of a few words (named in the help).
    Word,
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct OptionSpec {
    /// As in C, in TOML and (with `-` for `_`) on the command line.
    pub name: &'static str,
    /// What values look like.
    pub kind: OptionKind,
    /// One sentence.
    pub help: &'static str,
    /// May be changed on a running client.
    pub runtime: bool,
}

/// Every option, in the order people should read them.
pub const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "seeding",
        kind: OptionKind::Word,
        help: "when pieces are given to others: off, downloading, always",
        runtime: true,
    },
    OptionSpec {
        name: "seed_bytes",
        kind: OptionKind::Bytes,
        help: "most bytes of files given after their download, least recently used go first; 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "seed_time",
        kind: OptionKind::Duration,
        help: "how long a file is given after its download, 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "cache_bytes",
        kind: OptionKind::Bytes,
        help: "most bytes that streams leave in temporary files, to give and to read again; 0 = none",
        runtime: true,
    },
    OptionSpec {
        name: "limit_down",
        kind: OptionKind::Bytes,
        help: "most bytes a second to receive, 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "limit_up",
        kind: OptionKind::Bytes,
        help: "most bytes a second to send to peers, 0 = no limit",
        runtime: true,
    },
    OptionSpec {
        name: "listen_port",
        kind: OptionKind::Number,
        help: "TCP port on which peers are served, 0 = any free one",
        runtime: false,
    },
    OptionSpec {
        name: "connect_timeout",
        kind: OptionKind::Duration,
        help: "how long dialling may take",
        runtime: false,
    },
    OptionSpec {
        name: "grace",
        kind: OptionKind::Duration,
        help: "how long ending the client may take",
        runtime: true,
    },
    OptionSpec {
        name: "parallel_files",
        kind: OptionKind::Number,
        help: "files of a tree downloaded at once; 32 small ones count as one",
        runtime: false,
    },
    OptionSpec {
        name: "allow_private",
        kind: OptionKind::Bool,
        help: "dial peers at private addresses on behalf of a public server",
        runtime: false,
    },
    OptionSpec {
        name: "dialect",
        kind: OptionKind::Word,
        help: "how servers are spoken to: auto, framed, line (DistribuStream 0.1)",
        runtime: false,
    },
    OptionSpec {
        name: "cache_dir",
        kind: OptionKind::Text,
        help: "directory for temporary pieces of streams",
        runtime: false,
    },
    OptionSpec {
        name: "state_dir",
        kind: OptionKind::Text,
        help: "directory for the list of unfinished downloads; none is kept without it",
        runtime: false,
    },
    OptionSpec {
        name: "agent",
        kind: OptionKind::Text,
        help: "program name and version told to servers",
        runtime: false,
    },
    OptionSpec {
        name: "event_queue",
        kind: OptionKind::Number,
        help: "events held before droppable ones are dropped",
        runtime: false,
    },
    OptionSpec {
        name: "log_level",
        kind: OptionKind::Word,
        help: "what is told of the work of the library: off, error, warn, info, debug, trace",
        runtime: true,
    },
    OptionSpec {
        name: "verify",
        kind: OptionKind::Word,
        help: "what to do about signatures: require, ask, report, off",
        runtime: true,
    },
    OptionSpec {
        name: "trust_store",
        kind: OptionKind::Text,
        help: "file that says who may sign what",
        runtime: false,
    },
    OptionSpec {
        name: "decision_timeout",
        kind: OptionKind::Duration,
        help: "how long the answer to a question about a signature may take",
        runtime: false,
    },
];

/// Most bytes an `agent` may have: it travels in every `register`.
const MAX_AGENT: usize = 256;
/// Most files of a tree downloaded at once.
const MAX_PARALLEL_FILES: u32 = 1024;
/// Fewest and most events a queue may be told to hold.
const EVENT_QUEUE: std::ops::RangeInclusive<u32> = 16..=1_000_000;
/// Longest duration an option takes: a year. Longer ones would overflow clocks.
const MAX_DURATION: Duration = Duration::from_secs(366 * 24 * 3600);

impl Config {
    /// Sets an option by name; `-` and `_` are the same in names. An unknown name is answered with the nearest known
    /// one.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for an unknown name or a value that is not of the option's kind. Nothing is changed
    /// then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let spec = find(name)?;
        let bad = |expected: &str| {
            Error::new(ErrorKind::Option, format!("option {}: {value:?} is not {expected}", spec.name))
        };
        match spec.name {
            "seeding" => {
                self.seeding = match value {
                    "off" => Seeding::Off,
                    "downloading" => Seeding::Downloading,
                    "always" => Seeding::Always,
                    _ => return Err(bad("one of off, downloading, always")),
                }
            }
            "seed_bytes" => self.seed_bytes = bytes(value).ok_or_else(|| bad(BYTES))?,
            "seed_time" => self.seed_time = duration(value).ok_or_else(|| bad(DURATION))?,
            "cache_bytes" => self.cache_bytes = bytes(value).ok_or_else(|| bad(BYTES))?,
            "limit_down" => self.down_limit = bytes(value).ok_or_else(|| bad(BYTES))?,
            "limit_up" => self.up_limit = bytes(value).ok_or_else(|| bad(BYTES))?,
            "listen_port" => self.listen_port = value.parse().map_err(|_| bad("a port, 0 to 65535"))?,
            "connect_timeout" => {
                self.connect_timeout =
                    duration(value).filter(|d| !d.is_zero()).ok_or_else(|| bad("a duration above zero"))?;
            }
            "grace" => self.grace = duration(value).ok_or_else(|| bad(DURATION))?,
            "parallel_files" => {
                self.parallel_files = number_within(value, 1..=MAX_PARALLEL_FILES)
                    .ok_or_else(|| bad(&format!("a number from 1 to {MAX_PARALLEL_FILES}")))?;
            }
            "allow_private" => self.allow_private = boolean(value).ok_or_else(|| bad("yes or no"))?,
            "dialect" => {
                self.dialect = match value {
                    "auto" => DialectChoice::Auto,
                    "framed" => DialectChoice::Framed,
                    "line" => DialectChoice::Line,
                    _ => return Err(bad("one of auto, framed, line")),
                }
            }
            "cache_dir" => self.cache_dir = (!value.is_empty()).then(|| value.into()),
            "state_dir" => self.state_dir = (!value.is_empty()).then(|| value.into()),
            "agent" => {
                if value.len() > MAX_AGENT || value.chars().any(char::is_control) {
                    return Err(bad("a short text without control characters"));
                }
                value.clone_into(&mut self.agent);
            }
            "event_queue" => {
                self.event_queue = number_within(value, EVENT_QUEUE).ok_or_else(|| {
                    bad(&format!("a number from {} to {}", EVENT_QUEUE.start(), EVENT_QUEUE.end()))
                })?;
            }
            "verify" => {
                self.verify = policy(value).ok_or_else(|| bad("one of require, ask, report, off"))?;
            }
            "log_level" => {
                self.log_level = LogLevel::from_word(value)
                    .ok_or_else(|| bad("one of off, error, warn, info, debug, trace"))?;
            }
            "trust_store" => self.trust_store = (!value.is_empty()).then(|| value.into()),
            "decision_timeout" => {
                self.decision_timeout = duration(value).ok_or_else(|| bad(DURATION))?;
            }
            other => return Err(Error::new(ErrorKind::Internal, format!("option {other} has no setter"))),
        }
        Ok(())
    }

    /// An option as text, in the form [`Config::set`] takes. Text that is not UTF-8 (of a path set by
    /// [`Config::cache_dir`] directly) has its wrong bytes replaced.
    pub fn get(&self, name: &str) -> Result<String, Error> {
        let spec = find(name)?;
        Ok(match spec.name {
            "seeding" => match self.seeding {
                Seeding::Off => "off",
                Seeding::Downloading => "downloading",
                Seeding::Always => "always",
            }
            .to_owned(),
            "seed_bytes" => self.seed_bytes.to_string(),
            "seed_time" => format_duration(self.seed_time),
            "cache_bytes" => self.cache_bytes.to_string(),
            "limit_down" => self.down_limit.to_string(),
            "limit_up" => self.up_limit.to_string(),
            "listen_port" => self.listen_port.to_string(),
            "connect_timeout" => format_duration(self.connect_timeout),
            "grace" => format_duration(self.grace),
            "parallel_files" => self.parallel_files.to_string(),
            "allow_private" => if self.allow_private { "yes" } else { "no" }.to_owned(),
            "dialect" => match self.dialect {
                DialectChoice::Auto => "auto",
                DialectChoice::Framed => "framed",
                DialectChoice::Line => "line",
            }
            .to_owned(),
            "cache_dir" => {
                self.cache_dir.as_ref().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default()
            }
            "state_dir" => {
                self.state_dir.as_ref().map(|d| d.to_string_lossy().into_owned()).unwrap_or_default()
            }
            "agent" => self.agent.clone(),
            "event_queue" => self.event_queue.to_string(),
            "verify" => policy_word(self.verify).to_owned(),
            "log_level" => self.log_level.word().to_owned(),
            "trust_store" => {
                self.trust_store.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
            }
            "decision_timeout" => format_duration(self.decision_timeout),
            other => return Err(Error::new(ErrorKind::Internal, format!("option {other} has no getter"))),
        })
    }

    /// Looks an option up, for [`super::Client::set`], which may change only some.
    pub(super) fn spec(name: &str) -> Result<&'static OptionSpec, Error> {
        find(name)
    }
}

const BYTES: &str = "a number of bytes (K, M and G are powers of 1024)";
const DURATION: &str = "a duration (seconds, or a number with ms, s, m or h)";

fn find(name: &str) -> Result<&'static OptionSpec, Error> {
    let wanted = name.replace('-', "_");
    OPTIONS
        .iter()
        .find(|spec| spec.name == wanted)
        .ok_or_else(|| no_option(name, OPTIONS.iter().map(|spec| spec.name)))
}

/// There is no option of this name; the nearest of those that are there is named.
pub fn no_option<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    // Names come from outside, and comparing long ones takes long.
    let shown: String = name.chars().take(64).collect();
    let wanted = shown.replace('-', "_");
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(&wanted, known), known))
        .filter(|(distance, known)| *distance <= known.len() / 2)
        .min();
    let message = match nearest {
        Some((_, known)) => format!("there is no option {shown:?}; did you mean {known:?}?"),
        None => format!("there is no option {shown:?}"),
    };
    Error::new(ErrorKind::Option, message)
}

/// The policy that a word names.
pub fn policy(word: &str) -> Option<Policy> {
    [Policy::Require, Policy::Ask, Policy::Report, Policy::Off].into_iter().find(|p| policy_word(*p) == word)
}

/// A policy as a word.
pub(super) fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::Require => "require",
        Policy::Ask => "ask",
        Policy::Report => "report",
        Policy::Off => "off",
    }
}

/// Yes or no.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn number_within(text: &str, bounds: std::ops::RangeInclusive<u32>) -> Option<u32> {
    text.parse().ok().filter(|n| bounds.contains(n))
}

/// `512`, `64K`, `1.5M`, `2G`; a trailing `B` or `iB` is allowed.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim_end_matches("iB").trim_end_matches('B') {
        "" => 1,
        "K" | "k" => 1u64 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        _ => return None,
    };
    scaled(number, factor)
}

/// `2`, `2s`, `1.5m`, `250ms`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        _ => return None,
    };
    scaled(number, milliseconds).map(Duration::from_millis).filter(|d| *d <= MAX_DURATION)
}

/// A decimal number times `factor`, rounded down; `None` where that is no `u64`. Whole numbers are exact.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    // Above 2^63 a fraction is surely not meant.
    (value < i64::MAX as f64).then_some(value as u64)
}

fn format_duration(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_in_the_table_can_be_read_and_set_to_what_was_read() {
        let mut config = Config::default();
        for spec in OPTIONS {
            let text = config.get(spec.name).unwrap();
            config.set(spec.name, &text).unwrap_or_else(|e| panic!("{}: {e}", spec.name));
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn values_are_parsed_by_kind() {
        let mut config = Config::default();
        config.set("limit-down", "1.5M").unwrap();
        assert_eq!(config.down_limit, 1536 * 1024);
        config.set("limit_up", "64KiB").unwrap();
        assert_eq!(config.up_limit, 65536);
        config.set("grace", "250ms").unwrap();
        assert_eq!(config.grace, Duration::from_millis(250));
        assert_eq!(config.get("grace").unwrap(), "250ms");
        config.set("connect-timeout", "1m").unwrap();
        assert_eq!(config.connect_timeout, Duration::from_secs(60));
        config.set("seeding", "always").unwrap();
        assert_eq!(config.seeding, Seeding::Always);
        config.set("allow_private", "on").unwrap();
        assert!(config.allow_private);
    }

    #[test]
    fn wrong_values_change_nothing() {
        let mut config = Config::default();
        for (name, value) in [
            ("limit_down", "-1"),
            ("limit_down", "1X"),
            ("limit_down", "."),
            ("limit_down", ""),
            ("limit_down", "99999999999999999999G"),
            ("limit_down", "1e5"),
            ("listen_port", "65536"),
            ("connect_timeout", "0"),
            ("grace", "5 s"),
            ("grace", "999999999h"),
            ("parallel_files", "0"),
            ("parallel_files", "1025"),
            ("event_queue", "15"),
            ("seeding", "Always"),
            ("dialect", "lines"),
            ("allow_private", "maybe"),
            ("agent", "a\nb"),
        ] {
            let error = config.set(name, value).expect_err(name);
            assert_eq!(error.kind, ErrorKind::Option, "{name}={value}");
        }
        assert_eq!(config, Config::default());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let mut config = Config::default();
        let error = config.set("limit_dwon", "1").unwrap_err();
        assert!(error.message.contains("\"limit_down\""), "{error}");
        let error = config.get("xyzzy").unwrap_err();
        assert!(!error.message.contains("did you mean"), "{error}");
    }
}
