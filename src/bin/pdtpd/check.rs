//! Rules that are hardly meant so, for what is not there among them: said at the start, since they would do little or nothing
//! without a word.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pdtp::content::PieceSize;
use pdtp::hub::{Hub, HubError};
use pdtp::server::{Directories, DirectoryRules};
use pdtp::wire::{EntryKind, UrlPath};

use super::failure::Failure;
use super::rules::KEYS;

/// A rate at which a piece takes longer is hardly meant, seconds.
const LONG: u64 = 10;
/// The smallest piece where none is fixed, bytes.
const USUAL_PIECE: u64 = 64 * 1024;

/// What is wrong with the rules for one path.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// It is not there, but this is, and was probably meant.
    Misspelt { meant: UrlPath },
    /// It is not there, nor anything like it. If it is a path on the disk, this is what it is called here.
    Missing { perhaps: Option<UrlPath> },
    /// It is there, and left out.
    NotServed,
    /// It is a file.
    File,
}

/// Logs rates so low that a piece hardly comes.
pub(crate) fn check_rates(directories: &Directories, piece_size: Option<PieceSize>) {
    let piece = piece_size.map_or(USUAL_PIECE, |size| size.bytes().into());
    for (path, rules) in directories {
        let Some(rate) = rules.max_origin_rate.filter(|rate| *rate > 0) else { continue };
        let time = piece.div_ceil(rate);
        if time > LONG {
            let place = named(path);
            tracing::warn!(
                "{place}: max-origin-rate is {rate} bytes a second: a piece of {piece} bytes takes {time} s"
            );
        }
    }
}

/// Looks whether the rules are about something. What is not there may come later, so that is logged and no more; but what
/// was to be closed and stays open because it was written otherwise is a mistake.
pub(crate) fn check_paths(dir: &Path, hub: &Hub, directories: &Directories) -> Result<(), Failure> {
    for (path, rules) in directories {
        let Some(finding) = look(dir, hub, path) else { continue };
        let (place, said) = (named(path), keys_of(rules));
        let what = match &finding {
            Finding::Misspelt { meant } => {
                format!("no such directory in {}; write {}", dir.display(), named(meant))
            }
            Finding::Missing { perhaps: Some(path) } => format!(
                "no such directory in {}; paths are as clients see them, so perhaps {}",
                dir.display(),
                named(path)
            ),
            Finding::Missing { perhaps: None } => format!("no such directory in {}", dir.display()),
            Finding::NotServed => {
                "it is there, but not served (see --hidden, --include, --exclude, --follow-symlinks)"
                    .to_owned()
            }
            Finding::File => "it is a file: this holds for it alone".to_owned(),
        };
        match finding {
            Finding::Misspelt { .. } if rules.networks.is_some() => {
                return Err(Failure::usage(format!(
                    "{place}: networks would protect nothing, and everybody be served: {what}"
                )));
            }
            Finding::Missing { .. } if rules.networks.is_some() => {
                tracing::error!(
                    "{place}: {what}. networks protects nothing until there is; without effect: {said}"
                );
            }
            Finding::Misspelt { .. } | Finding::Missing { .. } => {
                tracing::warn!("{place}: {what}; without effect: {said}");
            }
            Finding::NotServed | Finding::File => tracing::warn!("{place}: {what}: {said}"),
        }
    }
    Ok(())
}

fn look(dir: &Path, hub: &Hub, path: &UrlPath) -> Option<Finding> {
    match hub.stat(path) {
        Ok(found) if found.kind == EntryKind::Dir => return None,
        Ok(_) => return Some(Finding::File),
        Err(HubError::NotFound | HubError::Denied | HubError::NotDirectory) => {}
        // The disk has the word, later on.
        Err(_) => return None,
    }
    if std::fs::symlink_metadata(on_disk(dir, path)).is_ok() {
        return Some(Finding::NotServed);
    }
    let below = below(dir, path);
    // As it would stand in a URI.
    let decoded = UrlPath::parse(&written(path)).ok();
    let candidates = [Some(path), below.as_ref(), decoded.as_ref()].into_iter().flatten();
    let meant = candidates.into_iter().find_map(|path| twin(dir, hub, path));
    Some(match meant {
        Some(meant) => Finding::Misspelt { meant },
        None => Finding::Missing { perhaps: below },
    })
}

