//! Early GETs: requests that clients send before they know what the origin will have for them, so that its first bytes
//! travel together with the word that they are coming. Here such a request and the grant for it meet, whichever is
//! first.
//!
//! Not responsible for what is granted to whom: that is the core's.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long one waits for the other.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Most of them waiting at once; more are turned away, and those clients fetch in the usual way.
const MAX_WAITING: usize = 4096;

/// See the module. `G` is what is granted.
#[derive(Debug)]
pub(super) struct Early<G> {
    waiting: HashMap<String, Side<G>>,
    /// When each of them came, oldest first; those that have met are still in it until they are due.
    arrivals: VecDeque<(Instant, String)>,
    is_closed: bool,
}

/// Who is here.
#[derive(Debug)]
enum Side<G> {
    Request(oneshot::Sender<G>),
    Granted(G),
}

impl<G> Default for Early<G> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), arrivals: VecDeque::new(), is_closed: false }
    }
}

impl<G> Early<G> {
    /// A GET of this name has come. It is answered at once or later, or the sender is dropped: nothing for it.
    pub(super) fn asked(&mut self, name: String, answer: oneshot::Sender<G>, now: Instant) {
        match self.waiting.remove(&name) {
            // Whoever asked may have gone.
            Some(Side::Granted(grant)) => drop(answer.send(grant)),
            // A name is good for one request; who has guessed it, or says it twice, gets nothing.
            Some(first @ Side::Request(_)) => drop(self.waiting.insert(name, first)),
            None => self.wait(name, Side::Request(answer), now),
        }
    }

    /// The GET of this name, which is here or will be soon, gets these bytes.
    pub(super) fn granted(&mut self, name: String, grant: G, now: Instant) {
        match self.waiting.remove(&name) {
            Some(Side::Request(answer)) => drop(answer.send(grant)),
            _ => self.wait(name, Side::Granted(grant), now),
        }
    }

    /// Turns all away, and whoever comes later.
    pub(super) fn close(&mut self) {
        *self = Self { is_closed: true, ..Self::default() };
    }

    fn wait(&mut self, name: String, side: Side<G>, now: Instant) {
        while let Some((since, _)) = self.arrivals.front()
            && now.saturating_duration_since(*since) >= PATIENCE
        {
            let due = self.arrivals.pop_front();
            due.and_then(|(_, name)| self.waiting.remove(&name));
        }
        if !self.is_closed && self.arrivals.len() < MAX_WAITING {
            self.arrivals.push_back((now, name.clone()));
            self.waiting.insert(name, side);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(early: &mut Early<u32>, name: &str, now: Instant) -> oneshot::Receiver<u32> {
        let (answer, granted) = oneshot::channel();
        early.asked(name.to_owned(), answer, now);
        granted
    }

    #[test]
    fn whichever_is_first_waits_for_the_other() {
        let (mut early, now) = (Early::default(), Instant::now());
        let mut asked = ask(&mut early, "a", now);
        assert!(asked.try_recv().is_err());
        early.granted("a".to_owned(), 1, now);
        assert_eq!(asked.try_recv().unwrap(), 1);
        early.granted("b".to_owned(), 2, now);
        assert_eq!(ask(&mut early, "b", now).try_recv().unwrap(), 2);
        assert!(early.waiting.is_empty());
    }

    #[test]
    fn a_name_that_waits_cannot_be_taken_over() {
        let (mut early, now) = (Early::default(), Instant::now());
        let mut first = ask(&mut early, "a", now);
        assert!(ask(&mut early, "a", now).blocking_recv().is_err());
        early.granted("a".to_owned(), 1, now);
        assert!(first.try_recv().is_ok());
    }

    #[test]
    fn nobody_waits_for_ever_and_not_too_many_wait() {
        let (mut early, now) = (Early::default(), Instant::now());
        let late = ask(&mut early, "late", now);
        let waiting: Vec<_> = (1..MAX_WAITING).map(|n| ask(&mut early, &n.to_string(), now)).collect();
        assert!(ask(&mut early, "one too many", now).blocking_recv().is_err());
        let _next = ask(&mut early, "after a while", now + PATIENCE);
        assert!(late.blocking_recv().is_err());
        assert_eq!(early.waiting.len(), 1);
        drop(waiting);
        early.close();
        assert!(ask(&mut early, "closed", now).blocking_recv().is_err());
    }
}
