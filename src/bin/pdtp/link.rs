//! A connection as the commands see it: events, or the reason why there is no use in waiting for more.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pdtp::client::{Client, Config, Error, ErrorKind, Event, EventBody, Listing, Session, SessionState};
use pdtp::content::trust::Verdict;
use pdtp::wire::{Entry, PdtpUri};

use crate::exit::{Exit, Failure};
use crate::signals::Signals;
use crate::term;

/// How often a wait looks at the clock.
const TICK: Duration = Duration::from_millis(250);

/// How long the threads of the library may take to end once there is nothing left to finish.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The library, started; ended when dropped.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) signals: Signals,
}

impl App {
    pub(crate) fn start(config: Config) -> Result<Self, Error> {
        let client = Client::new(config)?;
        let signals = Signals::watch(&client)?;
        Ok(Self { client, signals })
    }

    /// Begins to connect to the server of `uri`. `patience`: how long to go on while nothing comes.
    pub(crate) fn link(&self, uri: &PdtpUri, patience: Option<Duration>) -> Result<Link<'_>, Error> {
        let session = self.client.open_session(uri, 0)?;
        Ok(Link {
            app: self,
            session,
            patience,
            moved: Instant::now(),
            seen: (0, [None; 2], None),
            was_ready: false,
            lost: None,
        })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.client.shutdown(SHUTDOWN);
    }
}

/// How far a transfer is: bytes done, bytes hashed and to be hashed (by the server and here), entries read.
type Seen = (u64, [Option<(u64, u64)>; 2], Option<u64>);

/// One server.
pub(crate) struct Link<'a> {
    app: &'a App,
    pub(crate) session: Session,
    patience: Option<Duration>,
    /// When something came last.
    moved: Instant,
    /// What was told last.
    seen: Seen,
    was_ready: bool,
    /// Why the connection is away.
    lost: Option<Error>,
}

impl Link<'_> {
    /// Something came: patience starts anew.
    pub(crate) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    pub(crate) fn client(&self) -> &Client {
        &self.app.client
    }

    /// The next event, or `None` now and then while there is none. Fails when the user wants to end, when the server
    /// cannot be reached in the first place or does not want this client, and when nothing came for too long.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Failure> {
        let event = self.app.client.next_event(Some(TICK));
        if let Some(exit) = self.app.signals.asked() {
            return Err(Failure::Stopped(exit, None));
        }
        if let Some(event) = &event {
            self.look_at(&event.body)?;
        }
        match self.patience {
            Some(patience) if self.moved.elapsed() >= patience => Err(self.gave_up(patience).into()),
            _ => Ok(event),
        }
    }

    /// Whether no event waits to be taken.
    pub(crate) fn is_idle(&self) -> bool {
        self.app.client.stats().queued_events == 0
    }

    /// Whether it shows that something goes on.
    fn look_at(&mut self, body: &EventBody) -> Result<(), Error> {
        match body {
            EventBody::Session { session, state } if *session == self.session.id() => self.enter(state)?,
            EventBody::Progress { progress, .. } => {
                let now = (progress.done, [progress.hashing, progress.checking], progress.reading);
                // To be told to wait is to be answered, too.
                if now != self.seen || progress.waiting.is_some() {
                    self.moved();
                }
                self.seen = now;
            }
            EventBody::State { .. }
            | EventBody::Verdict { .. }
            | EventBody::FileDone { .. }
            | EventBody::FileRemoved { .. }
            | EventBody::Reading { .. }
            | EventBody::Listing { .. } => self.moved(),
            _ => {}
        }
        Ok(())
    }

    fn enter(&mut self, state: &SessionState) -> Result<(), Error> {
        match state {
            SessionState::Ready => {
                self.moved();
                (self.was_ready, self.lost) = (true, None);
            }
            // A server that was never there is more likely a wrong URI than one that will be back soon.
            SessionState::Lost { error, .. } if !self.was_ready => return Err(error.clone()),
            SessionState::Lost { error, .. } => self.lost = Some(error.clone()),
            SessionState::Refused { error } => return Err(error.clone()),
            SessionState::Connecting | SessionState::Closed => {}
        }
        Ok(())
    }

    fn gave_up(&self, patience: Duration) -> Error {
        let waited = term::duration(patience);
        match &self.lost {
            Some(error) => Error::new(
                error.kind,
                format!("the server has been away for {waited}: {}; try again later", error.message),
            ),
            None => Error::new(
                ErrorKind::Timeout,
                format!("nothing came from the server for {waited}; --timeout sets how long to wait"),
            ),
        }
    }

    /// All pages of a listing or stat started as operation `op`, each handed to `page` as it comes.
    pub(crate) fn pages(
        &mut self,
        op: u64,
        mut page: impl FnMut(Listing) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut waiting = WaitingLine(None);
        loop {
            let Some(event) = self.next()? else { continue };
            match event.body {
                EventBody::Reading { op: of, entries } if of == op => waiting.show(term::reading(entries)),
                EventBody::Listing { op: of, result, last } if of == op => {
                    waiting.clear();
                    page(result?)?;
                    if last {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// What a URI names, on the server.
    pub(crate) fn stat(&mut self, uri: &PdtpUri) -> Result<Entry, Failure> {
        self.judged(uri).map(|(entry, _)| entry)
    }

    /// The same, and what its signatures are worth.
    pub(crate) fn judged(&mut self, uri: &PdtpUri) -> Result<(Entry, Option<Box<Verdict>>), Failure> {
        let op = self.session.stat_rich_start(&uri.path, 0)?;
        let mut found = None;
        self.pages(op, |listing| {
            found = listing.entries.into_iter().next().map(|entry| (entry, listing.verdict));
            Ok(())
        })?;
        found.ok_or_else(|| {
            Error::new(ErrorKind::Protocol, format!("{uri}: the server's answer is empty")).into()
        })
    }
}

/// A line for people at a terminal, which says what is waited for and is taken away again.
struct WaitingLine(Option<ProgressBar>);

impl WaitingLine {
    fn show(&mut self, text: String) {
        let bar = self.0.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{wide_msg}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        bar.set_message(text);
        bar.tick();
    }

    fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for WaitingLine {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The end of a download as an exit.
pub(crate) fn ended(result: Result<(), Error>) -> Result<(), Failure> {
    match result {
        Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Interrupted) => {
            Err(Failure::Stopped(Exit::Interrupted, Some(error.message)))
        }
        other => Ok(other?),
    }
}
