//! Messages that move bytes: who wants and has what, who sends what to whom, and how it went.

use std::ffi::CStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::wire::json::{is_false, is_zero, known_word, null_is_absent, word};
use crate::wire::token::Method as TransferMethod;
use crate::wire::{ByteRange, Digest};

/// client: send me this. Requests are standing and additive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Request {
    /// File.
    pub url: String,
    /// Bytes; absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Version; `error{code:"changed"}` when the server no longer has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// In which order; [`Order::Rarest`] where absent or a word not known here.
    #[serde(default, deserialize_with = "known_word", skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Where a reader reads, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What it needs soon, bytes from `position`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// How fast the reader reads, bytes a second, if it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pace: Option<u64>,
    /// Names an early GET, which waits at the origin for the first transfer from there: at most
    /// [`crate::wire::limits::MAX_TOKEN`] visible ASCII characters that nobody else can guess.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early: Option<String>,
}

/// `request.order`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Best for the swarm.
    #[default]
    Rarest,
    /// From front to back.
    Sequential,
}

/// client: do not send this after all. What is under way is finished.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Unrequest {
    /// File.
    pub url: String,
    /// Bytes; absent = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Version; absent = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
}

/// client: I have this, verified, and can send it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Provide {
    /// File.
    pub url: String,
    /// Bytes; absent = all. Only pieces wholly inside count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
}

/// client: I no longer have this, or no longer send it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Unprovide {
    /// File.
    pub url: String,
    /// Bytes; absent = all. Every piece touched counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<ByteRange>,
    /// Version; absent = any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
}

/// server, to the side that dials: move these bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Transfer {
    /// Number of this transfer. Version 3 only, like all below it that may be absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Address of the side to be dialled. Absent (empty), with `port` and `peer_id`, if [`Said`] knows it.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The draft's name for `host`: read when there is no `host`, written for version 2 clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Its port.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_zero")]
    pub port: u16,
    /// `get` or `put`.
    pub method: TransferMethod,
    /// File. Absent (empty), with `root`, if [`Said`] knows it.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// Bytes, `max` always present: one piece or a run of consecutive pieces.
    pub range: ByteRange,
    /// Client id of the side to be dialled.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub peer_id: String,
    /// To be shown to it as `X-PDTP-Token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// To be expected from it as `X-PDTP-Proof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Why this transfer: `origin`, `rarest`, `deadline`, `locality`, `endgame`, `repair`, `spare`,
    /// `server_only`. A word not known here counts as absent.
    #[serde(default, deserialize_with = "known_word", skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whether the bytes come in answer to the early GET that the request named.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub early: bool,
    /// How often the taker is to tell of pieces ([`Progress`]), milliseconds; absent: as often as is usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_ms: Option<u64>,
    /// The giver does not have it yet, but is about to: for so many seconds it is to be given time (`Prefer: wait=`). Absent: it
    /// has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_s: Option<u64>,
}

/// What the latest `transfer` on a connection said, which the next one need not say again to who knows
/// [`FEATURE_BRIEF`](super::FEATURE_BRIEF): of which file, and who is to be dialled. Both sides keep one for each connection, and show it
/// each `transfer` in the order in which they go over it.
#[derive(Debug, Clone, Default)]
pub struct Said {
    file: Option<(String, Option<Digest>)>,
    side: Option<(String, u16, String)>,
}

impl Said {
    /// Takes out of a `transfer` what need not be said.
    pub fn leave_out(&mut self, transfer: &mut Transfer) {
        let file = (std::mem::take(&mut transfer.url), transfer.root.take());
        if self.file.as_ref() != Some(&file) {
            (transfer.url, transfer.root) = file.clone();
            self.file = Some(file);
        }
        let port = std::mem::take(&mut transfer.port);
        let side = (std::mem::take(&mut transfer.host), port, std::mem::take(&mut transfer.peer_id));
        if self.side.as_ref() != Some(&side) {
            (transfer.host, transfer.port, transfer.peer_id) = side.clone();
            self.side = Some(side);
        }
    }

