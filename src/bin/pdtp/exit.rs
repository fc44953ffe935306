//! Exit codes: one table for the program and for `--help`.

use std::fmt::Write as _;

use pdtp::client::{Error, ErrorKind};

/// What the program ends with, by class of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Other = 1,
    Usage = 2,
    Network = 3,
    NotFound = 4,
    Refused = 5,
    Content = 6,
    Disk = 7,
    DiskFull = 8,
    Signature = 9,
    Untrusted = 10,
    KeyChanged = 11,
    Interrupted = 130,
    Terminated = 143,
}

/// Code and meaning, in the order of the codes. 0 is success.
const TABLE: &[(Exit, &str)] = &[
    (Exit::Other, "any other failure"),
    (Exit::Usage, "wrong usage: an unknown option, a malformed URI, a directory without -r"),
    (Exit::Network, "network: name not found, no connection, connection lost, timeout, not a PDTP server"),
    (Exit::NotFound, "the server has no such file or directory"),
    (Exit::Refused, "the server refuses: not allowed, busy, a limit, not supported"),
    (Exit::Content, "content: it changed during the download, or is not the version asked for"),
    (Exit::Disk, "local disk: cannot write, file exists, read-only, in use by another download"),
    (Exit::DiskFull, "local disk full"),
    (Exit::Signature, "signature: wrong, expired, revoked, or of an older version than was seen before"),
    (Exit::Untrusted, "not signed, or with an unknown key, where that is not enough"),
    (Exit::KeyChanged, "signed with another key than before"),
    (Exit::Interrupted, "interrupted (Ctrl-C); running the same command again resumes"),
    (Exit::Terminated, "terminated (SIGTERM); running the same command again resumes"),
];

/// The table as shown below the help of the commands.
pub(crate) fn help() -> String {
    let mut text = "Exit codes:\n    0  success\n".to_owned();
    for (code, meaning) in TABLE {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:>3}  {meaning}", *code as u8);
    }
    text
}

impl Exit {
    /// The class that a kind of failure belongs to.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        use ErrorKind as K;
        match kind {
            K::Argument | K::Option => Self::Usage,
            K::Resolve | K::Connect | K::Timeout | K::Lost | K::Tls | K::Protocol => Self::Network,
            K::NotFound => Self::NotFound,
            K::Denied | K::Busy | K::Limit | K::Unsupported => Self::Refused,
            K::Changed | K::Hash | K::Metadata | K::Rejected => Self::Content,
            K::Signature => Self::Signature,
            K::Unsigned | K::UnknownKey => Self::Untrusted,
            K::KeyChanged => Self::KeyChanged,
            K::Io | K::Exists | K::ReadOnly | K::Locked => Self::Disk,
            K::NoSpace => Self::DiskFull,
            K::Cancelled | K::Interrupted => Self::Interrupted,
            _ => Self::Other,
        }
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It went wrong.
    Error(Error),
    /// The user or the system wants it to end; a sentence for the human, if there is something to say.
    Stopped(Exit, Option<String>),
    /// Whoever read standard output has gone: that is their way of saying "enough".
    BrokenPipe,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// A failure to write to standard output.
    pub(crate) fn stdout(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Error(Error::io("writing to standard output", &error))
    }

    /// What the process ends with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Error(error) => Exit::of(error.kind) as u8,
            Self::Stopped(exit, _) => *exit as u8,
            Self::BrokenPipe => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        let help = help();
        for (code, meaning) in TABLE {
            assert!(help.contains(&format!("{:>3}  {meaning}", *code as u8)), "{code:?}");
        }
    }

    #[test]
    fn classes_of_failures() {
        for (kind, code) in [
            (ErrorKind::Internal, 1),
            (ErrorKind::Option, 2),
            (ErrorKind::Connect, 3),
            (ErrorKind::NotFound, 4),
            (ErrorKind::Busy, 5),
            (ErrorKind::Changed, 6),
            (ErrorKind::Exists, 7),
            (ErrorKind::NoSpace, 8),
            (ErrorKind::Signature, 9),
            (ErrorKind::UnknownKey, 10),
            (ErrorKind::KeyChanged, 11),
            (ErrorKind::Interrupted, 130),
        ] {
            assert_eq!(Exit::of(kind) as u8, code, "{kind:?}");
        }
    }

    #[test]
    fn a_broken_pipe_is_no_failure() {
        let failure = Failure::stdout(std::io::ErrorKind::BrokenPipe.into());
        assert_eq!(failure.code(), 0);
        assert_eq!(Failure::stdout(std::io::ErrorKind::StorageFull.into()).code(), 8);
    }
}
