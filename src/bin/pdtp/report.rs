//! What `pdtp get` tells while it works: a progress bar for people, or events for programs.

use std::collections::HashSet;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use pdtp::client::{ErrorKind, EventBody, PeerTransfer, Progress, SessionState, TransferState};
use pdtp::content::keys::Fingerprint;
use pdtp::content::trust::Status;
use pdtp::wire::{Digest, PdtpUri, UrlPath, WaitReason};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::term;
use crate::verify::{json_of, sentence};

/// Least time between two `progress` events of `--json`.
const JSON_PROGRESS: Duration = Duration::from_millis(500);

/// Widest file name before the bar.
const NAME_WIDTH: usize = 24;

/// Characters of a peer's id that are shown: enough to tell peers apart.
const ID_SHOWN: usize = 8;

/// Where reports go.
pub(crate) struct Report {
    mode: Mode,
    /// Show each exchange.
    verbose: bool,
    last_progress: Option<Instant>,
    /// What it was last seen to wait for.
    waits: Option<WaitReason>,
    state: TransferState,
    /// The connection is away, and why.
    lost: Option<String>,
    /// What was told of signatures.
    verdicts: HashSet<(Status, Option<Fingerprint>)>,
}

enum Mode {
    Quiet,
    /// For people, on standard error; the bar only on a terminal.
    People(Option<ProgressBar>),
    /// For programs, on standard output.
    Json,
}

/// The end of a download, in numbers.
pub(crate) struct Outcome<'a> {
    pub(crate) path: &'a UrlPath,
    pub(crate) local: &'a Path,
    pub(crate) root: Option<Digest>,
    pub(crate) progress: &'a Progress,
    pub(crate) time: Duration,
    pub(crate) uploaded: u64,
}

