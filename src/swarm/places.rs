//! Where in the network a peer seems to be, as far as that says who is near whom.

use std::hash::Hasher as _;
use std::net::IpAddr;

use super::slab::IdHasher;

/// The longest distance: nothing is known that two have in common.
pub(super) const FARTHEST: u8 = 2;

/// The network of an address and the larger one around it, each as a hash: nobody is kept from anything by being taken
/// for near to somebody, which happens to one pair in four thousand million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The /24 or /48.
    near: u32,
    /// The /16 or /32.
    far: u32,
}

impl Place {
    pub(super) fn of(address: Option<IpAddr>) -> Self {
        match address {
            None => Self { near: 0, far: 0 },
            Some(IpAddr::V4(address)) => {
                let bits = u64::from(address.to_bits());
                Self { near: hash(4, bits >> 8), far: hash(4, bits >> 16) }
            }
            Some(IpAddr::V6(address)) => {
                let bits = (address.to_bits() >> 64) as u64;
                Self { near: hash(6, bits >> 16), far: hash(6, bits >> 32) }
            }
        }
    }

    /// How far it seems to be to another: 0 = same /24 or /48, 1 = same /16 or /32, [`FARTHEST`] = no idea.
    pub(super) fn distance(self, other: Self) -> u8 {
        match () {
            () if self.far == 0 || self.far != other.far => FARTHEST,
            () if self.near != other.near => 1,
            () => 0,
        }
    }
}

/// Not 0.
fn hash(kind: u32, bits: u64) -> u32 {
    let mut hasher = IdHasher::default();
    hasher.write_u32(kind);
    hasher.write_u64(bits);
    (hasher.finish() >> 32) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_told_apart() {
        let distance =
            |one: &str, other: &str| Place::of(one.parse().ok()).distance(Place::of(other.parse().ok()));
        assert_eq!(distance("10.1.2.3", "10.1.2.200"), 0);
        assert_eq!(distance("10.1.2.3", "10.1.3.3"), 1);
        assert_eq!(distance("10.1.2.3", "10.2.2.3"), 2);
        assert_eq!(distance("2001:db8:1:2::3", "2001:db8:1:3::4"), 0);
        assert_eq!(distance("2001:db8:1::3", "2001:db8:2::3"), 1);
        assert_eq!(distance("2001:db8::3", "2001:db9::3"), 2);
        assert_eq!(distance("", ""), 2, "nothing is known");
        assert_eq!(distance("10.1.2.3", ""), 2);
    }
}
