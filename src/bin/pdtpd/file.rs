//! The configuration file: TOML with the options of the command line as keys.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum as _;
use pdtp::content::PieceSize;
use pdtp::server::{Directories, SendPolicy};
use toml::{Table, Value};

use super::args::{MetadataSources, parse_listen, parse_name, parse_piece_size};
use super::failure::Failure;
use super::{rules, units};

/// The keys there are, as they are written.
pub(crate) const KEYS: [&str; 22] = [
    "dir",
    "listen",
    "name",
    "state",
    "piece-size",
    "limit-up",
    "policy",
    "directory",
    "hidden",
    "include",
    "exclude",
    "follow-symlinks",
    "hash-rate",
    "hash-threads",
    "settle",
    "old-version-grace",
    "sign-key",
    "sign-passphrase-file",
    "metadata",
    "notice",
    "grace",
    "json",
];

/// How alike a word must be to a key to be worth suggesting, 0 to 1.
const ALIKE: f64 = 0.7;

/// What a configuration file says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct File {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) listen: Option<Vec<SocketAddr>>,
    pub(crate) name: Option<String>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) piece_size: Option<PieceSize>,
    pub(crate) limit_up: Option<u64>,
    pub(crate) policy: Option<SendPolicy>,
    pub(crate) directories: Option<Directories>,
    pub(crate) hidden: Option<bool>,
    pub(crate) include: Option<Vec<String>>,
    pub(crate) exclude: Option<Vec<String>>,
    pub(crate) follow_symlinks: Option<bool>,
    pub(crate) hash_rate: Option<u64>,
    pub(crate) hash_threads: Option<usize>,
    pub(crate) settle: Option<Duration>,
    pub(crate) old_version_grace: Option<Duration>,
    pub(crate) sign_key: Option<PathBuf>,
    pub(crate) sign_passphrase_file: Option<PathBuf>,
    pub(crate) metadata: Option<MetadataSources>,
    pub(crate) notice: Option<String>,
    pub(crate) grace: Option<Duration>,
    pub(crate) json: Option<bool>,
}

impl File {
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let fail = |what: String| Failure::usage(format!("configuration file {}: {what}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text).map_err(fail)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let table: Table =
            text.parse().map_err(|error: toml::de::Error| error.to_string().trim_end().to_owned())?;
        let mut file = Self::default();
        for (key, value) in keys(table)? {
            file.set(&key, value)?;
        }
        Ok(file)
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        let wrong = |why: String| format!("{key}: {why}");
        match key {
            "dir" => self.dir = Some(text(value).map_err(wrong)?.into()),
            "listen" => {
                let all = match value {
                    Value::Array(all) => all,
                    one => vec![one],
                };
                let parse = |value| text_or_number(value).and_then(|text| parse_listen(&text));
                self.listen = Some(all.into_iter().map(parse).collect::<Result<_, _>>().map_err(wrong)?);
            }
            "name" => self.name = Some(text(value).and_then(|text| parse_name(&text)).map_err(wrong)?),
            "state" => self.state = Some(text(value).map_err(wrong)?.into()),
            "piece-size" => {
                let size = text_or_number(value).and_then(|text| parse_piece_size(&text));
                self.piece_size = Some(size.map_err(wrong)?);
            }
            "limit-up" => {
                self.limit_up = Some(measure(value, units::parse_bytes).map_err(wrong)?);
            }
            "policy" => self.policy = Some(text(value).and_then(|text| rules::policy(&text)).map_err(wrong)?),
            "directory" => self.directories = Some(rules::directories(value)?),
            "hidden" => self.hidden = Some(boolean(value).map_err(wrong)?),
            "sign-key" => self.sign_key = Some(text(value).map_err(wrong)?.into()),
            "sign-passphrase-file" => {
                self.sign_passphrase_file = Some(text(value).map_err(wrong)?.into());
            }
            "metadata" => {
                let sources = text(value).and_then(|text| MetadataSources::from_str(&text, false));
                self.metadata =
                    Some(sources.map_err(|_| wrong("off, sidecar or full is expected".to_owned()))?);
            }
            "notice" => self.notice = Some(text(value).map_err(wrong)?),
            "include" => self.include = Some(texts(value).map_err(wrong)?),
            "exclude" => self.exclude = Some(texts(value).map_err(wrong)?),
            "follow-symlinks" => self.follow_symlinks = Some(boolean(value).map_err(wrong)?),
            "hash-rate" => {
                self.hash_rate = Some(measure(value, units::parse_bytes).map_err(wrong)?);
            }
            "hash-threads" => {
                self.hash_threads = Some(measure(value, units::parse_count).map_err(wrong)?);
            }
            "settle" => self.settle = Some(duration(value).map_err(wrong)?),
            "old-version-grace" => self.old_version_grace = Some(duration(value).map_err(wrong)?),
            "grace" => self.grace = Some(duration(value).map_err(wrong)?),
            "json" => self.json = Some(boolean(value).map_err(wrong)?),
            unknown => return Err(unknown_key(unknown, &KEYS)),
        }
        Ok(())
    }
}

/// What a table says, by key. Both ways of writing a key are common, but not both at once.
pub(super) fn keys(table: Table) -> Result<BTreeMap<String, Value>, String> {
    let mut all = BTreeMap::new();
    let mut as_written: BTreeMap<String, String> = BTreeMap::new();
    for (written, value) in table {
        let key = written.replace('_', "-");
        if let Some(other) = as_written.insert(key.clone(), written.clone()) {
            return Err(format!("{key} is there twice, as {other:?} and {written:?}"));
        }
        all.insert(key, value);
    }
    Ok(all)
}

pub(super) fn unknown_key(key: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (alike(key, known), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("unknown key {key:?}; did you mean {known:?}?"),
        None => format!("unknown key {key:?}; there are: {}", known.join(", ")),
    }
}

/// How alike two keys are, 0 to 1. One whose words are all in the other is more so than what letters tell.
fn alike(one: &str, other: &str) -> f64 {
    let words = |key: &str| key.split('-').map(str::to_owned).collect::<BTreeSet<_>>();
    let (mine, theirs) = (words(one), words(other));
    if mine.is_subset(&theirs) || theirs.is_subset(&mine) { 1.0 } else { strsim::jaro_winkler(one, other) }
}

pub(super) fn text(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("a text in quotes is expected, not {}", other.type_str())),
    }
}

