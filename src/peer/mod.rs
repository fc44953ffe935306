//! Piece exchange between two hosts: HTTP/1.1 GET and PUT, both ends (docs/protocol.md, sections 4 and 8).
//!
//! This room moves bytes under deadlines and rate limits and checks them against piece hashes. It does not know who
//! should send what to whom (the server decides, [`crate::client`] obeys), nor where bytes live ([`PieceSink`] and
//! [`FileSpan`] say).

mod body;
mod buffer;
pub mod connect;
mod date;
mod deadlines;
pub mod head;
mod intake;
mod limit;
mod link;
mod lull;
mod push;
mod send;
pub mod serve;
mod sys;

pub use body::{Claim, FileSpan, Finished, PieceSink, Ready, ReceiveError, Received};
pub use limit::RateLimiter;
pub(crate) use push::while_sending;
pub(crate) use sys::{acknowledge_together, block_pipe_signals};

/// Header fields of PDTP, as written (read without regard to case).
pub mod field {
    /// Client id of the side that dials.
    pub const PEER_ID: &str = "X-PDTP-Peer-Id";
    /// `transfer.token`.
    pub const TOKEN: &str = "X-PDTP-Token";
    /// The acceptor's answer to a token.
    pub const PROOF: &str = "X-PDTP-Proof";
    /// `transfer.id`, so that both sides name it alike in `completed`.
    pub const TRANSFER: &str = "X-PDTP-Transfer";
    /// `transfer.reason`, for who is brought something and was not told.
    pub const REASON: &str = "X-PDTP-Reason";
    /// `request.early`: the request waits for what the origin is to send first.
    pub const EARLY: &str = "X-PDTP-Early";
}

#[cfg(test)]
mod tests;
