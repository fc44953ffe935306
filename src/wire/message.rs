//! The messages of the control connection, versions 2 and 3 (docs/protocol.md, sections 2, 3, 5, 6 and 8).
//!
//! One model for both versions and both dialects. Names that differ between the draft of 2007 and the programs
//! are all read; what is written is what the other end knows.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ByteRange, Digest, WireError, limits};

/// Declares [`Message`] with its type names, so that parsing, writing and naming cannot disagree.
macro_rules! messages {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal $(| $alias:literal)* ),+ $(,)?) => {
        /// A message: its type, and the members of that type.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Message {
            $( $(#[$doc])* $variant($variant), )+
        }

        impl Message {
            /// The type name on the wire.
            pub fn kind(&self) -> &'static str {
                match self { $( Self::$variant(_) => $name, )+ }
            }

            fn parse_members(kind: &str, members: &str) -> Result<Self, WireError> {
                match kind {
                    $( $name $(| $alias)* => members_of(kind, members).map(Self::$variant), )+
                    _ => Err(WireError::UnknownType(kind.chars().take(64).collect())),
                }
            }

            fn write_members(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
                match self { $( Self::$variant(members) => serde_json::to_writer(out, members), )+ }
            }
        }

        $( impl From<$variant> for Message {
            fn from(members: $variant) -> Self { Self::$variant(members) }
        } )+
    };
}

messages! {
    Register = "register" | "client_info",
    Registered = "registered",
    Ping = "ping",
    Pong = "pong",
    Reachable = "reachable",
    AskInfo = "ask_info",
    TellInfo = "tell_info",
    Hashing = "hashing",
    AskHashes = "ask_hashes",
    TellHashes = "tell_hashes",
    List = "list",
    Listing = "listing",
    Watch = "watch",
    Unwatch = "unwatch",
    Changed = "changed",
    Request = "request",
    Unrequest = "unrequest",
    Provide = "provide",
    Unprovide = "unprovide",
    Transfer = "transfer",
    AskVerify = "ask_verify",
    TellVerify = "tell_verify",
    Completed = "completed",
    HashVerify = "hash_verify",
    Progress = "progress",
    Cancel = "cancel",
    Waiting = "waiting",
    Redirect = "redirect",
    Notice = "notice",
    Goaway = "goaway",
    Error = "error",
    ProtocolError = "protocol_error",
    ProtocolWarn = "protocol_warn",
}

fn members_of<T: DeserializeOwned>(kind: &str, members: &str) -> Result<T, WireError> {
    serde_json::from_str(members).map_err(|e| WireError::Field {
        kind: kind.to_owned(),
        reason: e.to_string().chars().take(200).collect(),
    })
}

impl Message {
    /// Parses one body, as cut by [`super::FrameReader`].
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(body).map_err(|e| WireError::Json(e.to_string()))?;
        check_depth(text)?;
        let (kind, members): (String, &serde_json::value::RawValue) =
            serde_json::from_str(text).map_err(|e| match e.classify() {
                serde_json::error::Category::Data => WireError::Shape,
                _ => WireError::Json(e.to_string()),
            })?;
        if !members.get().starts_with('{') {
            return Err(WireError::Shape);
        }
        let mut message = Self::parse_members(&kind, members.get())?;
        message.adopt_names_of_the_draft();
        message.check_bounds()?;
        Ok(message)
    }

    /// The JSON text, without framing.
    pub fn to_json(&self) -> Result<Vec<u8>, WireError> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"[\"");
        out.extend_from_slice(self.kind().as_bytes());
        out.extend_from_slice(b"\",");
        self.write_members(&mut out).map_err(|e| WireError::Json(e.to_string()))?;
        out.push(b']');
        if out.len() + 2 > limits::MAX_FRAME {
            return Err(WireError::FrameTooLong(out.len() + 2));
        }
        Ok(out)
    }

    fn adopt_names_of_the_draft(&mut self) {
        match self {
            Self::Transfer(m) if m.host.is_empty() => m.host = m.peer.clone().unwrap_or_default(),
            Self::TellVerify(m) => m.is_authorized |= m.authorized.unwrap_or(false),
            _ => {}
        }
    }

    /// Bounds that types cannot express.
    fn check_bounds(&self) -> Result<(), WireError> {
        let fail =
            |reason: &str| Err(WireError::Field { kind: self.kind().to_owned(), reason: reason.to_owned() });
        if self.url().is_some_and(|url| url.len() > limits::MAX_URL) {
            return fail("url too long");
        }
        match self {
            Self::Register(m) if m.client_id.is_empty() => fail("empty client_id"),
            Self::Register(m) if m.client_id.len() >= limits::MAX_CLIENT_ID => fail("client_id too long"),
            Self::Transfer(m) if m.host.is_empty() => fail("no host"),
            Self::AskHashes(m) if m.count == 0 || m.count > limits::MAX_HASHES => fail("count out of bounds"),
            _ => Ok(()),
        }
    }

    /// The URL the message is about, where it is about one.
    pub fn url(&self) -> Option<&str> {
        Some(match self {
            Self::AskInfo(m) => &m.url,
            Self::TellInfo(m) => &m.url,
            Self::Hashing(m) => &m.url,
            Self::AskHashes(m) => &m.url,
            Self::TellHashes(m) => &m.url,
            Self::List(m) => &m.url,
            Self::Listing(m) => &m.url,
            Self::Watch(m) => &m.url,
            Self::Unwatch(m) => &m.url,
            Self::Changed(m) => &m.url,
            Self::Request(m) => &m.url,
            Self::Unrequest(m) => &m.url,
            Self::Provide(m) => &m.url,
            Self::Unprovide(m) => &m.url,
            Self::Transfer(m) => &m.url,
            Self::AskVerify(m) => &m.url,
            Self::TellVerify(m) => &m.url,
            Self::Completed(m) => &m.url,
            Self::HashVerify(m) => &m.url,
            Self::Waiting(m) => &m.url,
            Self::Redirect(m) => m.url.as_deref()?,
            Self::Error(m) => m.url.as_deref()?,
            _ => return None,
        })
    }
}

