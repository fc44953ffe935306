//! `pdtp cat`: files to standard output while they arrive.

use std::io::{ErrorKind as Io, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pdtp::client::{Error, ErrorKind, Event, EventBody, Flow, Overwrite, Request, Seeding, Target, Tuning};
use pdtp::content::keys::Fingerprint;
use pdtp::wire::PdtpUri;

use crate::args::{self, Cat};
use crate::ask;
use crate::exit::Failure;
use crate::link::{self, App};
use crate::term;

/// How long to go on while nothing comes, unless `--timeout` says otherwise.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn run(args: &Cat) -> Result<(), Failure> {
    for uri in &args.uri {
        if uri.is_dir || uri.path.is_root() {
            return Err(is_directory(uri).into());
        }
    }
    let mut config = args::config(&args.network, Some(&args.share), Seeding::Downloading)?;
    args.signatures.apply(&mut config, ask::can_ask())?;
    let app = App::start(config)?;
    let tuning = Tuning { range: args.range, ..Tuning::default() };
    args.uri.iter().try_for_each(|uri| cat(&app, uri, &tuning, args.network.patience(PATIENCE)))
}

fn cat(app: &App, uri: &PdtpUri, tuning: &Tuning, patience: Option<Duration>) -> Result<(), Failure> {
    // Why standard output takes no more. Written by the library's thread, read when the transfer has ended.
    let failed: Arc<Mutex<Option<std::io::Error>>> = Arc::default();
    let write = {
        let failed = Arc::clone(&failed);
        move |_offset: u64, bytes: &[u8]| {
            let mut out = std::io::stdout().lock();
            match out.write_all(bytes).and_then(|()| out.flush()) {
                Ok(()) => Flow::Continue,
                Err(error) => {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Flow::Abort
                }
            }
        }
    };
    let mut link = app.link(uri, patience)?;
    let request = Request {
        path: uri.path.clone(),
        target: Target::Stream(Box::new(write)),
        overwrite: Overwrite::default(),
        recursive: false,
        expect_root: uri.root,
        verify: None,
        keys: uri.keys.iter().copied().map(Fingerprint).collect(),
        tuning: tuning.clone(),
    };
    let transfer = link.session.start(request, 0)?;
    let result = loop {
        let event = match link.next() {
            Ok(Some(Event { body, .. })) => body,
            Ok(None) => continue,
            Err(failure) => {
                transfer.cancel(false);
                return Err(failure);
            }
        };
        if let EventBody::Decision { id, verdict, .. } = &event {
            ask::decide(&app.client, *id, verdict);
            link.moved();
        }
        if let EventBody::Done { transfer: of, result, .. } = event
            && of == transfer.id()
        {
            break result;
        }
    };
    let failed = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failed {
        Some(error) if error.kind() == Io::BrokenPipe => Err(Failure::BrokenPipe),
        Some(error) => Err(Failure::stdout(error)),
        None => link::ended(result),
    }
}

fn is_directory(uri: &PdtpUri) -> Error {
    let uri = term::safe(uri.to_string().as_bytes());
    Error::new(ErrorKind::Argument, format!("{uri} is a directory, and cat takes files; `pdtp ls` lists it"))
}
