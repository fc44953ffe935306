//! Whom a client lets a server send it to (docs/protocol.md, section 8).
//!
//! A server names addresses to dial. One that is hostile, or was told lies by other clients, must not turn its
//! clients into a port scanner, nor aim them at services of their own network. Pure rules; the clock is an
//! argument.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// Most hosts never dialled before, within [`NEW_HOST_WINDOW`].
const MAX_NEW_HOSTS: usize = 64;
/// See [`MAX_NEW_HOSTS`].
const NEW_HOST_WINDOW: Duration = Duration::from_secs(10);
/// Hosts remembered as dialled before; the oldest is forgotten first.
const MAX_KNOWN_HOSTS: usize = 4096;
/// Ports below this belong to the system's own services.
const FIRST_USER_PORT: u16 = 1024;

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the address is of a kind that is never dialled")]
    Never,
    #[error("the address is not public, and the server's is")]
    Inside,
    #[error("ports below 1024 are not dialled for others")]
    SystemPort,
    #[error("too many new hosts at once")]
    TooMany,
}

/// What an address can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Loopback,
    LinkLocal,
    Private,
    Public,
    /// Multicast, broadcast, unspecified, reserved: no host.
    Nothing,
}

fn scope(address: IpAddr) -> Scope {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            if v4.is_loopback() {
                Scope::Loopback
            } else if v4.is_link_local() {
                Scope::LinkLocal
            } else if v4.is_private() || (a == 100 && b & 0xc0 == 64) {
                // 100.64.0.0/10: shared by carriers with their customers.
                Scope::Private
            } else if a == 0 || a >= 224 || v4 == Ipv4Addr::BROADCAST {
                Scope::Nothing
            } else {
                Scope::Public
            }
        }
        IpAddr::V6(v6) => {
            if v6.is_loopback() {
                Scope::Loopback
            } else if v6.is_unicast_link_local() {
                Scope::LinkLocal
            } else if v6.is_unique_local() || v6.segments()[0] & 0xffc0 == 0xfec0 {
                Scope::Private
            } else if v6.is_unspecified() || v6.is_multicast() {
                Scope::Nothing
            } else if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] || v6.segments()[..6] == [0; 6] {
                // An IPv4 address behind a translator, or in the obsolete compatible form: judged as that.
                let [.., a, b, c, d] = v6.octets();
                scope(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
            } else {
                Scope::Public
            }
        }
    }
}

/// The rules, with the memory that the rate rule needs. One per client.
#[derive(Debug, Default)]
pub(super) struct DialRules {
    /// First dialled, oldest first.
    known: VecDeque<IpAddr>,
    /// When the latest new ones were.
    recent: VecDeque<Instant>,
}

impl DialRules {
    /// Whether `to` may be dialled on behalf of the server at `server`. The server itself always may.
    pub(super) fn check(
        &mut self,
        to: SocketAddr,
        server: SocketAddr,
        allow_private: bool,
        now: Instant,
    ) -> Result<(), Refusal> {
        let ip = to.ip().to_canonical();
        if ip == server.ip().to_canonical() && to.port() == server.port() {
            return Ok(());
        }
        match scope(ip) {
            Scope::Nothing => return Err(Refusal::Never),
            Scope::Public => {}
            Scope::Private if allow_private => {}
            inside if inside == scope(server.ip()) => {}
            _ => return Err(Refusal::Inside),
        }
        if to.port() < FIRST_USER_PORT && to.port() != server.port() {
            return Err(Refusal::SystemPort);
        }
        self.count(ip, now)
    }

