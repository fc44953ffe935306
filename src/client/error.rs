use std::fmt;

/// What kind of failure: one each for C's `PDTP_E_*`, and the groups of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named like the C codes, which are documented in include/pdtp.h")]
pub enum ErrorKind {
    // usage
    Null,
    Argument,
    Option,
    State,
    Reentrant,
    Forked,
    Version,
    // network
    Resolve,
    Connect,
    Timeout,
    Lost,
    Tls,
    Protocol,
    // the server says
    NotFound,
    Denied,
    Busy,
    Limit,
    Unsupported,
    Changed,
    // data
    Hash,
    Signature,
    Unsigned,
    KeyChanged,
    UnknownKey,
    Metadata,
    // local
    Io,
    NoSpace,
    Exists,
    ReadOnly,
    Locked,
    // flow
    Again,
    Cancelled,
    Interrupted,
    Rejected,
    // internal
    NoMemory,
    Panic,
    Internal,
}

/// A failure: its kind for the program, a sentence for the human (what was attempted, on what, what to do next).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// For the program.
    pub kind: ErrorKind,
    /// For the human, cause chain included.
    pub message: String,
}

impl Error {
    /// A failure.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A failure of the local disk while doing `what`; tells a full disk from others.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => ErrorKind::NoSpace,
            Io::ReadOnlyFilesystem | Io::PermissionDenied => ErrorKind::ReadOnly,
            Io::AlreadyExists => ErrorKind::Exists,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("{what}: {error}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
