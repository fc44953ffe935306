//! `pdtp`, the command line client: arguments and presentation only.
//!
//! Data goes to standard output, everything for people to standard error.

#![deny(unsafe_code)]
#![warn(unreachable_pub)]

mod args;
mod ask;
mod browse;
mod cat;
mod exit;
mod filter;
#[path = "../generate/mod.rs"]
mod generate;
mod get;
mod keys;
mod link;
mod mirror;
mod report;
mod resume;
mod settings;
mod share;
mod sign;
mod signals;
mod stream;
mod term;
mod verify;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use pdtp::client::{Error, ErrorKind, LogLevel};

use crate::args::{Cli, Command};
use crate::exit::Failure;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if std::env::var_os("RUST_LOG").is_some() {
        log(tracing_subscriber::EnvFilter::from_default_env());
    }
    let result = match &cli.command {
        Command::Get(args) => get::run(args),
        Command::Ls(args) => browse::ls(args),
        Command::Stat(args) => browse::stat(args),
        Command::Cat(args) => cat::run(args),
        Command::Stream(args) => stream::run(args),
        Command::Mirror(args) => mirror::run(args),
        Command::Watch(args) => watch::run(args),
        Command::Resume(args) => resume::run(args),
        Command::Share(args) => share::run(args),
        Command::Keygen(args) => keys::keygen(args),
        Command::Sign(args) => sign::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Fingerprint(args) => keys::fingerprint(args),
        Command::Generate(args) => {
            generate::run(args.what, Cli::command(), "1", |_| None).map_err(Failure::stdout)
        }
    };
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let message = match &failure {
        Failure::Error(error) => Some(with_advice(error)),
        Failure::Stopped(_, message) => message.clone(),
        Failure::BrokenPipe => None,
    };
    if let Some(message) = message {
        eprintln!("pdtp: {}", term::safe(message.as_bytes()));
    }
    ExitCode::from(failure.code())
}

/// For those who look for faults in the library itself; people are told by other means.
fn log(filter: tracing_subscriber::EnvFilter) {
    // The first call counts: RUST_LOG says it in more detail than an option can.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// The same, of everything in the library.
pub(crate) fn log_library(level: LogLevel) {
    log(tracing_subscriber::EnvFilter::new(format!("pdtp={}", level.word())));
}

/// What went wrong, and what to do next. A message that has a `;` gives its own advice.
fn with_advice(error: &Error) -> String {
    match advice(error.kind) {
        Some(advice) if !error.message.contains(';') => format!("{}; {advice}", error.message),
        _ => error.message.clone(),
    }
}

fn advice(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::Resolve => "check the spelling of the host, and whether this machine is online",
        ErrorKind::Connect => {
            "is a pdtpd running there, and is the port right? (6086 unless the URI names another)"
        }
        ErrorKind::Timeout => "check the host and the way to it, or wait longer with --connect-timeout",
        ErrorKind::Protocol => "is it a PDTP server that listens there?",
        ErrorKind::NotFound => "`pdtp ls` shows what the server has",
        ErrorKind::Busy | ErrorKind::Limit => "try again later",
        ErrorKind::Changed => "run the same command again to fetch what is served now",
        ErrorKind::NoSpace => "make room and run the same command again: what was received is kept",
        ErrorKind::Exists => "--overwrite resume replaces it, -o chooses another name",
        ErrorKind::UnknownKey => {
            "on a terminal you would be asked; --key FILE trusts a key, `#key=FINGERPRINT` in the URI does for once"
        }
        ErrorKind::KeyChanged => {
            "ask the publisher by another way than this server before you trust the new key (see the trust file)"
        }
        ErrorKind::Unsigned => "--verify report takes it nevertheless",
        ErrorKind::Signature => "do not use it; --verify report takes it nevertheless",
        ErrorKind::ReadOnly => "choose another place with -o",
        ErrorKind::Locked => "wait for the other download, or choose another name with -o",
        _ => return None,
    })
}