/// One text, or several.
pub(super) fn texts(value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(all) => all.into_iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

pub(super) fn text_or_number(value: Value) -> Result<String, String> {
    match value {
        Value::Integer(number) => Ok(number.to_string()),
        other => text(other),
    }
}

/// Something with a number in it. `parse` says what is expected.
pub(super) fn measure<T>(value: Value, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    let given = value.to_string();
    // What is neither a text nor a whole number is none, however it is written.
    let text = text_or_number(value).unwrap_or_default();
    parse(&text).map_err(|expected| format!("{expected}, is expected, not {given}"))
}

fn duration(value: Value) -> Result<Duration, String> {
    measure(value, units::parse_duration)
}

fn boolean(value: Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("true or false is expected, not {}", value.type_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys() {
        let text = r#"
            dir = "/srv"
            listen = ["[::]:1", "127.0.0.1:2"]
            name = "h.example"
            state = "/var"
            piece-size = "64K"
            limit_up = 1000
            hidden = true
            notice = "hello"
            exclude = ["*.tmp", "cache/"]
            include = "*.iso"
            follow-symlinks = false
            hash-rate = "10M"
            hash-threads = 3
            settle = 3
            grace = "5s"
            metadata = "sidecar"
            json = false
        "#;
        let file = File::parse(text).unwrap();
        assert_eq!(file.listen.unwrap().len(), 2);
        assert_eq!(file.piece_size.unwrap().bytes(), 65536);
        assert_eq!(file.limit_up, Some(1000));
        assert_eq!(file.grace, Some(Duration::from_secs(5)));
        assert_eq!(file.metadata, Some(MetadataSources::Sidecar));
        assert_eq!(file.hidden, Some(true));
        assert_eq!(file.exclude.unwrap(), ["*.tmp", "cache/"]);
        assert_eq!((file.include.unwrap().len(), file.follow_symlinks), (1, Some(false)));
        assert_eq!((file.hash_rate, file.settle), (Some(10 << 20), Some(Duration::from_secs(3))));
        assert_eq!(file.hash_threads, Some(3));
        assert_eq!(File::parse("listen = 7000").unwrap().listen.unwrap()[0].port(), 7000);
        assert_eq!(File::parse("").unwrap(), File::default());
    }

    #[test]
    fn mistakes_are_named() {
        for (text, says) in [
            ("lisen = \"[::]:1\"", "did you mean \"listen\"?"),
            ("peice-size = 1", "did you mean \"piece-size\"?"),
            ("zzz = 1", "there are: dir, listen"),
            ("hidden = 1", "hidden: true or false"),
            ("metadata = \"some\"", "metadata: off, sidecar or full"),
            ("grace = \"soon\"", "grace: a time, such as 500ms, 10s or 5m, is expected, not \"soon\""),
            ("limit-up = \"5 MB/s\"", "limit-up: a number of bytes"),
            ("hash-threads = 0", "hash-threads: a number, 1 or more, is expected, not 0"),
            ("limit-up = 1\nlimit_up = 2", "limit-up is there twice, as \"limit-up\" and \"limit_up\""),
            ("name = 5", "name: a text in quotes"),
            ("listen = [\"nowhere\"]", "listen: not an address"),
            ("piece-size = 17", "piece-size: a piece size is a power of two"),
            ("a = ", "line 1"),
        ] {
            let error = File::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
