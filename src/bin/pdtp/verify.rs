//! `pdtp verify`: a file on this machine.

use std::fs::File;

use pdtp::client::{Error, ErrorKind};
use pdtp::content::trust::{Judge, Place, Policy, Question, Seen, Status, Trust, TrustEntry, Verdict};
use pdtp::publisher;
use serde_json::json;

use crate::args::Verify;
use crate::exit::Failure;
use crate::keys::{self, failure, failure_of, print_line, shown};
use crate::sign::now;
use crate::term;

/// Largest trust file that is read.
const MAX_TRUST: usize = 16 * 1024 * 1024;

pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    let trust = trust(args)?;
    let beside = args.signature.clone().unwrap_or_else(|| publisher::sidecar_of(&args.file));
    let Some(sidecar) = publisher::read_sidecar(&beside).map_err(failure)? else {
        let text = format!("{} is not signed: there is no {}", shown(&args.file), shown(&beside));
        return Err(Error::new(ErrorKind::Unsigned, text).into());
    };
    let manifest = &sidecar.manifest;
    let io = |error: std::io::Error| Error::io(format!("cannot read {}", shown(&args.file)), &error);
    let file = File::open(&args.file).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let piece = manifest.layout.piece_size();
    let measure = publisher::measure_open(file, &args.file, size, piece).map_err(failure)?;
    let question = Question {
        host: "",
        port: 0,
        path: args.path.as_ref().unwrap_or(&manifest.path),
        layout: measure.layout,
        root: measure.root,
        signatures: &sidecar.signatures,
        pinned: &[],
        now: now()?,
    };
    let mut verdict = Judge::default().judge(&question, &trust, &Seen::default());
    if verdict.status == Status::Good && verdict.sha256 != Some(measure.sha256) {
        verdict.status = Status::Bad;
        verdict.reason = "is not what was signed".to_owned();
    }
    if args.json {
        print_line(&json_of(&verdict).to_string())?;
    }
    let line = format!("{} {}", shown(&args.file), sentence(&verdict));
    if verdict.is_fine(Policy::Require) {
        return if args.json { Ok(()) } else { print_line(&line) };
    }
    Err(Error::new(kind_of(verdict.status), line).into())
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
