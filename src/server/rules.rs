//! What the operator wants of directories: who comes first, how much the origin sends, how many download at once, and
//! from which networks.
//!
//! Each rule holds for a directory and everything below it, until a directory further down says otherwise: for each of
//! them the nearest directory that says something about it counts. So a directory below one that is closed to strangers
//! is closed to them, too, unless it has networks of its own.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::hub::Audience;
use crate::peer::RateLimiter;
use crate::swarm;
use crate::wire::UrlPath;

/// How the origin uses its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SendPolicy {
    /// All of it, whenever somebody needs something.
    #[default]
    Fast,
    /// A byte is sent again only when no peer can send it.
    Frugal,
}

/// What an operator says about a directory. What is `None` is as in the directory above.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryRules {
    /// Files with a higher one come first; 0 where nothing is said.
    pub priority: Option<i32>,
    /// Most bytes a second that the origin sends of all of it together; 0 = no limit.
    pub max_origin_rate: Option<u64>,
    /// Most clients that download from it at once; 0 = no limit. Browsers do not count. Who makes no progress leaves its place
    /// to those who wait.
    pub max_peers: Option<u32>,
    /// Who may list it and download from it; without any, nobody may.
    pub networks: Option<Vec<IpNet>>,
    /// Whether clients give it to each other.
    pub peers: Option<bool>,
    /// How the origin uses its line.
    pub policy: Option<SendPolicy>,
}

/// Rules by directory.
pub type Directories = Vec<(UrlPath, DirectoryRules)>;

/// What holds for a path, all directories above it considered.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// For the scheduler.
    pub(super) swarm: swarm::Rules,
    /// Most clients at once, and the number that those share who count together.
    pub(super) max_peers: Option<(u32, u32)>,
    networks: Option<Arc<[IpNet]>>,
    /// What the bytes of the origin count against, if not only against the limit of the whole server.
    limiter: Option<RateLimiter>,
}

/// All rules, ready to be looked up.
#[derive(Debug, Default)]
pub(super) struct Rules {
    by_directory: BTreeMap<UrlPath, Held>,
    elsewhere: Held,
}

impl Rules {
    /// `limiter` is that of the whole server.
    pub(super) fn new(directories: &Directories, limiter: &RateLimiter) -> Self {
        let elsewhere = Held::default();
        let mut by_directory: BTreeMap<UrlPath, Held> = BTreeMap::new();
        let mut sorted: Vec<_> = directories.iter().collect();
        // What is above comes before what is below it.
        sorted.sort_by_key(|(path, _)| path.components().count());
        for (group, (path, rules)) in sorted.into_iter().enumerate() {
            let mut held = nearest(&by_directory, path).unwrap_or(&elsewhere).clone();
            held.apply(rules, u32::try_from(group).unwrap_or(u32::MAX), limiter);
            by_directory.insert(path.clone(), held);
        }
        Self { by_directory, elsewhere }
    }

    /// What holds for each directory of which anything is said, in the order of their paths.
    pub(super) fn all(&self) -> impl Iterator<Item = (&UrlPath, &Held)> {
        self.by_directory.iter()
    }

    /// What holds for a path.
    pub(super) fn of(&self, path: &UrlPath) -> &Held {
        nearest(&self.by_directory, path).unwrap_or(&self.elsewhere)
    }

    /// Whether an address may know of a path.
    pub(super) fn admits(&self, address: IpAddr, path: &UrlPath) -> bool {
        self.of(path).networks.as_ref().is_none_or(|networks| {
            let address = address.to_canonical();
            networks.iter().any(|network| network.contains(&address))
        })
    }

    /// Whoever is at an address, as those for whom something is listed.
    pub(super) fn audience(&self, address: IpAddr) -> Visitor<'_> {
        Visitor { rules: self, address, sees_all: self.admit_all() }
    }

    /// Whether everybody may know of everything, which saves looking.
    pub(super) fn admit_all(&self) -> bool {
        self.by_directory.values().all(|held| held.networks.is_none())
    }

    /// What the origin's bytes of a path count against.
    pub(super) fn limiter(&self, path: &UrlPath, all: &RateLimiter) -> RateLimiter {
        self.of(path).limiter.as_ref().unwrap_or(all).clone()
    }
}

/// See [`Rules::audience`].
pub(super) struct Visitor<'a> {
    rules: &'a Rules,
    address: IpAddr,
    sees_all: bool,
}

impl Audience for Visitor<'_> {
    fn may_know(&self, path: &UrlPath) -> bool {
        self.sees_all || self.rules.admits(self.address, path)
    }

    fn may_know_below(&self, dir: &UrlPath) -> bool {
        let is_told = |path: &UrlPath| path.is_under(dir) && self.rules.admits(self.address, path);
        self.may_know(dir) || self.rules.by_directory.keys().any(is_told)
    }
}