    fn count(&mut self, ip: IpAddr, now: Instant) -> Result<(), Refusal> {
        if self.known.contains(&ip) {
            return Ok(());
        }
        while self.recent.front().is_some_and(|&at| now.saturating_duration_since(at) >= NEW_HOST_WINDOW) {
            self.recent.pop_front();
        }
        if self.recent.len() >= MAX_NEW_HOSTS {
            return Err(Refusal::TooMany);
        }
        self.recent.push_back(now);
        if self.known.len() >= MAX_KNOWN_HOSTS {
            self.known.pop_front();
        }
        self.known.push_back(ip);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "93.184.216.34:6086";

    fn check(to: &str, server: &str, allow_private: bool) -> Result<(), Refusal> {
        let (to, server) = (to.parse().unwrap(), server.parse().unwrap());
        DialRules::default().check(to, server, allow_private, Instant::now())
    }

    #[test]
    fn a_public_server_sends_nobody_inside() {
        for to in [
            "127.0.0.1:5000",
            "127.9.9.9:5000",
            "[::1]:5000",
            "[::ffff:127.0.0.1]:5000",
            "[::127.0.0.1]:5000",
            "[64:ff9b::10.0.0.1]:5000",
            "169.254.169.254:5000",
            "[fe80::1]:5000",
            "10.1.2.3:5000",
            "172.16.0.1:5000",
            "192.168.1.1:5000",
            "100.64.0.1:5000",
            "[fd00::1]:5000",
            "[fec0::1]:5000",
        ] {
            assert_eq!(check(to, PUBLIC, false), Err(Refusal::Inside), "{to}");
        }
        assert_eq!(check("8.8.8.8:5000", PUBLIC, false), Ok(()));
        assert_eq!(check("[2001:db8::1]:5000", PUBLIC, false), Ok(()));
        assert_eq!(check("100.128.0.1:5000", PUBLIC, false), Ok(()));
    }

    #[test]
    fn some_addresses_are_nobodys() {
        for to in ["0.0.0.0:5000", "255.255.255.255:5000", "224.0.0.1:5000", "240.0.0.1:5000", "[::]:5000"] {
            assert_eq!(check(to, PUBLIC, true), Err(Refusal::Never), "{to}");
            assert_eq!(check(to, "127.0.0.1:6086", true), Err(Refusal::Never), "{to}");
        }
        assert_eq!(check("[ff02::1]:5000", "[fe80::1]:6086", true), Err(Refusal::Never));
    }

    #[test]
    fn a_server_inside_may_name_its_like() {
        assert_eq!(check("127.0.0.1:5000", "127.0.0.1:6086", false), Ok(()));
        assert_eq!(check("[::1]:5000", "127.0.0.1:6086", false), Ok(()));
        assert_eq!(check("192.168.1.5:5000", "10.0.0.1:6086", false), Ok(()));
        assert_eq!(check("127.0.0.1:5000", "10.0.0.1:6086", false), Err(Refusal::Inside));
        assert_eq!(check("10.0.0.1:5000", "127.0.0.1:6086", false), Err(Refusal::Inside));
    }

    #[test]
    fn the_owner_may_allow_private_ones_only() {
        assert_eq!(check("10.0.0.1:5000", PUBLIC, true), Ok(()));
        assert_eq!(check("127.0.0.1:5000", PUBLIC, true), Err(Refusal::Inside));
    }

    #[test]
    fn system_ports_are_left_alone_but_for_the_servers_own() {
        assert_eq!(check("8.8.8.8:22", PUBLIC, false), Err(Refusal::SystemPort));
        assert_eq!(check("8.8.8.8:0", PUBLIC, false), Err(Refusal::SystemPort));
        assert_eq!(check("8.8.8.8:1024", PUBLIC, false), Ok(()));
        assert_eq!(check("8.8.8.8:443", "93.184.216.34:443", false), Ok(()));
        assert_eq!(check("127.0.0.1:443", "127.0.0.1:443", false), Ok(()));
    }

    #[test]
    fn new_hosts_come_at_a_bounded_rate() {
        let mut rules = DialRules::default();
        let (server, start) = (PUBLIC.parse().unwrap(), Instant::now());
        let host = |n: u8| SocketAddr::from(([8, 8, 4, n], 5000));
        for n in 0..64 {
            assert_eq!(rules.check(host(n), server, false, start), Ok(()));
        }
        assert_eq!(rules.check(host(64), server, false, start), Err(Refusal::TooMany));
        assert_eq!(rules.check(host(3), server, false, start), Ok(()), "a known host is not new");
        assert_eq!(rules.check(server, server, false, start), Ok(()), "nor is the server");
        let later = start + NEW_HOST_WINDOW;
        assert_eq!(rules.check(host(64), server, false, later), Ok(()));
    }
}
