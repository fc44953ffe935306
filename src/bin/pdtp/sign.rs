//! `pdtp sign`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use pdtp::client::{Error, ErrorKind};
use pdtp::content::Date;
use pdtp::publisher::{self, Found, Measure, Signed, Signer};

use crate::args::Sign;
use crate::exit::Failure;
use crate::keys::{self, failure, failure_of, shown};
use crate::term;

pub(crate) fn run(args: &Sign) -> Result<(), Failure> {
    let begin = Instant::now();
    let key = keys::read_secret(&args.key, &args.passphrase)?;
    let signer = match &args.cert {
        None => Signer::new(key),
        Some(file) => {
            let pem = publisher::read_text(file, pdtp::wire::limits::MAX_KEY_TEXT).map_err(failure)?;
            Signer::with_chain(key, &pem).map_err(|error| failure_of(file, &error))?
        }
    };
    let files = find(args)?;
    let date = now()?;
    let counts = Mutex::new(Counts::default());
    let sign = |found: &Found| {
        let (result, measure) = publisher::sign_file(&found.file, &found.path, &signer, date, args.force)?;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.add(&result, &measure);
        // Of a tree only the end is of interest.
        if !args.quiet && !args.recursive {
            let what = match result {
                Signed::New => "signed",
                Signed::Added => "signature added",
                Signed::Already => "already signed",
            };
            let key = signer.key().public();
            let (algorithm, fingerprint) = (key.algorithm(), key.fingerprint().short());
            println!("{}: {what} as {} with {algorithm} {fingerprint}", shown(&found.file), found.path);
        }
        Ok(())
    };
    in_parallel(&files, sign).map_err(failure)?;
    if args.recursive && !args.quiet {
        println!("{}", counts.lock().unwrap_or_else(PoisonError::into_inner).summary(begin.elapsed()));
    }
    Ok(())
}

fn find(args: &Sign) -> Result<Vec<Found>, Failure> {
    let mut all = Vec::new();
    for file in &args.files {
        match (file.is_dir(), args.recursive) {
            (true, true) => all.extend(publisher::walk(file, &args.prefix).map_err(failure)?),
            (true, false) => {
                return Err(failure_of(file, &"is a directory; add -r to sign all that is below it"));
            }
            (false, _) => all.push(Found::single(file, &args.prefix).map_err(failure)?),
        }
    }
    Ok(all)
}

/// Every file once, on all processors. The first failure ends it.
pub(crate) fn in_parallel<E: Send>(
    files: &[Found],
    work: impl Fn(&Found) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let run = || {
        while let Some(found) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(found) {
                next.store(files.len(), Ordering::Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[derive(Default)]
struct Counts {
    new: u64,
    already: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, result: &Signed, measure: &Measure) {
        match result {
            Signed::Already => self.already += 1,
            Signed::New | Signed::Added => self.new += 1,
        }
        self.bytes += measure.layout.size();
    }

    fn summary(&self, time: Duration) -> String {
        let Self { new, already, bytes } = self;
        let before = if *already > 0 { format!(", {already} were signed before") } else { String::new() };
        let rate = term::rate(term::rate_over(*bytes, time));
        format!("{new} files signed{before}; {} in {} ({rate})", term::size(*bytes), term::duration(time))
    }
}

/// The time by this machine's clock.
pub(crate) fn now() -> Result<Date, Failure> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
    let now = since.and_then(|since| Date::from_unix(since.as_secs()));
    now.ok_or_else(|| Error::new(ErrorKind::Internal, "the clock of this machine makes no sense").into())
}
