//! Every bound that a stranger can push against, by name (docs/protocol.md, section 9).

use std::time::Duration;

/// Largest frame body in bytes: what a 16-bit length can say.
pub const MAX_FRAME: usize = 65_535;
/// Smallest frame body in bytes (`[]`).
pub const MIN_FRAME: usize = 2;
/// Deepest nesting of arrays and objects in a message.
pub const MAX_JSON_DEPTH: usize = 16;
/// A client id must be shorter than this many bytes.
pub const MAX_CLIENT_ID: usize = 4096;
/// Longest URL in bytes.
pub const MAX_URL: usize = 4096;
/// Longest path component in bytes, after percent-decoding.
pub const MAX_COMPONENT: usize = 255;
/// Longest `transfer.token` and `transfer.proof` in bytes.
pub const MAX_TOKEN: usize = 256;
/// Most pieces one `ask_hashes` may name.
pub const MAX_HASHES: u32 = 1024;
/// Of so many pieces each a root is told, where roots are asked for.
pub const ROOT_PIECES: u32 = 16;
/// Hashes told with `ask_info` to who takes proofs.
pub const FIRST_HASHES: u32 = 16;
/// Files of up to so many pieces have all their hashes told with `ask_info`, even to who takes proofs.
pub const MAX_UNPROVED: u32 = 128;
/// Most hashes in a proof: the levels of the largest tree.
pub const MAX_PROOF: usize = MAX_PIECES.ilog2() as usize;
/// Most entries in one `listing`.
pub const MAX_LIST_ENTRIES: usize = 1024;
/// Most values that are told of a file besides its bytes ([`super::Attributes`]).
pub const MAX_ATTRIBUTES: usize = 64;
/// Longest of them in bytes.
pub const MAX_ATTRIBUTE_TEXT: usize = 4096;
/// All of them together in bytes: in XML it may be five times as much, and an entry must fit a frame.
pub const MAX_ATTRIBUTES_TEXT: usize = 8 * 1024;
/// Longest XML document that is read, in bytes.
pub const MAX_XML: usize = 1024 * 1024;
/// Deepest nesting of its elements.
pub const MAX_XML_DEPTH: usize = 16;
/// Most attributes of one of its elements, namespaces included.
pub const MAX_XML_ATTRIBUTES: usize = 16;
/// Longest value of an attribute in it, in bytes.
pub const MAX_XML_VALUE: usize = MAX_URL;
/// Outstanding `list` and `ask_*` of one client.
pub const MAX_OUTSTANDING: usize = 64;
/// Standing request ranges of one client for one file.
pub const MAX_RANGES_PER_FILE: usize = 1024;
/// Files one client may have standing requests for.
pub const MAX_FILES_PER_CLIENT: usize = 4096;
/// Files and directories one client may watch.
pub const MAX_WATCHES: usize = 256;
/// Connections from one address.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = 256;
/// Bytes queued towards one client before it is dropped as a slow consumer.
pub const MAX_WRITE_BACKLOG: usize = 1024 * 1024;
/// Recoverable errors a client may make before it is dropped.
pub const MAX_ERRORS_PER_CLIENT: u32 = 64;
/// HTTP header block in bytes.
pub const MAX_HTTP_HEAD: usize = 16 * 1024;
/// HTTP header fields.
pub const MAX_HTTP_FIELDS: usize = 64;
/// Bytes by which a connection must have said what it speaks.
pub const SNIFF_BYTES: usize = 8;

/// A connection that has not said what it speaks, or not registered, is closed after this.
pub const REGISTER_TIMEOUT: Duration = Duration::from_secs(10);
/// An HTTP connection without a request is closed after this.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A body that moves fewer than [`MIN_BODY_BYTES`] in this time is cut.
pub const MIN_BODY_WINDOW: Duration = Duration::from_secs(30);
/// See [`MIN_BODY_WINDOW`]: 1 KiB/s over 30 s.
pub const MIN_BODY_BYTES: u64 = 30 * 1024;
/// An acceptor that asked `ask_verify` refuses when there is no answer within this.
pub const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);
/// A `transfer`'s token is good for this long, to allow for waiting in line at a busy giver.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(300);
/// For so long a giver keeps a request for what it is about to have (`transfer.wait_s`), and no longer than [`MAX_WAIT`].
pub const WAIT: Duration = Duration::from_secs(30);
/// The longest wait that is asked for or granted.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// Default interval of `ping` on an idle control connection; three missed mean dead.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// Smallest piece size in bytes.
pub const MIN_PIECE_SIZE: u32 = 16 * 1024;
/// The same, where pieces are cut in other sizes than powers of two.
pub const MIN_ANY_PIECE_SIZE: u32 = 1024;
/// Most pieces of a file: 16 TiB in the largest pieces, and 128 MiB of piece hashes.
pub const MAX_PIECES: u32 = 1 << 22;
/// Largest manifest in bytes: the longest path, and some lines.
pub const MAX_MANIFEST: usize = MAX_URL + 512;
/// Most signatures of a file.
pub const MAX_SIGNATURES: usize = 8;
/// Longest signature in bytes: RSA of 8,192 bits.
pub const MAX_SIGNATURE: usize = 1024;
/// Most certificates from a signer's own to the one below an anchor.
pub const MAX_CHAIN: usize = 8;
/// Longest key or certificate chain in bytes, as PEM text.
pub const MAX_KEY_TEXT: usize = 24 * 1024;
/// All signatures of a file together, with manifests and keys, in bytes: they travel in one frame, in which JSON may
/// need a little more.
pub const MAX_SIGNATURES_TEXT: usize = 48 * 1024;
/// Largest piece size in bytes.
pub const MAX_PIECE_SIZE: u32 = 4 * 1024 * 1024;
