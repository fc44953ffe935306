//! Questions about signatures, asked on a terminal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use pdtp::client::{Answer, Client};
use pdtp::content::trust::{Status, Verdict};

use crate::term;
use crate::verify::sentence;

/// Whether there is somebody to ask.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Answers a decision: what is as it should be is left to the policy, the rest to the user.
pub(crate) fn decide(client: &Client, id: u64, verdict: &Verdict) {
    let is_plain = verdict.status == Status::Unsigned && !verdict.expected;
    let answer = if verdict.status == Status::Good || is_plain { Answer::Default } else { ask(verdict) };
    // Too late only when the download has ended meanwhile.
    let _ = client.decide(id, answer);
}

fn ask(verdict: &Verdict) -> Answer {
    let mut err = std::io::stderr().lock();
    if verdict.status == Status::KeyChanged {
        let line = "@".repeat(64);
        let _ = writeln!(err, "{line}\n@ WARNING: SIGNED WITH ANOTHER KEY THAN BEFORE{:>19}\n{line}", "@");
        let _ = writeln!(
            err,
            "Somebody may be giving you a file that is not what the publisher made, or the publisher"
        );
        let _ = writeln!(err, "has a new key. Ask him by another way than this server before you say yes.");
    }
    let _ = writeln!(err, "{} {}", term::safe(verdict.path.as_str().as_bytes()), sentence(verdict));
    let question = match verdict.status {
        Status::UnknownKey | Status::KeyChanged => "Trust this key here from now on, and download?",
        _ => "Download it nevertheless?",
    };
    let _ = write!(err, "{question} [y/N] ");
    let _ = err.flush();
    let mut line = String::new();
    // No answer is no.
    let _ = std::io::stdin().lock().read_line(&mut line);
    match line.trim() {
        "y" | "Y" | "yes" => Answer::Accept,
        _ => Answer::Reject,
    }
}
