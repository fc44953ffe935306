//! `pdtp verify`: files on this machine.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use pdtp::client::{Error, ErrorKind};
use pdtp::content::Date;
use pdtp::content::trust::{Judge, Place, Policy, Question, Seen, Status, Trust, TrustEntry, Verdict};
use pdtp::publisher::{self, Found};
use pdtp::wire::UrlPath;
use serde_json::json;

use crate::args::Verify;
use crate::exit::Failure;
use crate::keys::{self, failure, failure_of, print_line, shown};
use crate::sign::{in_parallel, now};
use crate::term;

/// Largest trust file that is read.
const MAX_TRUST: usize = 16 * 1024 * 1024;

pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    let (trust, now) = (trust(args)?, now()?);
    if args.recursive {
        return tree(&args.file, &trust, now);
    }
    if args.file.is_dir() {
        return Err(failure_of(&args.file, &"is a directory; add -r to verify all that is below it"));
    }
    let beside = args.signature.clone().unwrap_or_else(|| publisher::sidecar_of(&args.file));
    let verdict = judge(&args.file, &beside, args.path.as_ref(), &mut Judge::default(), &trust, now)?;
    if args.json {
        print_line(&json_of(&verdict).to_string())?;
    }
    let line = outcome(&args.file, &verdict)?;
    if args.json { Ok(()) } else { print_line(&line) }
}

/// All files below a directory. Every one that is not good is told; the first decides the exit code.
fn tree(dir: &Path, trust: &Trust, now: Date) -> Result<(), Failure> {
    let begin = Instant::now();
    let files = publisher::walk(dir, &UrlPath::root()).map_err(failure)?;
    // Each thread takes one, so that keys are checked once and not for every file.
    let judges = Mutex::new(Vec::<Judge>::new());
    let lock = || judges.lock().unwrap_or_else(PoisonError::into_inner);
    let first = Mutex::new(None);
    let (failed, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let verify = |found: &Found| -> Result<(), Failure> {
        let mut own = lock().pop().unwrap_or_default();
        let verdict = judge(&found.file, &publisher::sidecar_of(&found.file), None, &mut own, trust, now);
        lock().push(own);
        bytes.fetch_add(found.file.metadata().map_or(0, |meta| meta.len()), Ordering::Relaxed);
        if let Err(Failure::Error(error)) = verdict.and_then(|verdict| outcome(&found.file, &verdict)) {
            failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("pdtp: {}", error.message);
            first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.kind);
        }
        Ok(())
    };
    in_parallel(&files, verify)?;
    let (failed, bytes) = (failed.into_inner(), bytes.into_inner());
    let all = format!("{} files, {} in {}", files.len(), term::size(bytes), term::duration(begin.elapsed()));
    match first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => print_line(&format!("{all}: all are signed with trusted keys")),
        Some(kind) => {
            Err(Error::new(kind, format!("{all}: {failed} are not signed with trusted keys; see above"))
                .into())
        }
    }
}

/// The line about a file, as a failure where the file is not good.
fn outcome(file: &Path, verdict: &Verdict) -> Result<String, Failure> {
    let line = format!("{} {}", shown(file), sentence(verdict));
    if verdict.is_fine(Policy::Require) {
        Ok(line)
    } else {
        Err(Error::new(kind_of(verdict.status), line).into())
    }
}

/// Reads a file and comes to a verdict. `path`: where it must have been signed for; `None` = anywhere.
fn judge(
    name: &Path,
    beside: &Path,
    path: Option<&UrlPath>,
    judge: &mut Judge,
    trust: &Trust,
    now: Date,
) -> Result<Verdict, Failure> {
    let Some(sidecar) = publisher::read_sidecar(beside).map_err(failure)? else {
        let text = format!("{} is not signed: there is no {}", shown(name), shown(beside));
        return Err(Error::new(ErrorKind::Unsigned, text).into());
    };
    let manifest = &sidecar.manifest;
    let io = |error: std::io::Error| Error::io(format!("cannot read {}", shown(name)), &error);
    let file = File::open(name).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let piece = manifest.layout.piece_size();
    let measure = publisher::measure_open(file, name, size, piece).map_err(failure)?;
    let question = Question {
        host: "",
        port: 0,
        path: path.unwrap_or(&manifest.path),
        layout: measure.layout,
        root: measure.root,
        signatures: &sidecar.signatures,
        pinned: &[],
        now,
    };
    let mut verdict = judge.judge(&question, trust, &Seen::default());
    if verdict.status == Status::Good && verdict.sha256 != Some(measure.sha256) {
        verdict.status = Status::Bad;
        verdict.reason = "is not what was signed".to_owned();
    }
    Ok(verdict)
}

/// What the arguments say is trusted: there is no server here, so wherever it is.
fn trust(args: &Verify) -> Result<Trust, Failure> {
    let mut trust = Trust::default();
    for file in &args.key {
        keys::trust(&mut trust, file)?;
    }
    let named = args.trust.trust.is_some();
    if args.key.is_empty() || named {
        let Some(path) = args.trust.path() else { return Ok(trust) };
        if !named && !path.exists() {
            return Ok(trust);
        }
        let text = publisher::read_text(&path, MAX_TRUST).map_err(failure)?;
        let file = Trust::parse(&text).map_err(|error| failure_of(&path, &error))?;
        for entry in file.entries() {
            trust.add(match entry.clone() {
                TrustEntry::Key { kind, fingerprint, since, comment, .. } => {
                    TrustEntry::Key { place: Place::Everywhere, kind, fingerprint, since, comment }
                }
                TrustEntry::Authority { anchor, comment, .. } => {
                    TrustEntry::Authority { place: Place::Everywhere, anchor, comment }
                }
                revoked @ TrustEntry::Revoked { .. } => revoked,
            });
        }
    }
    Ok(trust)
}

/// One line: who signed, which key, since when it is known.
pub(crate) fn sentence(verdict: &Verdict) -> String {
    let mut text = term::safe(verdict.reason.as_bytes());
    if let Some(key) = &verdict.key {
        let algorithm = verdict.algorithm.map(|algorithm| algorithm.name()).unwrap_or_default();
        text.push_str(&format!(": {algorithm} {key}"));
        let signer = verdict.signer.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = signer {
            let name = term::safe(name.as_bytes());
            // A stranger calls himself what he likes.
            let says = if verdict.status == Status::Good { "" } else { "calls himself " };
            text.push_str(&format!(" ({says}{name})"));
        }
        if let Some(since) = verdict.since {
            text.push_str(&format!(", known since {since}"));
        }
        if let Some(date) = verdict.date {
            text.push_str(&format!(", signed {date}"));
        }
    }
    text
}

/// The kind of failure that a verdict is, where it is one.
pub(crate) fn kind_of(status: Status) -> ErrorKind {
    match status {
        Status::Unsigned => ErrorKind::Unsigned,
        Status::UnknownKey => ErrorKind::UnknownKey,
        Status::KeyChanged => ErrorKind::KeyChanged,
        _ => ErrorKind::Signature,
    }
}

pub(crate) fn json_of(verdict: &Verdict) -> serde_json::Value {
    json!({
        "status": verdict.status.word(),
        "path": verdict.path.as_str(),
        "key": verdict.key.map(|key| key.to_string()),
        "algorithm": verdict.algorithm.map(|algorithm| algorithm.name()),
        "signer": verdict.signer,
        "since": verdict.since.map(|date| date.to_string()),
        "date": verdict.date.map(|date| date.to_string()),
        "reason": verdict.reason,
    })
}
