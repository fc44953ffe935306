//! A setup described by a few numbers: equal peers, of which some have troubles.

use super::setup::{FileSpec, Host, MBIT, MIB, SECOND, Setup};
use crate::swarm::dice::Dice;

/// What a line that becomes slow is divided by.
const SLOWER: f64 = 10.0;

/// Equal peers that want one file from origins with equal lines. Rates in Mbit/s, shares of all peers in percent. Who has which
/// trouble is up to the seed; nobody has two of them, but for being out of reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Mix {
    /// How many peers.
    pub peers: usize,
    /// The uplink of each.
    pub up: f64,
    /// The downlink of each.
    pub down: f64,
    /// How many origins.
    pub origins: usize,
    /// The uplink of each origin.
    pub origin: f64,
    /// The size of the file, MiB.
    pub size: u64,
    /// Seconds from the coming of one peer to that of the next.
    pub every: f64,
    /// Whether each leaves when it has all.
    pub leave: bool,
    /// Who cannot be dialled.
    pub undialable: f64,
    /// Who sends wrong bytes.
    pub wrong: f64,
    /// Who vanishes without a word, at some time while one copy could be sent over its uplink.
    pub vanish: f64,
    /// Whose uplink carries a tenth from such a time on.
    pub slow: f64,
}

impl Mix {
    /// The setup, with what is random in it decided by `seed`.
    pub fn setup(&self, seed: u64) -> Setup {
        let mut dice = Dice::new(seed);
        let mut hosts = vec![Host::peer(self.up * MBIT, self.down * MBIT); self.peers];
        for (host, number) in hosts.iter_mut().zip(0u32..) {
            host.arrives = (f64::from(number) * self.every * SECOND as f64) as u64;
            host.leaves_when_done = self.leave;
        }
        let copy_us = (self.size * MIB) as f64 / (self.up * MBIT) * SECOND as f64;
        let [undialable, wrong, vanish, slow] =
            [self.undialable, self.wrong, self.vanish, self.slow].map(|percent| self.count(percent));
        for index in shuffled(self.peers, &mut dice).into_iter().take(undialable) {
            hosts[index].is_dialable = false;
        }
        let mut others = shuffled(self.peers, &mut dice).into_iter();
        others.by_ref().take(wrong).for_each(|index| hosts[index].lies = true);
        let mut some_time = |host: &Host| host.arrives + dice.below(copy_us as usize) as u64;
        for index in others.by_ref().take(vanish) {
            hosts[index].vanishes = Some(some_time(&hosts[index]));
        }
        for index in others.take(slow) {
            let host = &hosts[index];
            hosts[index].changes = Some((some_time(host), host.up / SLOWER, host.down));
        }
        let origins = vec![Host::origin(self.origin * MBIT); self.origins];
        Setup::new(seed, [origins, hosts].concat(), vec![FileSpec::of(self.size * MIB)])
    }

    /// So many percent of all peers.
    fn count(&self, percent: f64) -> usize {
        (self.peers as f64 * percent / 100.0).round() as usize
    }
}

/// The numbers below `count` in random order (Fisher and Yates).
fn shuffled(count: usize, dice: &mut Dice) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        numbers.swap(at, dice.below(at + 1));
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use super::*;

    const MIX: Mix = Mix {
        peers: 40,
        up: 10.0,
        down: 50.0,
        origins: 2,
        origin: 20.0,
        size: 8,
        every: 0.1,
        leave: false,
        undialable: 20.0,
        wrong: 5.0,
        vanish: 10.0,
        slow: 25.0,
    };

    #[test]
    fn as_many_have_troubles_as_were_asked_for() {
        let hosts = MIX.setup(3).hosts;
        let count = |of: fn(&Host) -> bool| hosts.iter().filter(|host| of(host)).count();
        assert_eq!(count(|host| host.is_origin), 2);
        assert_eq!(count(|host| !host.is_dialable), 8);
        assert_eq!(count(|host| host.lies), 2);
        assert_eq!(count(|host| host.vanishes.is_some()), 4);
        assert_eq!(count(|host| host.changes.is_some()), 10);
        assert_eq!(count(|host| host.lies && host.vanishes.is_some()), 0);
        assert_eq!(hosts[41].arrives, 39 * SECOND / 10);
    }

    #[test]
    fn another_seed_gives_the_troubles_to_others() {
        let who = |seed| -> Vec<bool> { MIX.setup(seed).hosts.iter().map(|host| host.lies).collect() };
        assert_eq!(who(3), who(3));
        assert_ne!(who(3), who(4));
    }

    #[test]
    fn whoever_is_honest_and_stays_gets_all_in_spite_of_them() {
        for seed in 1..=3 {
            let setup = MIX.setup(seed);
            let summary = run(&setup).summary(&setup);
            assert_eq!((summary.takers, summary.finished), (34, 34), "seed {seed}: {summary:?}");
            assert!(summary.wasted <= 0.02, "seed {seed}: {summary:?}");
        }
    }
}
