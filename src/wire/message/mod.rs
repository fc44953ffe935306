//! The messages of the control connection, versions 2 and 3 (docs/protocol.md, sections 2, 3, 5, 6 and 8).
//!
//! One model for both versions and both dialects. Names that differ between the draft of 2007 and the programs
//! are all read; what is written is what the other end knows. Not responsible for who may say what when: that is
//! decided by the rooms that hold a connection.

mod files;
mod session;
#[cfg(test)]
mod strategies;
#[cfg(test)]
mod tests;
mod transfers;

use std::fmt;

use bytes::BytesMut;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use self::files::*;
pub use self::session::*;
pub use self::transfers::*;
pub use super::json::Base64;
use super::json::check_depth;
pub use super::token::Method as TransferMethod;
use super::{Dialect, WireError, encode_frame, limits};

/// Declares [`Message`] with its type names, so that parsing, writing and naming cannot disagree.
macro_rules! messages {
    ($( $variant:ident = $name:literal $(| $alias:literal)* ),+ $(,)?) => {
        /// A message: its type, and the members of that type.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "each variant is documented at its struct")]
        pub enum Message {
            $( $variant($variant), )+
        }

        impl Message {
            #[cfg(test)]
            const KINDS: &'static [&'static str] = &[$($name),+];

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
    Reading = "reading",
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

impl Message {
    /// Parses one body, as cut by [`super::FrameReader`].
    ///
    /// # Errors
    ///
    /// [`WireError::Json`] and [`WireError::Shape`] are fatal to the connection; an unknown type and wrong members
    /// are not ([`WireError::is_fatal`]).
    pub fn parse(body: &[u8]) -> Result<Self, WireError> {
        Self::parse_as(Dialect::Framed, body)
    }

    /// The same, with the habits of those who speak a dialect. In lines, elements after the second are ignored, and a
    /// type without members is an error that can be lived with: DistribuStream 0.1.0 does both.
    ///
    /// # Errors
    ///
    /// As [`Message::parse`].
    pub fn parse_as(dialect: Dialect, body: &[u8]) -> Result<Self, WireError> {
        let text = std::str::from_utf8(body).map_err(|e| WireError::Json(e.to_string()))?;
        check_depth(text)?;
        let Envelope { kind, members, has_more } = split_envelope(text)?;
        let members = match (members, dialect) {
            (Some(members), _) if !has_more || dialect == Dialect::Line => members.get(),
            (None, Dialect::Line) => {
                return Err(WireError::NoMembers(kind.chars().take(64).collect()));
            }
            _ => return Err(WireError::Shape),
        };
        if !members.starts_with('{') {
            return Err(WireError::Shape);
        }
        let mut message = Self::parse_members(&kind, members)?;
        message.adopt_other_names(members)?;
        message.check_bounds()?;
        Ok(message)
    }

    /// The JSON text, without framing.
    ///
    /// # Errors
    ///
    /// [`WireError::FrameTooLong`] where no frame could carry it, [`WireError::Field`] where [`Message::parse`]
    /// would refuse it at the other end.
    pub fn to_json(&self) -> Result<Vec<u8>, WireError> {
        self.to_json_as(self.kind())
    }

    /// Appends this message to `out`, framed for `dialect` and with the type name that the programs know which speak
    /// it.
    ///
    /// # Errors
    ///
    /// As [`Message::to_json`]; nothing is appended then.
    pub fn encode(&self, dialect: Dialect, out: &mut BytesMut) -> Result<(), WireError> {
        let kind = match (dialect, self) {
            (Dialect::Line, Self::Register(_)) => "client_info",
            _ => self.kind(),
        };
        encode_frame(dialect, &self.to_json_as(kind)?, out)
    }

    fn to_json_as(&self, kind: &str) -> Result<Vec<u8>, WireError> {
        self.check_bounds()?;
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(b"[\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",");
        self.write_members(&mut out).map_err(|e| WireError::Json(e.to_string()))?;
        out.push(b']');
        // The framed dialect adds CRLF.
        if out.len() + 2 > limits::MAX_FRAME {
            return Err(WireError::FrameTooLong(out.len() + 2));
        }
        Ok(out)
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
            Self::Reading(m) => &m.url,
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
            Self::Completed(m) => Some(&m.url).filter(|url| !url.is_empty())?,
            Self::HashVerify(m) => &m.url,
            Self::Waiting(m) => &m.url,
            Self::Redirect(m) => m.url.as_deref()?,
            Self::Error(m) => m.url.as_deref()?,
            Self::Register(_)
            | Self::Registered(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Reachable(_)
            | Self::Progress(_)
            | Self::Cancel(_)
            | Self::Notice(_)
            | Self::Goaway(_)
            | Self::ProtocolError(_)
            | Self::ProtocolWarn(_) => return None,
        })
    }

    /// Reads members by the names that other generations of the protocol give them, where the usual name is absent.
    fn adopt_other_names(&mut self, members: &str) -> Result<(), WireError> {
        match self {
            Self::TellInfo(m) if m.chunk_size.is_none() => {
                m.chunk_size = members_of::<files::DraftTellInfo>("tell_info", members)?.chunk_size;
            }
            Self::Transfer(m) if m.host.is_empty() => m.host = m.peer.clone().unwrap_or_default(),
            Self::Completed(m) if m.id.is_none() => {
                members_of::<transfers::UnnumberedCompleted>("completed", members)?;
            }
            Self::TellVerify(m) => {
                // An explicit no stays a no, whatever the other name says.
                let usual = members_of::<transfers::UsualVerdict>("tell_verify", members)?.is_authorized;
                match usual.or(m.authorized) {
                    Some(verdict) => m.is_authorized = verdict,
                    None => return Err(self.refuse("no is_authorized")),
                }
            }
            Self::ProtocolError(ProtocolError { message }) | Self::ProtocolWarn(ProtocolWarn { message })
                if message.is_none() =>
            {
                *message = members_of::<session::UnfinishedProtocolError>("protocol_error", members)?.reason;
            }
            _ => {}
        }
        Ok(())
    }

    /// Bounds that types cannot express.
    fn check_bounds(&self) -> Result<(), WireError> {
        if self.url().is_some_and(|url| url.len() > limits::MAX_URL) {
            return Err(self.refuse("url too long"));
        }
        let wrong = match self {
            Self::Register(m) if m.client_id.is_empty() => "empty client_id",
            Self::Register(m) if m.client_id.len() >= limits::MAX_CLIENT_ID => "client_id too long",
            // It travels in HTTP header fields and in logs.
            Self::Register(m) if !is_visible(&m.client_id) => "client_id not of visible ASCII characters",
            Self::AskHashes(m) if m.count == 0 || m.count > limits::MAX_HASHES => "count out of bounds",
            Self::AskHashes(m) if m.proof && !is_block(m) => "first and count are not those of a block",
            Self::AskHashes(m) if m.roots && (!m.proof || m.count < limits::ROOT_PIECES) => {
                "roots are told with a proof, and of 16 pieces at least"
            }
            Self::TellInfo(m) if m.hashes.as_ref().is_some_and(|hashes| !is_hashes(hashes)) => {
                "hashes are not a multiple of 32 bytes, or too many"
            }
            Self::TellInfo(TellInfo { proof: Some(proof), .. })
            | Self::TellHashes(TellHashes { proof: Some(proof), .. })
                if !is_hashes(proof) || proof.0.len() / 32 > limits::MAX_PROOF =>
            {
                "proof is not a multiple of 32 bytes, or too long"
            }
            // It travels in a header field and names something that others must not find.
            Self::Request(m) if m.early.as_ref().is_some_and(|name| name.is_empty() || !is_token(name)) => {
                "early malformed"
            }
            Self::TellHashes(m) if !is_hashes(&m.hashes) => {
                "hashes are not a multiple of 32 bytes, or too many"
            }
            Self::Listing(m) if m.entries.len() > limits::MAX_LIST_ENTRIES => "too many entries",
            // All are absent where they were said before.
            Self::Transfer(m) if m.host.is_empty() && !(m.peer_id.is_empty() && m.port == 0) => "no host",
            Self::Transfer(m) if m.port == 0 && !m.host.is_empty() => "no port",
            Self::Transfer(m) if m.peer_id.is_empty() && !m.host.is_empty() => "no peer_id",
            Self::Transfer(m) if m.range.max.is_none() => "range without max",
            // What a server says here is written into HTTP header fields towards a stranger.
            Self::Transfer(m) if !m.token.iter().chain(&m.proof).all(|text| is_token(text)) => {
                "token or proof malformed"
            }
            _ => return Ok(()),
        };
        Err(self.refuse(wrong))
    }

    fn refuse(&self, reason: &str) -> WireError {
        WireError::Field { kind: self.kind().to_owned(), reason: reason.to_owned() }
    }
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

fn is_hashes(hashes: &Base64) -> bool {
    hashes.0.len().is_multiple_of(32) && hashes.0.len() / 32 <= limits::MAX_HASHES as usize
}

fn is_block(ask: &AskHashes) -> bool {
    ask.count.is_power_of_two() && ask.first.is_multiple_of(u64::from(ask.count))
}

fn is_token(text: &str) -> bool {
    text.len() <= limits::MAX_TOKEN && is_visible(text)
}

/// `["type", {…}]`, cut into its parts.
struct Envelope<'a> {
    kind: String,
    members: Option<&'a RawValue>,
    /// There are elements after the second.
    has_more: bool,
}

fn split_envelope(text: &str) -> Result<Envelope<'_>, WireError> {
    struct Cut;

    impl<'de> Visitor<'de> for Cut {
        type Value = Envelope<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of a type and an object")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let kind = seq.next_element()?.ok_or_else(|| serde::de::Error::invalid_length(0, &self))?;
            let members = seq.next_element()?;
            let mut has_more = false;
            while seq.next_element::<IgnoredAny>()?.is_some() {
                has_more = true;
            }
            Ok(Envelope { kind, members, has_more })
        }
    }

    let mut reader = serde_json::Deserializer::from_str(text);
    reader.deserialize_seq(Cut).and_then(|found| reader.end().map(|()| found)).map_err(|e| {
        match e.classify() {
            serde_json::error::Category::Data => WireError::Shape,
            _ => WireError::Json(e.to_string()),
        }
    })
}

fn members_of<T: serde::de::DeserializeOwned>(kind: &str, members: &str) -> Result<T, WireError> {
    serde_json::from_str(members).map_err(|e| WireError::Field {
        kind: kind.to_owned(),
        // A wrong value is quoted in full, which may be a whole frame.
        reason: e.to_string().chars().take(200).collect(),
    })
}