impl Report {
    pub(crate) fn new(quiet: bool, verbose: bool, json: bool) -> Self {
        let mode = match (json, quiet) {
            (true, _) => Mode::Json,
            (false, true) => Mode::Quiet,
            (false, false) => Mode::People(std::io::stderr().is_terminal().then(bar)),
        };
        Self {
            mode,
            verbose,
            last_progress: None,
            waits: None,
            state: TransferState::Queued,
            lost: None,
            verdicts: HashSet::new(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        matches!(self.mode, Mode::Json)
    }

    /// Does something that writes on the terminal.
    pub(crate) fn suspended(&self, work: impl FnOnce()) {
        match &self.mode {
            Mode::People(Some(bar)) => bar.suspend(work),
            _ => work(),
        }
    }

    /// A download begins.
    pub(crate) fn start(&self, uri: &PdtpUri, local: &Path) -> Result<(), Failure> {
        match &self.mode {
            Mode::Quiet => {}
            Mode::People(Some(bar)) => bar.set_prefix(short_name(local)),
            Mode::People(None) => {}
            Mode::Json => emit(&json!({"event": "start", "uri": uri.to_string(), "local": text(local)}))?,
        }
        Ok(())
    }

    /// Something happened. The end is not told here but by [`Report::done`] and [`Report::failed`].
    pub(crate) fn event(&mut self, body: &EventBody) -> Result<(), Failure> {
        match body {
            EventBody::Session { state, .. } => self.session(state),
            EventBody::State { state, .. } => {
                self.state = *state;
                self.json(|| json!({"event": "state", "state": term::word(*state)}))
            }
            EventBody::Progress { progress, .. } => self.progress(progress),
            EventBody::FileDone { path, size, .. } => {
                self.json(|| json!({"event": "file_done", "path": path.as_str(), "size": size}))
            }
            EventBody::Verdict { verdict, accepted, .. } => {
                // Of a tree with one signer one line is enough; what was refused is told as a failure.
                let is_news = self.verdicts.insert((verdict.status, verdict.key));
                if *accepted && (is_news || verdict.status == Status::Bad) {
                    self.line(|| format!("{} {}", term::safe(&verdict.path.file_name()), sentence(verdict)));
                }
                self.json(|| {
                    let mut value = json_of(verdict);
                    value["event"] = "verdict".into();
                    value["accepted"] = (*accepted).into();
                    value
                })
            }
            EventBody::Peer { exchange, .. } if self.verbose => {
                self.line(|| describe(exchange));
                self.json(|| peer_json(exchange))
            }
            EventBody::Notice { message, .. } => {
                self.line(|| format!("the server says: {}", term::safe(message.as_bytes())));
                self.json(|| json!({"event": "notice", "message": message}))
            }
            EventBody::Goaway { reason, after, .. } => {
                let back = term::duration(*after);
                self.line(|| {
                    format!("the server goes down ({}), back in {back}", term::safe(reason.as_bytes()))
                });
                self.json(|| json!({"event": "notice", "message": reason}))
            }
            _ => Ok(()),
        }
    }

    fn session(&mut self, state: &SessionState) -> Result<(), Failure> {
        let was_lost = self.lost.take();
        match state {
            SessionState::Lost { retry_in, error } => {
                let message = term::safe(error.message.as_bytes());
                // Once per outage: every further try fails the same way.
                if was_lost.is_none() {
                    self.line(|| {
                        format!("connection lost: {message}; what is under way goes on, trying to reconnect")
                    });
                }
                self.lost = Some(message);
                return self.json(|| {
                    json!({"event": "session", "state": "lost", "message": error.message,
                        "retry_in": retry_in.as_secs_f64()})
                });
            }
            SessionState::Connecting => self.lost = was_lost,
            SessionState::Ready if was_lost.is_some() => self.line(|| "connected again".to_owned()),
            _ => {}
        }
        self.json(|| json!({"event": "session", "state": session_word(state)}))
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), Failure> {
        let waits = progress.waiting;
        if self.verbose && waits.is_some() && waits != self.waits {
            self.line(|| waits.map(waiting).unwrap_or_default());
        }
        self.waits = waits;
        match &self.mode {
            Mode::Quiet | Mode::People(None) => Ok(()),
            Mode::People(Some(bar)) => {
                // A bar of an empty file is full.
                bar.set_length(progress.total.max(1));
                bar.set_position(if progress.total == 0 { 1 } else { progress.done });
                bar.set_message(describe_progress(progress, self.state, self.lost.as_deref()));
                Ok(())
            }
            Mode::Json if self.last_progress.is_some_and(|last| last.elapsed() < JSON_PROGRESS) => Ok(()),
            Mode::Json => {
                self.last_progress = Some(Instant::now());
                emit(&with_numbers(
                    json!({
                        "event": "progress",
                        "done": progress.done,
                        "total": progress.total,
                        "rate": progress.rate,
                        "eta": progress.eta.map(|eta| eta.as_secs_f64()),
                        "givers": progress.givers,
                        "files_done": progress.files_done,
                        "files_total": progress.files_total,
                        "waiting": progress.waiting.as_ref().map(term::word),
                        "waiting_for": progress.waiting.map(WaitReason::text),
                        "hashing": progress.hashing,
                        "reading": progress.reading,
                        "checking": progress.checking,
                    }),
                    progress,
                ))
            }
        }
    }

    /// The download is complete.
    pub(crate) fn done(&self, outcome: &Outcome<'_>) -> Result<(), Failure> {
        let Outcome { path, root, progress, .. } = outcome;
        let received = progress.from_origin + progress.from_peers;
        let complete = received == 0 && progress.wasted == 0 && progress.from_disk == progress.total;
        let already_complete = complete && progress.total > 0;
        let rate = term::rate_over(received, outcome.time);
        self.line(|| {
            let name = term::safe(outcome.local.as_os_str().as_encoded_bytes());
            if already_complete {
                format!("{name}: already complete, {} verified", term::size(progress.total))
            } else {
                format!("{name}: {}", summary(progress, outcome.time, rate, outcome.uploaded))
            }
        });
        self.json(|| {
            with_numbers(
                json!({
                    "event": "done",
                    "path": path.as_str(),
                    "local": text(outcome.local),
                    "root": root.as_ref().map(|root| root.to_string()),
                    "size": progress.total,
                    "seconds": outcome.time.as_secs_f64(),
                    "rate": rate,
                    "uploaded": outcome.uploaded,
                    "files": progress.files_done,
                    "already_complete": already_complete,
                }),
                progress,
            )
        })
    }

    /// Giving to others after the download.
    pub(crate) fn seeding(&self, uploaded: u64, rate: u64, left: Option<Duration>) -> Result<(), Failure> {
        if let Mode::People(Some(bar)) = &self.mode {
            let left = left.map_or_else(String::new, |left| format!(", {} to go", term::duration(left)));
            let (sent, rate) = (term::size(uploaded), term::rate(rate));
            bar.set_message(format!("giving to others: {sent} sent, {rate}{left}; Ctrl-C ends it"));
        }
        self.json(|| json!({"event": "seeding", "uploaded": uploaded, "rate": rate}))
    }

    /// The command ends early. For people this is said by `main`, which also knows failures before this point.
    pub(crate) fn failed(&self, failure: &Failure) {
        self.clear();
        if !self.is_json() {
            return;
        }
        let event = match failure {
            Failure::BrokenPipe => return,
            Failure::Error(error) => {
                json!({"event": "error", "kind": term::word(error.kind), "code": failure.code(),
                    "message": error.message})
            }
            Failure::Stopped(_, message) => {
                let kind = term::word(ErrorKind::Interrupted);
                json!({"event": "stopped", "kind": kind, "code": failure.code(), "message": message})
            }
        };
        // It ends anyway, with this failure and not with that of writing it down.
        let _ = emit(&event);
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Mode::People(Some(bar)) = &self.mode {
            bar.finish_and_clear();
        }
    }

    /// A line for people.
    pub(crate) fn line(&self, text: impl FnOnce() -> String) {
        match &self.mode {
            Mode::People(Some(bar)) => bar.suspend(|| eprintln!("{}", text())),
            Mode::People(None) => eprintln!("{}", text()),
            Mode::Quiet | Mode::Json => {}
        }
    }

    pub(crate) fn json(&self, value: impl FnOnce() -> Value) -> Result<(), Failure> {
        if self.is_json() { emit(&value()) } else { Ok(()) }
    }
}

fn bar() -> ProgressBar {
    // The rate and the time to go come from the library, which knows more than the bar could guess.
    let style = ProgressStyle::with_template("{prefix} [{bar:12}] {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(1).with_style(style)
}

/// The last component, cut to what fits before a bar.
fn short_name(local: &Path) -> String {
    let name = term::safe(local.file_name().unwrap_or(local.as_os_str()).as_encoded_bytes());
    if name.chars().count() <= NAME_WIDTH {
        return name;
    }
    name.chars().take(NAME_WIDTH - 1).chain(['…']).collect()
}

/// The text after the bar.
fn describe_progress(progress: &Progress, state: TransferState, lost: Option<&str>) -> String {
    let mut text = format!(
        "{}% {}/{}",
        term::percent(progress.done, progress.total),
        term::size(progress.done),
        term::size(progress.total)
    );
    let mut add = |more: String| {
        text.push_str(", ");
        text.push_str(&more);
    };
    if let Some((done, total)) = progress.hashing {
        add(format!("the server is hashing: {}%", term::percent(done, total)));
        return text;
    }
    if let Some(entries) = progress.reading {
        add(term::reading(entries));
    }
    match state {
        TransferState::Deciding => add("whose is it?".to_owned()),
        TransferState::Checking => add(match progress.checking {
            Some((done, total)) => format!("checking what is there: {}%", term::percent(done, total)),
            None => "checking what is there".to_owned(),
        }),
        TransferState::Verifying => add("last checks".to_owned()),
        TransferState::Paused => add("paused".to_owned()),
        _ => {
            if progress.rate > 0 {
                add(term::rate(progress.rate));
            }
            if let Some(eta) = progress.eta {
                add(format!("{} left", term::time_left(eta)));
            }
        }
    }
    let received = progress.from_origin + progress.from_peers;
    if received > 0 {
        add(format!("{}% from peers", term::percent(progress.from_peers, received)));
    }
    if progress.givers > 0 {
        add(format!("{} {}", progress.givers, if progress.givers == 1 { "giver" } else { "givers" }));
    } else if let Some(reason) = &progress.waiting {
        add(waiting(*reason));
    }
    if progress.files_total > 1 {
        add(format!("{}/{} files", progress.files_done, progress.files_total));
    }
    if lost.is_some() {
        add("connection lost, trying again".to_owned());
    }
    text
}

fn waiting(reason: WaitReason) -> String {
    format!("waiting: {}", reason.text())
}

/// The last line: size, time, rate, and where it came from.
fn summary(progress: &Progress, time: Duration, rate: u64, uploaded: u64) -> String {
    let received = progress.from_origin + progress.from_peers;
    let mut text = match progress.files_total {
        0 | 1 => String::new(),
        files => format!("{files} files, "),
    };
    text += &format!("{} in {}", term::size(progress.total), term::duration(time));
    if received == 0 {
        return text;
    }
    text += &format!(" ({}): {} from the origin", term::rate(rate), term::size(progress.from_origin));
    text += &format!(
        ", {} from peers ({}%)",
        term::size(progress.from_peers),
        term::percent(progress.from_peers, received)
    );
    for (bytes, what) in
        [(progress.from_disk, "found on disk"), (progress.wasted, "in vain"), (uploaded, "given to others")]
    {
        if bytes > 0 {
            text += &format!(", {} {what}", term::size(bytes));
        }
    }
    text
}

fn describe(exchange: &PeerTransfer) -> String {
    let (first, count) = exchange.pieces;
    let pieces = if count == 1 {
        format!("piece {first}")
    } else {
        format!("pieces {first}-{}", u64::from(first) + u64::from(count.max(1)) - 1)
    };
    let other = if exchange.is_origin { "the origin".to_owned() } else { short_id(&exchange.peer_id) };
    let way = if exchange.received { "from" } else { "to" };
    let time = Duration::from_millis(exchange.ms);
    let mut text = format!(
        "{way} {other}: {pieces} of {}, {} in {} ({})",
        exchange.path,
        term::size(exchange.bytes),
        term::duration(time),
        term::rate(term::rate_over(exchange.bytes, time))
    );
    if let Some(reason) = &exchange.reason {
        text += &format!(", because {}", reason.text());
    }
    if let Some(error) = &exchange.error {
        text += &format!(", failed: {}", term::word(error));
    }
    text
}

fn short_id(id: &str) -> String {
    let mut shown = term::safe(id.as_bytes());
    if let Some((at, _)) = shown.char_indices().nth(ID_SHOWN) {
        shown.truncate(at);
    }
    format!("peer {shown}")
}

fn peer_json(exchange: &PeerTransfer) -> Value {
    json!({
        "event": "peer",
        "peer_id": exchange.peer_id,
        "origin": exchange.is_origin,
        "received": exchange.received,
        "path": exchange.path.as_str(),
        "first_piece": exchange.pieces.0,
        "pieces": exchange.pieces.1,
        "bytes": exchange.bytes,
        "ms": exchange.ms,
        "reason": exchange.reason.as_ref().map(term::word),
        "because": exchange.reason.map(|reason| reason.text()),
        "error": exchange.error.as_ref().map(term::word),
    })
}

/// Where the bytes came from, which several events tell.
fn with_numbers(mut event: Value, progress: &Progress) -> Value {
    event["from_origin"] = progress.from_origin.into();
    event["from_peers"] = progress.from_peers.into();
    event["from_disk"] = progress.from_disk.into();
    event["wasted"] = progress.wasted.into();
    event
}

fn session_word(state: &SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Ready => "ready",
        SessionState::Lost { .. } => "lost",
        SessionState::Refused { .. } => "refused",
        SessionState::Closed => "closed",
    }
}

/// A local path for JSON; bytes that are not UTF-8 are replaced.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// One line on standard output, at once.
fn emit(event: &Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}").and_then(|()| out.flush()).map_err(Failure::stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_bar_says_what_goes_on() {
        let mut progress = Progress {
            done: 50 * MIB,
            total: 100 * MIB,
            from_origin: 10 * MIB,
            from_peers: 30 * MIB,
            rate: 5 * MIB,
            eta: Some(Duration::from_secs(10)),
            givers: 3,
            files_total: 1,
            ..Progress::default()
        };
        assert_eq!(
            describe_progress(&progress, TransferState::Active, None),
            "50% 50.0 MiB/100.0 MiB, 5.0 MiB/s, 10 s left, 75% from peers, 3 givers"
        );
        (progress.givers, progress.waiting, progress.rate, progress.eta) =
            (0, Some(WaitReason::OriginBusy), 0, None);
        let text = describe_progress(&progress, TransferState::Active, Some("reset"));
        assert!(
            text.contains("waiting: the server's uplink is busy") && text.contains("connection lost"),
            "{text}"
        );
        progress.hashing = Some((1, 4));
        let text = describe_progress(&progress, TransferState::Queued, None);
        assert!(text.ends_with("the server is hashing: 25%"), "{text}");
        (progress.hashing, progress.reading) = (None, Some(12));
        let text = describe_progress(&progress, TransferState::Active, None);
        assert!(text.contains("the server is reading the directory: 12 entries so far"), "{text}");
        (progress.reading, progress.checking) = (None, Some((3, 4)));
        let text = describe_progress(&progress, TransferState::Checking, None);
        assert!(text.contains("checking what is there: 75%"), "{text}");
    }

