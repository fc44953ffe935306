use thiserror::Error;

/// What can be wrong with bytes received on a control connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length prefix says zero or one byte: no message is that short.
    #[error("frame of {0} bytes: a message has at least 2")]
    FrameTooShort(usize),
    /// A line or a message to be written is longer than a frame can carry.
    #[error("message of {0} bytes or more: the limit is 65535")]
    FrameTooLong(usize),
    /// Not UTF-8 JSON, or nested too deep.
    #[error("broken JSON: {0}")]
    Json(String),
    /// JSON, but not `["type", {…}]`.
    #[error("a message is an array of a type and an object")]
    Shape,
    /// `["type"]`, without the object. Only in lines, where programs of 2007 pass over it.
    #[error("{0}: no members")]
    NoMembers(String),
    /// A type that this version does not know.
    #[error("unknown message type {0:?}")]
    UnknownType(String),
    /// A known type with a member missing, ill-typed or out of bounds.
    #[error("{kind}: {reason}")]
    Field {
        /// Message type.
        kind: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl WireError {
    /// Whether the byte stream can no longer be trusted, so that the connection must be closed.
    /// Wrong messages in whole frames are survivable (and counted, see [`super::limits::MAX_ERRORS_PER_CLIENT`]).
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::FrameTooShort(_) | Self::FrameTooLong(_) | Self::Json(_) | Self::Shape)
    }
}