/// What is served under the same names but for capital letters.
fn twin(dir: &Path, hub: &Hub, path: &UrlPath) -> Option<UrlPath> {
    let names: Vec<String> =
        path.components().map(|name| String::from_utf8_lossy(&name).to_lowercase()).collect();
    let mut found = vec![UrlPath::root()];
    for name in names {
        // Of a tree that has more such twins, the first few are enough.
        found = found.iter().flat_map(|above| children(dir, above, &name)).take(16).collect();
    }
    found.into_iter().find(|path| hub.stat(path).is_ok())
}

fn children(dir: &Path, above: &UrlPath, lower: &str) -> Vec<UrlPath> {
    let entries = std::fs::read_dir(on_disk(dir, above)).into_iter().flatten().flatten();
    let alike = entries.filter(|entry| entry.file_name().to_string_lossy().to_lowercase() == lower);
    alike.filter_map(|entry| above.join(entry.file_name().as_encoded_bytes()).ok()).collect()
}

/// A path on the disk in or below the served directory, as clients see it.
fn below(dir: &Path, path: &UrlPath) -> Option<UrlPath> {
    let written = on_disk(Path::new("/"), path);
    let real = std::fs::canonicalize(dir).ok();
    let rest =
        [Some(dir), real.as_deref()].into_iter().flatten().find_map(|dir| written.strip_prefix(dir).ok())?;
    UrlPath::from_components(rest.components().map(|name| name.as_os_str().as_encoded_bytes())).ok()
}

fn on_disk(dir: &Path, path: &UrlPath) -> PathBuf {
    let mut place = dir.to_owned();
    path.components().for_each(|name| place.push(os_name(name)));
    place
}

#[cfg(unix)]
fn os_name(name: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(name)
}

#[cfg(not(unix))]
fn os_name(name: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&name).into_owned().into()
}

/// A path as it is written in the configuration file.
fn written(path: &UrlPath) -> String {
    let names: Vec<_> = path.components().map(|name| String::from_utf8_lossy(&name).into_owned()).collect();
    format!("/{}", names.join("/"))
}

fn named(path: &UrlPath) -> String {
    format!("[directory.{:?}]", written(path))
}

/// The rules that are there.
fn keys_of(rules: &DirectoryRules) -> String {
    let DirectoryRules { priority, max_origin_rate, max_peers, networks, peers, policy } = rules;
    let there = [
        priority.is_some(),
        max_origin_rate.is_some(),
        max_peers.is_some(),
        networks.is_some(),
        peers.is_some(),
        policy.is_some(),
    ];
    let keys: Vec<_> = KEYS.into_iter().zip(there).filter(|(_, there)| *there).map(|(key, _)| key).collect();
    keys.join(", ")
}

#[cfg(test)]
mod tests {
    use pdtp::hub::HubConfig;

    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let served = tempfile::tempdir().unwrap();
        let dir = served.path();
        for path in ["internal/Deep", "a b", "both", "Both", ".dot", "Größe"] {
            std::fs::create_dir_all(dir.join(path)).unwrap();
        }
        std::fs::write(dir.join("file"), "x").unwrap();
        let hub = Hub::open(dir, HubConfig::default()).unwrap();
        let path = |names: &str| UrlPath::from_components(names.split('/').map(str::as_bytes)).unwrap();
        let meant = |names: &str| Some(Finding::Misspelt { meant: path(names) });
        let missing = |perhaps| Some(Finding::Missing { perhaps });
        let disk = |names: &str| format!("{}/{names}", dir.to_str().unwrap().trim_start_matches('/'));
        for (names, finding) in [
            ("internal", None),
            ("both", None),
            ("Both", None),
            ("file", Some(Finding::File)),
            (".dot", Some(Finding::NotServed)),
            ("INTERNAL/deep", meant("internal/Deep")),
            ("GRÖSSE", missing(None)),
            ("GRÖßE", meant("Größe")),
            ("a%20b", meant("a b")),
            ("file/below", missing(None)),
            ("none", missing(None)),
            (disk("internal/Deep").as_str(), meant("internal/Deep")),
            (disk("later").as_str(), missing(Some(path("later")))),
        ] {
            assert_eq!(look(dir, &hub, &path(names)), finding, "{names}");
        }
        hub.close();
    }
}