fn nearest<'a>(by_directory: &'a BTreeMap<UrlPath, Held>, path: &UrlPath) -> Option<&'a Held> {
    if by_directory.is_empty() {
        return None;
    }
    let mut above = Some(path.clone());
    while let Some(path) = above {
        if let Some(held) = by_directory.get(&path) {
            return Some(held);
        }
        above = path.parent();
    }
    None
}

impl Held {
    fn apply(&mut self, rules: &DirectoryRules, group: u32, all: &RateLimiter) {
        if let Some(priority) = rules.priority {
            self.swarm.priority = priority;
        }
        if let Some(peers) = rules.peers {
            self.swarm.peers = peers;
        }
        if let Some(policy) = rules.policy {
            self.swarm.frugal = Some(policy == SendPolicy::Frugal);
        }
        if let Some(rate) = rules.max_origin_rate {
            self.swarm.origin_rate = (rate > 0).then_some(swarm::SharedRate { group, rate });
            self.limiter = (rate > 0).then(|| all.within(rate));
        }
        if let Some(most) = rules.max_peers {
            self.max_peers = (most > 0).then_some((group, most));
        }
        if let Some(networks) = &rules.networks {
            self.networks = Some(networks.iter().map(IpNet::trunc).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(directories: &[(&str, DirectoryRules)]) -> Rules {
        let all =
            directories.iter().map(|(path, rules)| (UrlPath::parse(path).unwrap(), rules.clone())).collect();
        Rules::new(&all, &RateLimiter::new(0))
    }

    fn of<'a>(rules: &'a Rules, path: &str) -> &'a Held {
        rules.of(&UrlPath::parse(path).unwrap())
    }

    #[test]
    fn the_nearest_directory_wins_for_each_rule() {
        let networks = Some(vec!["10.0.0.0/8".parse().unwrap()]);
        let rules = rules(&[
            ("/a/b", DirectoryRules { priority: Some(5), ..Default::default() }),
            ("/", DirectoryRules { peers: Some(false), max_peers: Some(3), ..Default::default() }),
            ("/a", DirectoryRules { networks, priority: Some(-1), ..Default::default() }),
        ]);
        assert_eq!((of(&rules, "/x").swarm.priority, of(&rules, "/x").swarm.peers), (0, false));
        assert_eq!(of(&rules, "/a/x").swarm.priority, -1);
        assert_eq!((of(&rules, "/a/b/c").swarm.priority, of(&rules, "/a/b/c").swarm.peers), (5, false));
        // Names that only begin alike are others.
        assert_eq!(of(&rules, "/a/bc").swarm.priority, -1);
        assert_eq!(of(&rules, "/ab").swarm.priority, 0);
        // What was said once is counted together everywhere below.
        assert_eq!(of(&rules, "/a/b").max_peers, of(&rules, "/z").max_peers);

        let stranger: IpAddr = "192.0.2.1".parse().unwrap();
        let path = |text| UrlPath::parse(text).unwrap();
        assert!(rules.admits(stranger, &path("/x")) && rules.admits(stranger, &path("/")));
        assert!(!rules.admits(stranger, &path("/a/b/c")) && !rules.admits(stranger, &path("/a")));
        assert!(rules.admits("10.1.2.3".parse().unwrap(), &path("/a/b/c")));
        assert!(rules.admits("::ffff:10.1.2.3".parse().unwrap(), &path("/a/b/c")));
        assert!(!rules.admits("::1".parse().unwrap(), &path("/a/b/c")));
    }

    #[test]
    fn what_is_closed_is_looked_into_only_for_what_is_open_below() {
        let networks = |all: &[&str]| Some(all.iter().map(|text| text.parse().unwrap()).collect());
        let rules = rules(&[
            ("/a", DirectoryRules { networks: networks(&["10.0.0.0/8"]), ..Default::default() }),
            ("/a/open/here", DirectoryRules { networks: networks(&["0.0.0.0/0"]), ..Default::default() }),
        ]);
        let stranger = rules.audience("192.0.2.1".parse().unwrap());
        let path = |text| UrlPath::parse(text).unwrap();
        for (at, itself, below) in [
            ("/", true, true),
            ("/a", false, true),
            ("/a/open", false, true),
            ("/a/open/here", true, true),
            ("/a/open/here/x", true, true),
            ("/a/op", false, false),
            ("/a/other", false, false),
        ] {
            assert_eq!(
                (stranger.may_know(&path(at)), stranger.may_know_below(&path(at))),
                (itself, below),
                "{at}"
            );
        }
        let friend = rules.audience("10.1.2.3".parse().unwrap());
        assert!(friend.may_know(&path("/a/other")) && friend.may_know_below(&path("/a/other")));
    }
}
