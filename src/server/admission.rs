//! Who may connect: a bound on connections in all, and from one address.
//!
//! A connection that has not yet said what it speaks can be had for one packet, so at a limit the oldest of those
//! makes room for the newcomer: ten thousand silent connections do not lock anybody out.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Bits of an IPv6 address that one subscriber usually has all combinations below of.
const V6_SUBSCRIBER_BITS: u32 = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    state: Mutex<State>,
}

/// Bounds on connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// From one IPv4 address, or IPv6 /64.
    pub(crate) per_address: usize,
    /// From the loopback addresses, each.
    pub(crate) per_loopback_address: usize,
    /// In all.
    pub(crate) total: usize,
}

#[derive(Debug, Default)]
struct State {
    total: usize,
    next: u64,
    addresses: HashMap<IpAddr, Address>,
    /// Silent connections of all addresses, oldest first.
    silent: BTreeMap<u64, IpAddr>,
}

#[derive(Debug, Default)]
struct Address {
    connections: usize,
    /// Those that have not said anything yet, oldest first, and how to end them.
    silent: BTreeMap<u64, oneshot::Sender<()>>,
}

/// The right to be connected, given back when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    admission: Arc<Admission>,
    address: IpAddr,
    number: u64,
    /// Completes when somebody else needs the place; for as long as the connection is silent.
    pub(crate) evicted: oneshot::Receiver<()>,
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Lets a connection in, at the expense of a silent one if need be. `None`: it is to be closed.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Ticket> {
        let address = subscriber(from);
        let limit =
            if address.is_loopback() { self.limits.per_loopback_address } else { self.limits.per_address };
        let mut state = self.lock();
        if state.addresses.get(&address).is_some_and(|entry| entry.connections >= limit) {
            let oldest =
                state.addresses.get(&address).and_then(|entry| entry.silent.keys().next().copied())?;
            state.evict(address, oldest);
        }
        if state.total >= self.limits.total {
            let (oldest, address) =
                state.silent.iter().next().map(|(&number, &address)| (number, address))?;
            state.evict(address, oldest);
        }
        let number = state.next;
        state.next += 1;
        state.total += 1;
        let (evict, evicted) = oneshot::channel();
        let entry = state.addresses.entry(address).or_default();
        entry.connections += 1;
        entry.silent.insert(number, evict);
        state.silent.insert(number, address);
        Some(Ticket { admission: self.clone(), address, number, evicted })
    }

    /// Connections at present.
    pub(crate) fn total(&self) -> usize {
        self.lock().total
    }

    /// Whether nobody else can be let in, from wherever.
    pub(crate) fn is_full(&self) -> bool {
        self.total() >= self.limits.total
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells a silent connection to go. It is counted out at once, so that a flood is bounded by the limit even
    /// while the evicted tasks have yet to run.
    fn evict(&mut self, address: IpAddr, number: u64) {
        let sender = self.addresses.get_mut(&address).and_then(|entry| entry.silent.remove(&number));
        self.silent.remove(&number);
        if let Some(sender) = sender {
            self.count_out(address);
            // It may be about to speak, and then it does not listen; it leaves all the same, see `speaks`.
            let _ = sender.send(());
        }
    }

    fn count_out(&mut self, address: IpAddr) {
        self.total -= 1;
        if let Some(entry) = self.addresses.get_mut(&address) {
            entry.connections -= 1;
            if entry.connections == 0 {
                self.addresses.remove(&address);
            }
        }
    }
}

impl Ticket {
    /// The connection has said what it speaks, and no longer makes room for others. `None` when it has been told to
    /// go already.
    pub(crate) fn speaks(self) -> Option<Admitted> {
        let mut state = self.admission.lock();
        let was_silent =
            state.addresses.get_mut(&self.address).is_some_and(|a| a.silent.remove(&self.number).is_some());
        state.silent.remove(&self.number);
        drop(state);
        let admitted =
            was_silent.then(|| Admitted { admission: self.admission.clone(), address: self.address });
        // `self` is dropped here; with the silent entry gone it counts nothing out.
        drop(self);
        admitted
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        state.silent.remove(&self.number);
        let entry = state.addresses.get_mut(&self.address);
        if entry.is_some_and(|entry| entry.silent.remove(&self.number).is_some()) {
            state.count_out(self.address);
        }
    }
}

/// The right to be connected of one that has spoken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.lock().count_out(self.address);
    }
}

/// What counts as one address.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let mask = u128::MAX << (128 - V6_SUBSCRIBER_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn small() -> Arc<Admission> {
        Admission::new(Limits { per_address: 2, per_loopback_address: 3, total: 4 })
    }

    #[test]
    fn an_address_has_no_more_than_its_share() {
        let admission = small();
        let _a = admission.enter(HERE).unwrap().speaks().unwrap();
        let b = admission.enter(HERE).unwrap().speaks().unwrap();
        assert!(admission.enter(HERE).is_none());
        assert!(admission.enter(THERE).is_some(), "others are not concerned");
        drop(b);
        assert!(admission.enter(HERE).is_some());
    }

    #[test]
    fn the_oldest_silent_one_makes_room() {
        let admission = small();
        let mut first = admission.enter(HERE).unwrap();
        let mut second = admission.enter(HERE).unwrap();
        let third = admission.enter(HERE).unwrap();
        assert!(first.evicted.try_recv().is_ok());
        assert!(second.evicted.try_recv().is_err());
        assert!(first.speaks().is_none(), "it was too late");
        assert!(third.speaks().is_some());
        assert_eq!(admission.total(), 1);
    }

    #[test]
    fn the_total_is_bounded() {
        let admission = Admission::new(Limits { per_address: 100, per_loopback_address: 100, total: 3 });
        let spoken: Vec<_> = (0..3).map(|_| admission.enter(HERE).unwrap().speaks().unwrap()).collect();
        assert!(admission.enter(THERE).is_none());
        drop(spoken);
        assert_eq!(admission.total(), 0);
        let silent: Vec<_> = (0..100).map(|_| admission.enter(THERE).unwrap()).collect();
        assert_eq!(admission.total(), 3);
        drop(silent);
        assert_eq!(admission.total(), 0);
        assert!(admission.lock().addresses.is_empty());
        assert!(admission.lock().silent.is_empty());
    }

    #[test]
    fn a_v6_subscriber_is_one_address() {
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let c: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        assert_eq!(subscriber(a), subscriber(b));
        assert_ne!(subscriber(a), subscriber(c));
        assert_eq!(subscriber("::ffff:192.0.2.1".parse().unwrap()), HERE);
    }
}
