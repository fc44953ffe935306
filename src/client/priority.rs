//! Which transfers of a client go first: while one of higher priority receives, the others ask for nothing.
//!
//! Not responsible for what is asked for ([`super::download`]), nor for who sends (that is the server's).

use std::sync::Arc;

use tokio::sync::watch;

/// How much a transfer matters beside others of the same client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Only when nothing else is to be received.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before others.
    High,
}

impl Priority {
    const WORDS: [(Self, &str); 3] = [(Self::Low, "low"), (Self::Normal, "normal"), (Self::High, "high")];

    /// The priority that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, name)| *name == word).map(|(priority, _)| *priority)
    }

    /// As a word.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize].1
    }
}

/// How many files of each priority are being received.
#[derive(Debug)]
pub(super) struct Precedence(watch::Sender<[usize; 3]>);

impl Default for Precedence {
    fn default() -> Self {
        Self(watch::Sender::new([0; 3]))
    }
}

impl Precedence {
    /// Counts a file, until the place is dropped.
    pub(super) fn enter(self: &Arc<Self>, priority: Priority) -> Place {
        self.count(priority, |count| count + 1);
        Place { of: Arc::clone(self), priority }
    }

    /// Whether a file of this priority has to wait.
    pub(super) fn is_held_back(&self, priority: Priority) -> bool {
        self.0.borrow()[priority as usize + 1..].iter().any(|count| *count > 0)
    }

    /// To be told when [`Precedence::is_held_back`] may answer otherwise.
    pub(super) fn subscribe(&self) -> watch::Receiver<[usize; 3]> {
        self.0.subscribe()
    }

    fn count(&self, priority: Priority, change: impl Fn(usize) -> usize) {
        self.0.send_if_modified(|counts| {
            let count = &mut counts[priority as usize];
            let before = std::mem::replace(count, change(*count));
            // Whoever listens is each file under way: to wake all of them for every one would be the square of many.
            (before == 0) != (*count == 0)
        });
    }
}

/// A file that is being received.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Precedence>,
    pub(super) priority: Priority,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.count(self.priority, |count| count - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_names() {
        for (priority, word) in Priority::WORDS {
            assert_eq!(Priority::from_word(word), Some(priority));
            assert_eq!(priority.word(), word);
        }
        assert_eq!(Priority::from_word("urgent"), None);
    }

    #[test]
    fn only_the_first_and_the_last_are_told() {
        let precedence = Arc::<Precedence>::default();
        let mut told = precedence.subscribe();
        let mut is_told = || {
            let is_told = told.has_changed().unwrap();
            told.mark_unchanged();
            is_told
        };
        let first = precedence.enter(Priority::Normal);
        assert!(is_told());
        let second = precedence.enter(Priority::Normal);
        drop(first);
        assert!(!is_told());
        drop(second);
        assert!(is_told());
    }

    #[test]
    fn the_higher_hold_back_the_lower_as_long_as_they_are_there() {
        let precedence = Arc::<Precedence>::default();
        let all = [Priority::Low, Priority::Normal, Priority::High];
        let held = || all.map(|priority| precedence.is_held_back(priority));
        let low = precedence.enter(Priority::Low);
        assert_eq!(held(), [false; 3]);
        let high = precedence.enter(Priority::High);
        let normal = precedence.enter(Priority::Normal);
        assert_eq!(held(), [true, true, false]);
        drop(high);
        assert_eq!(held(), [true, false, false]);
        drop((normal, low));
        assert_eq!(held(), [false; 3]);
    }
}
