//! The rules for directories in the configuration file: `[directory."/path"]`.

use pdtp::server::{Directories, DirectoryRules, SendPolicy};
use pdtp::wire::UrlPath;
use toml::{Table, Value};

use super::file::{keys, measure, text, texts, unknown_key};
use super::units;

/// What can be said of a directory.
pub(crate) const KEYS: [&str; 6] =
    ["priority", "max-origin-rate", "max-peers", "networks", "peers", "policy"];

/// `fast` or `frugal`.
pub(crate) fn policy(text: &str) -> Result<SendPolicy, String> {
    match text {
        "fast" => Ok(SendPolicy::Fast),
        "frugal" => Ok(SendPolicy::Frugal),
        _ => Err(format!("fast or frugal is expected, not {text:?}")),
    }
}

/// All of `[directory]`.
pub(crate) fn directories(value: Value) -> Result<Directories, String> {
    let Value::Table(table) = value else {
        return Err(format!(
            "directory: tables are expected, such as [directory.\"/iso\"], not {}",
            value.type_str()
        ));
    };
    let mut all = Directories::new();
    for (name, rules) in table {
        let place = format!("directory {name:?}");
        let path = path(&name).map_err(|why| format!("{place}: {why}"))?;
        if all.iter().any(|(other, _)| *other == path) {
            return Err(format!("{place}: there twice"));
        }
        let Value::Table(rules) = rules else {
            return Err(format!("{place}: a table is expected, such as [directory.\"/iso\"]"));
        };
        all.push((path, directory(rules).map_err(|why| format!("{place}: {why}"))?));
    }
    Ok(all)
}

/// A directory as seen by clients: with a slash in front, names as they are on the disk.
fn path(name: &str) -> Result<UrlPath, String> {
    let Some(below) = name.strip_prefix('/') else {
        return Err(
            "the path of a directory begins with / (which is the directory that is served)".to_owned()
        );
    };
    let names = below.split('/').filter(|name| !name.is_empty()).map(str::as_bytes);
    UrlPath::from_components(names).map_err(|error| error.to_string())
}

fn directory(table: Table) -> Result<DirectoryRules, String> {
    let mut rules = DirectoryRules::default();
    for (key, value) in keys(table)? {
        let wrong = |why: String| format!("{key}: {why}");
        match key.as_str() {
            "priority" => rules.priority = Some(whole(&value).map_err(wrong)?),
            "max-origin-rate" => {
                rules.max_origin_rate = Some(measure(value, units::parse_bytes).map_err(wrong)?);
            }
            "max-peers" => rules.max_peers = Some(whole(&value).map_err(wrong)?),
            "networks" => {
                let all = texts(value).and_then(|all| all.iter().map(|text| network(text)).collect());
                rules.networks = Some(all.map_err(wrong)?);
            }
            "peers" => rules.peers = Some(on_or_off(&value).map_err(wrong)?),
            "policy" => rules.policy = Some(text(value).and_then(|text| policy(&text)).map_err(wrong)?),
            unknown => return Err(unknown_key(unknown, &KEYS)),
        }
    }
    Ok(rules)
}

fn whole<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    let number =
        value.as_integer().ok_or_else(|| format!("a number is expected, not {}", value.type_str()))?;
    T::try_from(number).map_err(|_| format!("{number} is too large or too small"))
}

fn on_or_off(value: &Value) -> Result<bool, String> {
    match value {
        Value::Boolean(on) => Ok(*on),
        Value::String(text) if text == "on" => Ok(true),
        Value::String(text) if text == "off" => Ok(false),
        other => Err(format!("\"on\" or \"off\" is expected, not {other}")),
    }
}

/// A network, or a single address.
fn network(text: &str) -> Result<ipnet::IpNet, String> {
    let host = || text.parse().ok().map(<ipnet::IpNet as From<std::net::IpAddr>>::from);
    text.parse().ok().or_else(host).ok_or_else(|| {
        format!("{text:?} is not a network, such as 192.0.2.0/24 or 2001:db8::/32, nor an address")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Directories, String> {
        let mut table: Table = text.parse().unwrap();
        directories(table.remove("directory").unwrap())
    }

    #[test]
    fn all_rules() {
        let all = parse(
            r#"
            [directory."/a/b c"]
            priority = -3
            max_origin_rate = "2M"
            max-peers = 7
            networks = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.9"]
            peers = "off"
            policy = "frugal"
            [directory."/"]
            peers = true
            "#,
        )
        .unwrap();
        let (path, rules) = all.iter().find(|(path, _)| !path.is_root()).unwrap();
        assert_eq!(path.as_str(), "/a/b%20c");
        assert_eq!((rules.priority, rules.max_peers, rules.peers), (Some(-3), Some(7), Some(false)));
        assert_eq!((rules.max_origin_rate, rules.policy), (Some(2 << 20), Some(SendPolicy::Frugal)));
        assert_eq!(rules.networks.as_ref().unwrap()[2].to_string(), "192.0.2.9/32");
        assert_eq!(all.iter().find(|(path, _)| path.is_root()).unwrap().1.peers, Some(true));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("directory = 1", "tables are expected"),
            ("[directory.iso]\npeers = true", "directory \"iso\": the path of a directory begins with /"),
            (
                "[directory.\"/a\"]\npers = true",
                "directory \"/a\": unknown key \"pers\"; did you mean \"peers\"?",
            ),
            ("[directory.\"/a\"]\npeers = \"maybe\"", "peers: \"on\" or \"off\" is expected, not \"maybe\""),
            ("[directory.\"/a\"]\npriority = \"high\"", "priority: a number is expected, not string"),
            ("[directory.\"/a\"]\nmax-peers = -1", "max-peers: -1 is too large or too small"),
            (
                "[directory.\"/a\"]\nnetworks = [\"10.0.0.0/33\"]",
                "networks: \"10.0.0.0/33\" is not a network",
            ),
            ("[directory.\"/a\"]\nnetworks = 5", "networks: a text in quotes is expected"),
            (
                "[directory.\"/a\"]\nmax-origin-rate = \"fast\"",
                "max-origin-rate: a number of bytes, such as 65536, 512K, 10M or 2G, is expected, not \"fast\"",
            ),
            ("[directory.\"/a\"]\nmax-origin-rate = \"1.5M\"", "is expected, not \"1.5M\""),
            ("[directory.\"/a\"]\nmax-origin-rate = \"5 MB/s\"", "is expected, not \"5 MB/s\""),
            ("[directory.\"/a\"]\nmax-origin-rate = -5", "is expected, not -5"),
            ("[directory.\"/a\"]\nmax-origin-rate = 1.5", "is expected, not 1.5"),
            ("[directory.\"/a\"]\nmax-origin-rate = true", "is expected, not true"),
            (
                "[directory.\"/a\"]\nmax_peers = 4\nmax-peers = 5",
                "directory \"/a\": max-peers is there twice, as \"max-peers\" and \"max_peers\"",
            ),
            (
                "[directory.\"/a\"]\nmax-rate = 1",
                "unknown key \"max-rate\"; did you mean \"max-origin-rate\"?",
            ),
            ("[directory.\"/a\"]\nallowed_networks = 1", "did you mean \"networks\"?"),
            ("[directory.\"/a\"]\nallowed = 1", "there are: priority, max-origin-rate"),
            ("[directory.\"/a\"]\npolicy = \"cheap\"", "policy: fast or frugal is expected, not \"cheap\""),
            ("[directory.\"/a/../b\"]\npeers = true", "directory \"/a/../b\": "),
            ("[directory.\"/a\"]\n[directory.\"/a/\"]", "directory \"/a/\": there twice"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
