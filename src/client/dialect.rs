//! In which dialect a server is spoken to, and what is remembered of that.
//!
//! A client speaks first, so it cannot see what the server expects. Framed comes first. DistribuStream 0.1.0, which
//! knows lines only, closes on a framed `register`, because that ends in CR LF; then lines are tried, and what has
//! worked is remembered for as long as the client lives. Not responsible for versions: a server of version 3 is one in
//! either dialect.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::DialectChoice;
use crate::wire::{Dialect, limits};

/// A server that has not answered within this is tried in the other dialect.
const TRIAL: Duration = Duration::from_secs(2);
/// A server of version 2 that has nothing to answer yet is asked something after this.
const PROBE_AFTER: Duration = Duration::from_secs(1);
/// Servers remembered.
const MAX_REMEMBERED: usize = 1024;

/// How a connection is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// `register` in a frame. `is_trial`: if there is no answer, lines come next.
    Framed { is_trial: bool },
    /// In lines, to a server of which nothing is known: with a question, which any version answers.
    TryLines,
    /// In lines, as version 2.
    Lines,
}

impl Opening {
    pub(super) fn dialect(self) -> Dialect {
        match self {
            Self::Framed { .. } => Dialect::Framed,
            Self::TryLines | Self::Lines => Dialect::Line,
        }
    }

    /// How long to wait for the first answer.
    pub(super) fn patience(self) -> Duration {
        match self {
            Self::Framed { is_trial: true } | Self::TryLines => TRIAL,
            _ => limits::REGISTER_TIMEOUT,
        }
    }

    /// When to ask something that also version 2 answers, if nothing has come before.
    pub(super) fn probe_after(self) -> Duration {
        if self == Self::TryLines { Duration::ZERO } else { PROBE_AFTER }
    }

    /// Whether the other dialect is tried when this one finds no answer.
    pub(super) fn is_trial(self) -> bool {
        self == Self::Framed { is_trial: true }
    }
}

/// What servers were found to speak, by host and port.
#[derive(Debug, Default)]
pub(super) struct Spoken(Mutex<HashMap<(String, u16), Dialect>>);

impl Spoken {
    /// How to begin with a server.
    pub(super) fn opening(&self, choice: DialectChoice, host: &str, port: u16) -> Opening {
        match (choice, self.known().get(&key(host, port))) {
            (DialectChoice::Framed, _) | (DialectChoice::Auto, Some(Dialect::Framed)) => {
                Opening::Framed { is_trial: false }
            }
            (DialectChoice::Line, _) | (DialectChoice::Auto, Some(Dialect::Line)) => Opening::Lines,
            (DialectChoice::Auto, None) => Opening::Framed { is_trial: true },
        }
    }

    /// A server has answered in a dialect.
    pub(super) fn remember(&self, host: &str, port: u16, dialect: Dialect) {
        let mut known = self.known();
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(key(host, port), dialect);
    }

    /// A server no longer answers in the dialect it did.
    pub(super) fn forget(&self, host: &str, port: u16) {
        self.known().remove(&key(host, port));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, u16), Dialect>> {
        // Nothing under this lock can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(host: &str, port: u16) -> (String, u16) {
    (host.to_ascii_lowercase(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_worked_is_done_again_unless_the_owner_says_otherwise() {
        let spoken = Spoken::default();
        let open = |choice| spoken.opening(choice, "Host", 1);
        assert_eq!(open(DialectChoice::Auto), Opening::Framed { is_trial: true });
        spoken.remember("host", 1, Dialect::Line);
        assert_eq!(open(DialectChoice::Auto), Opening::Lines);
        assert_eq!(open(DialectChoice::Framed), Opening::Framed { is_trial: false });
        spoken.remember("host", 1, Dialect::Framed);
        assert_eq!(open(DialectChoice::Auto), Opening::Framed { is_trial: false });
        assert_eq!(open(DialectChoice::Line), Opening::Lines);
        assert!(spoken.opening(DialectChoice::Auto, "host", 2).is_trial(), "another server");
        spoken.forget("host", 1);
        assert!(open(DialectChoice::Auto).is_trial());
    }

    #[test]
    fn a_server_is_found_out_within_two_seconds() {
        for opening in [Opening::Framed { is_trial: true }, Opening::TryLines] {
            assert!(opening.patience() <= Duration::from_secs(2));
            assert!(opening.probe_after() < opening.patience(), "an answer has its time");
        }
    }

    #[test]
    fn memory_is_bounded() {
        let spoken = Spoken::default();
        for n in 0..=MAX_REMEMBERED {
            spoken.remember(&n.to_string(), 1, Dialect::Line);
        }
        assert!(spoken.known().len() <= MAX_REMEMBERED);
    }
}
