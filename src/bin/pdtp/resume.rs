//! `pdtp resume`: goes on with what earlier downloads have left in a directory.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pdtp::client::{Error, ErrorKind, Leftover, leftover};
use serde_json::json;

use crate::args::{Get, Overwrite, Resume};
use crate::exit::Failure;
use crate::get;
use crate::term;

const SUFFIX: &str = ".part.pdtp";

/// Directories below directories that are looked into.
const MAX_DEPTH: usize = 64;

/// A download that was not finished, and the file that it becomes.
struct Found {
    target: PathBuf,
    left: Leftover,
}

pub(crate) fn run(args: &Resume) -> Result<(), Failure> {
    let here = [PathBuf::from(".")];
    let places = if args.places.is_empty() { &here[..] } else { &args.places };
    let mut found = Vec::new();
    for place in places {
        if place.is_dir() {
            look_into(place, 0, &mut found)?;
        } else {
            found.push(at(place)?);
        }
    }
    found.sort_by(|a, b| a.target.cmp(&b.target));
    if args.list {
        return found.iter().try_for_each(|one| tell(args, one));
    }
    if found.is_empty() && !args.quiet && !args.json {
        eprintln!("pdtp: nothing was left unfinished here");
    }
    let mut first_failure = None;
    for Found { target, left } in found {
        let get = Get {
            uri: left.uri,
            output: Some(target),
            recursive: false,
            seed_for: args.seed_for,
            overwrite: Overwrite::Resume,
            root: None,
            quiet: args.quiet,
            verbose: args.verbose,
            json: args.json,
            signatures: args.signatures.clone(),
            share: args.share.clone(),
            network: args.network.clone(),
        };
        match get::run(&get) {
            Ok(()) => {}
            Err(Failure::Error(error)) => {
                // The others may be of other servers.
                if first_failure.is_some() {
                    eprintln!("pdtp: {}", term::safe(error.message.as_bytes()));
                }
                first_failure.get_or_insert(error);
            }
            Err(failure) => return Err(failure),
        }
    }
    first_failure.map_or(Ok(()), |error| Err(error.into()))
}

/// What is left of a download, by any of its names: NAME, NAME.part, NAME.part.pdtp.
fn at(place: &Path) -> Result<Found, Error> {
    let name = place.as_os_str().to_string_lossy();
    let target = [SUFFIX, ".part"].iter().find_map(|suffix| strip(place.as_os_str(), suffix));
    let target = target.unwrap_or_else(|| place.to_owned());
    leftover(&target).map(|left| Found { target, left }).ok_or_else(|| {
        let text = format!("{}: no unfinished download is there", term::safe(name.as_bytes()));
        Error::new(ErrorKind::NotFound, text)
    })
}

fn look_into(dir: &Path, depth: usize, found: &mut Vec<Found>) -> Result<(), Error> {
    let entries = std::fs::read_dir(dir)
        .map_err(|error| Error::io(format!("cannot look into {}", dir.display()), &error))?;
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        let path = if dir == Path::new(".") { entry.file_name().into() } else { entry.path() };
        if kind.is_dir() && depth < MAX_DEPTH {
            // What cannot be looked into below is none of ours.
            let _ = look_into(&path, depth + 1, found);
        } else if kind.is_file()
            && let Some(target) = strip(path.as_os_str(), SUFFIX)
            && let Some(left) = leftover(&target)
        {
            found.push(Found { target, left });
        }
    }
    Ok(())
}

#[cfg(unix)]
fn strip(name: &OsStr, suffix: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;
    name.as_bytes().strip_suffix(suffix.as_bytes()).map(|name| OsStr::from_bytes(name).into())
}

#[cfg(not(unix))]
fn strip(name: &OsStr, suffix: &str) -> Option<PathBuf> {
    name.to_str()?.strip_suffix(suffix).map(PathBuf::from)
}

fn tell(args: &Resume, Found { target, left }: &Found) -> Result<(), Failure> {
    let Leftover { uri, done, total } = left;
    let line = if args.json {
        json!({"local": target, "uri": uri.to_string(), "done": done, "total": total}).to_string()
    } else {
        let name = term::safe(target.as_os_str().as_encoded_bytes());
        let uri = term::safe(uri.to_string().as_bytes());
        format!("{:>3}% of {:>9}  {name}  {uri}", term::percent(*done, *total), term::size(*total))
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::stdout)
}