    #[test]
    fn the_last_line_says_where_it_came_from() {
        let progress = Progress {
            done: 100 * MIB,
            total: 100 * MIB,
            from_origin: 30 * MIB,
            from_peers: 60 * MIB,
            from_disk: 10 * MIB,
            files_total: 7,
            ..Progress::default()
        };
        assert_eq!(
            summary(&progress, Duration::from_secs(9), 10 * MIB, 5 * MIB),
            "7 files, 100.0 MiB in 9.0 s (10.0 MiB/s): 30.0 MiB from the origin, 60.0 MiB from peers (66%), \
             10.0 MiB found on disk, 5.0 MiB given to others"
        );
        assert_eq!(summary(&Progress::default(), Duration::from_millis(3), 0, 0), "0 B in 3 ms");
    }

    #[test]
    fn exchanges_are_told_with_their_reason() {
        let exchange = PeerTransfer {
            id: 1,
            peer_id: "0123456789abcdef".to_owned(),
            is_origin: false,
            received: true,
            path: UrlPath::parse("/a").unwrap(),
            pieces: (4, 4),
            bytes: MIB,
            ms: 500,
            reason: Some(pdtp::wire::Reason::Rarest),
            error: None,
        };
        assert_eq!(
            describe(&exchange),
            "from peer 01234567: pieces 4-7 of /a, 1.0 MiB in 500 ms (2.0 MiB/s), because few have it"
        );
        assert_eq!(peer_json(&exchange)["reason"], "rarest");
    }

    #[test]
    fn names_before_the_bar_are_short_and_harmless() {
        assert_eq!(short_name(Path::new("a/b\u{1b}c")), "b\\u{1b}c");
        assert_eq!(short_name(Path::new(&"x".repeat(100))).chars().count(), NAME_WIDTH);
    }
}