    /// Puts in what was not said; false if nothing was said before either.
    pub fn fill_in(&mut self, transfer: &mut Transfer) -> bool {
        match &self.file {
            _ if !transfer.url.is_empty() => self.file = Some((transfer.url.clone(), transfer.root)),
            Some((url, root)) => (transfer.url, transfer.root) = (url.clone(), *root),
            None => return false,
        }
        match &self.side {
            _ if !transfer.peer_id.is_empty() => {
                self.side = Some((transfer.host.clone(), transfer.port, transfer.peer_id.clone()));
            }
            Some(side) => (transfer.host, transfer.port, transfer.peer_id) = side.clone(),
            None => return false,
        }
        true
    }
}

/// `transfer.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No peer has it yet.
    Origin,
    /// Few have it.
    Rarest,
    /// A reader waits for it.
    Deadline,
    /// A near peer has it.
    Locality,
    /// Among the last of a file.
    Endgame,
    /// Sent again after a failure.
    Repair,
    /// Others have it, and the server had room to send it once more.
    Spare,
    /// Peers do not give this file to each other: the operator wants it so.
    ServerOnly,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::Origin,
        Self::Rarest,
        Self::Deadline,
        Self::Locality,
        Self::Endgame,
        Self::Repair,
        Self::Spare,
        Self::ServerOnly,
    ];

    /// As it is written in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::Rarest => "rarest",
            Self::Deadline => "deadline",
            Self::Locality => "locality",
            Self::Endgame => "endgame",
            Self::Repair => "repair",
            Self::Spare => "spare",
            Self::ServerOnly => "server_only",
        }
    }

    /// The one that is written so; `None` for words of later versions.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// In words, to go on after "because".
    pub fn text(self) -> &'static str {
        words(self.c_text())
    }

    /// The same for C.
    pub fn c_text(self) -> &'static CStr {
        match self {
            Self::Origin => c"nobody else has it yet",
            Self::Rarest => c"few have it",
            Self::Deadline => c"a reader needs it soon",
            Self::Locality => c"the one who gives it is near",
            Self::Endgame => c"it is among the last that are missing",
            Self::Repair => c"it did not come the first time",
            Self::Spare => c"the server had room to send it",
            Self::ServerOnly => c"only the server gives this file",
        }
    }
}

/// Of our own text, which is ASCII.
fn words(text: &'static CStr) -> &'static str {
    text.to_str().unwrap_or_default()
}

/// client: a stranger asks me for this. Is it meant to?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AskVerify {
    /// The stranger's address.
    pub peer: String,
    /// File.
    pub url: String,
    /// Bytes.
    pub range: ByteRange,
    /// The stranger's client id.
    pub peer_id: String,
}

/// server: the answer to `ask_verify`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TellVerify {
    /// As asked.
    pub peer: String,
    /// As asked.
    pub url: String,
    /// As asked.
    pub range: ByteRange,
    /// As asked.
    pub peer_id: String,
    /// The verdict.
    #[serde(default, deserialize_with = "null_is_absent")]
    pub is_authorized: bool,
    /// The draft's name for `is_authorized`: read when that is absent, written for version 2 clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized: Option<bool>,
}

/// Whether `tell_verify` has the usual name for the verdict.
#[derive(Deserialize)]
pub(super) struct UsualVerdict {
    pub(super) is_authorized: Option<bool>,
}

/// client: a transfer has ended on my side. From both sides; what the taker says counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Completed {
    /// Version 3: the transfer. The next three are then not needed, and not written if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// File.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Bytes of the transfer.
    #[serde(default, skip_serializing_if = "is_whole")]
    pub range: ByteRange,
    /// The other side.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub peer_id: String,
    /// Its address (version 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Version 2 taker: SHA-256 of what came; absent = failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Version 3: payload bytes moved, whatever became of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Version 3: milliseconds from the first byte of the request or answer to the last of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<u64>,
    /// Version 3: how it failed; absent = well.
    #[serde(default, deserialize_with = "failure", skip_serializing_if = "Option::is_none")]
    pub error: Option<FailureKind>,
}