/// Refuses JSON nested deeper than [`limits::MAX_JSON_DEPTH`] before anything is built from it.
fn check_depth(text: &str) -> Result<(), WireError> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > limits::MAX_JSON_DEPTH {
                    return Err(WireError::Json(format!("nested deeper than {}", limits::MAX_JSON_DEPTH)));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

fn is_false(b: &bool) -> bool {
    !b
}

/// client: who I am. First and once.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Register {
    /// Chosen by the client, unique on the server.
    pub client_id: String,
    /// TCP port on which the client accepts peers; 0 = it does not.
    pub listen_port: u16,
    /// 3 for this protocol; absent = version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Program and version, `libpdtp/0.1.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the client can do: see the `FEATURE_*` constants.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// `client`, or `cache` for a piece proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What the client is willing to send, bytes a second; absent = as much as the link takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_limit: Option<u64>,
    /// What the client wants to receive at most, bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub down_limit: Option<u64>,
}

/// `register.features`: the client sends pieces to others. Without it, nothing is ever asked of it.
pub const FEATURE_GIVE: &str = "give";
/// `register.features`: the client answers to runs of several pieces with `progress`.
pub const FEATURE_RUNS: &str = "runs";

/// server: you are known. The first answer of a version 3 server.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Registered {
    /// Version the server will speak with this client.
    pub version: u32,
    /// Program and version.
    pub agent: String,
    /// The server's own peer id: a `transfer` whose `peer_id` this is comes from the origin, which a client
    /// reaches at the very address and port it reached the server.
    pub server: String,
    /// Random id of this connection, for logs of both sides.
    pub session: String,
    /// The client's address as the server sees it.
    pub address: String,
    /// [`super::token::Secret`] in base64.
    pub secret: String,
    /// Unix time of the server in seconds, against which `EXPIRES` of tokens is judged.
    pub time: u64,
    /// What the server can do.
    #[serde(default)]
    pub features: Vec<String>,
    /// Ping after this many seconds without traffic.
    pub keepalive_s: u32,
    /// What the server holds clients to.
    #[serde(default)]
    pub limits: ServerLimits,
    /// Greeting of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// `registered.limits`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerLimits {
    /// Outstanding `list` and `ask_*`.
    pub outstanding: u32,
    /// Files with standing requests.
    pub files: u32,
    /// Standing request ranges per file.
    pub ranges: u32,
}

/// Either: are you there?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Ping {}

/// Either: I am.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Pong {}

/// server: whether the client's listen port answered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reachable {
    /// It did, and proved to be the client.
    pub ok: bool,
}

/// client: what is at this URL?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AskInfo {
    /// File or directory.
    pub url: String,
}

/// server: the file at this URL. Without `size`: not found, or `error` says what else.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TellInfo {
    /// As asked.
    pub url: String,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Piece size in bytes.
    #[serde(alias = "chunkSize", skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u32>,
    /// Always false; version 2 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streaming: Option<bool>,
    /// Version: root of the hash tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// SHA-256 of the whole file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Modification time, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
    /// Media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// `dir` when the URL names a directory (which has no size).
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryKind>,
    /// Why there is no size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
}

/// server: the file is being hashed; `tell_info` follows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hashing {
    /// As asked.
    pub url: String,
    /// Bytes hashed.
    pub done: u64,
    /// Bytes to hash.
    pub total: u64,
}

/// client: the hashes of some consecutive pieces.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AskHashes {
    /// File.
    pub url: String,
    /// Version.
    pub root: Digest,
    /// Index of the first piece.
    pub first: u64,
    /// How many, 1 to [`limits::MAX_HASHES`].
    pub count: u32,
}

/// server: the hashes asked for, as many as there are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TellHashes {
    /// As asked.
    pub url: String,
    /// As asked.
    pub root: Digest,
    /// As asked.
    pub first: u64,
    /// 32 bytes a piece, base64.
    pub hashes: Base64,
}

/// Bytes that travel as base64 text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        s.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        base64::engine::general_purpose::STANDARD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

/// client: what is in this directory?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct List {
    /// Directory.
    pub url: String,
    /// Levels to descend: absent or 1 = this directory only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<u32>,
    /// `listing.next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// `rdl` for XML; absent for entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Comes back in the answer, so that equal questions can be told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// server: one page of a directory, in order of name bytes (of relative path, when deeper than one level).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// As asked.
    pub url: String,
    /// As asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What is there.
    pub entries: Vec<Entry>,
    /// Cursor of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// File or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// Regular file.
    #[default]
    File,
    /// Directory.
    Dir,
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Entry {
    /// Name, or path relative to the listed directory when deeper than one level. For people: bytes that are not
    /// UTF-8 are replaced, and `path` has the truth.
    pub name: String,
    /// Relative percent-encoded path, where it differs from the percent-encoding of `name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// File or directory.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// Bytes; 0 for directories.
    #[serde(default)]
    pub size: u64,
    /// Modification time, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
    /// Version, once hashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// Piece size in bytes, with `root`: so a tree is downloaded without an `ask_info` for each file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_size: Option<u32>,
    /// Media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime: Option<String>,
    /// Whether there is a signature.
    #[serde(default, skip_serializing_if = "is_false")]
    pub signed: bool,
}

/// client: tell me what changes at or below this URL.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Watch {
    /// File or directory.
    pub url: String,
}

/// client: no longer.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Unwatch {
    /// As watched.
    pub url: String,
}

/// server: a file you have to do with is another one now, or gone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// File.
    pub url: String,
    /// Its new version, if already known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// It is gone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub removed: bool,
}

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
    /// In which order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Where a reader reads, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// What it needs soon, bytes from `position`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
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
    /// Address of the side to be dialled.
    #[serde(default)]
    pub host: String,
    /// The draft's name for `host`: read when there is no `host`, written for version 2 clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Its port.
    pub port: u16,
    /// `get` or `put`.
    pub method: TransferMethod,
    /// File.
    pub url: String,
    /// Version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// Bytes, `max` always present: one piece or a run of consecutive pieces.
    pub range: ByteRange,
    /// Client id of the side to be dialled.
    pub peer_id: String,
    /// To be shown to it as `X-PDTP-Token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// To be expected from it as `X-PDTP-Proof`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<String>,
    /// Why this transfer: `origin`, `rarest`, `deadline`, `locality`, `endgame`, `repair`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

/// `transfer.method`, from the side that dials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferMethod {
    /// It receives.
    #[default]
    #[serde(alias = "GET")]
    Get,
    /// It sends.
    #[serde(alias = "PUT")]
    Put,
}

/// `transfer.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    #[serde(default)]
    pub is_authorized: bool,
    /// The draft's name for `is_authorized`: read when that is absent, written for version 2 clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorized: Option<bool>,
}

/// client: a transfer has ended on my side. From both sides; what the taker says counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Completed {
    /// Version 3: the transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// File.
    pub url: String,
    /// Bytes of the transfer.
    pub range: ByteRange,
    /// The other side.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FailureKind>,
}

/// `completed.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// The acceptor said no.
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
    /// Why.
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
}

/// server: another server has this.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Redirect {
    /// File or directory; absent = everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// server: a word from the operator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Notice {
    /// For people.
    pub message: String,
}

/// server: I am going down; come back after a while.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Goaway {
    /// For people.
    pub reason: String,
    /// Seconds to wait before coming back.
    #[serde(default)]
    pub after_s: u32,
}

/// Either: something went wrong, see `code`. The connection stays unless it is closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// File or directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Type of the message that led to this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub re: Option<String>,
    /// `list.id`, when in answer to a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
}

/// `error.code` and `tell_info.error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The message was not understood.
    Protocol,
    /// No such file or directory.
    NotFound,
    /// It is there, but not for you, or the server may not read it.
    Denied,
    /// Asked for a file; it is a directory.
    IsDirectory,
    /// Asked for a directory; it is a file.
    NotDirectory,
    /// The version asked for is no longer served.
    Changed,
    /// A limit of the server was passed.
    Limit,
    /// The client id is taken.
    IdInUse,
    /// The client reads too slowly what it asked for.
    SlowConsumer,
    /// The server cannot do it now.
    Busy,
    /// The server's disk or program failed.
    Internal,
    /// Any code this version does not know.
    #[serde(other)]
    Unknown,
}

/// Version 2: the stream is no longer trusted; the connection closes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolError {
    /// For people.
    #[serde(alias = "reason", default)]
    pub message: Option<String>,
}

/// Version 2: a mild error.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ProtocolWarn {
    /// For people.
    #[serde(alias = "reason", default)]
    pub message: Option<String>,
}