/// What `completed` cannot do without where transfers have no numbers.
#[derive(Deserialize)]
pub(super) struct UnnumberedCompleted {
    #[serde(rename = "url")]
    _url: String,
    #[serde(rename = "range")]
    _range: ByteRange,
    #[serde(rename = "peer_id")]
    _peer_id: String,
}

fn is_whole(range: &ByteRange) -> bool {
    *range == ByteRange::default()
}

/// A failure for reasons unheard of is still a failure.
fn failure<'de, D: Deserializer<'de>>(d: D) -> Result<Option<FailureKind>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    Ok(text.map(|text| word(text).unwrap_or(FailureKind::Refused)))
}

/// `completed.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The acceptor said no. Also read for any word that only a later version knows.
    Refused,
    /// It could not be dialled.
    Unreachable,
    /// It stopped answering.
    Timeout,
    /// It is too slow to be worth it.
    Slow,
    /// What came was not what the hash says.
    Hash,
    /// The giver no longer has it.
    Gone,
    /// The taker could not store it.
    Disk,
    /// Given up by intention.
    Cancelled,
}

/// server: version 2's verdict on a `completed`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HashVerify {
    /// File.
    pub url: String,
    /// Bytes.
    pub range: ByteRange,
    /// The hash was right.
    pub hash_ok: bool,
}

/// client, as taker of a run: these pieces are verified and stored; the run goes on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The transfer.
    pub id: u64,
    /// Indices within the file, those new since the last `progress` of this transfer.
    pub pieces: Vec<u64>,
}

/// server: stop this transfer. Pieces already whole are kept.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Cancel {
    /// The transfer.
    pub id: u64,
}

/// server: why nothing is being sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// File.
    pub url: String,
    /// Why. Reasons unheard of are read as [`WaitReason::OriginBusy`]: the server does not send now.
    #[serde(deserialize_with = "wait_reason")]
    pub reason: WaitReason,
}

/// `waiting.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// The origin's uplink is full.
    OriginBusy,
    /// Nobody connected has it.
    NoProvider,
    /// The client is at its own limit.
    YourLimit,
    /// Those who have it cannot be reached from here.
    Unreachable,
    /// As many clients as the operator allows are downloading from there; it is the client's turn when one is done.
    Full,
    /// What the operator lets the server send of that directory is used up for the moment.
    ServerRate,
    /// Others have it or are about to, and the server leaves it to them to send it.
    PeersBusy,
    /// What the server has is no longer what it was: it is being looked at again.
    Changed,
}

/// What only a later version knows is a reason to wait, too.
fn wait_reason<'de, D: Deserializer<'de>>(d: D) -> Result<WaitReason, D::Error> {
    Ok(word(String::deserialize(d)?).unwrap_or(WaitReason::OriginBusy))
}

impl WaitReason {
    /// In words, to go on after "waiting: ".
    pub fn text(self) -> &'static str {
        words(self.c_text())
    }

    /// The same for C.
    pub fn c_text(self) -> &'static CStr {
        match self {
            Self::OriginBusy => c"the server's uplink is busy with others",
            Self::NoProvider => c"nobody connected has what is missing",
            Self::YourLimit => c"your own limit is reached",
            Self::Unreachable => c"those who have it cannot be reached from here",
            Self::Full => {
                c"as many are downloading as the server allows at once; it is your turn when one is done"
            }
            Self::ServerRate => c"as much as the server sends of this directory is being sent",
            Self::PeersBusy => c"others have it and are busy, and the server leaves it to them",
            Self::Changed => c"the server's file is no longer what it was, and is looked at again",
        }
    }
}
