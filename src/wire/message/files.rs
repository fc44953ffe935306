//! Messages about files and directories: what is there, and in which version.

use serde::{Deserialize, Serialize};

use super::ErrorCode;
use crate::wire::json::{Base64, is_false, known_word, null_is_absent, null_or_objects, objects};
use crate::wire::{About, Digest};

/// client: what is at this URL?
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AskInfo {
    /// File or directory.
    pub url: String,
    /// Whether piece hashes are wanted with the answer.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub hashes: bool,
    /// With `hashes`: a few with their proof will do.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub proof: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
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
    /// The hashes of the first pieces, up to [`crate::wire::limits::MAX_HASHES`], if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashes: Option<Base64>,
    /// What proves the hashes, if they are not all and proof was asked for: as in [`TellHashes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Base64>,
    /// Why there is no size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorCode>,
    /// Who says that this is the file: at most [`crate::wire::limits::MAX_SIGNATURES`] count.
    #[serde(default, deserialize_with = "null_or_objects", skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<FileSignature>,
}

/// A signature of a file, with all that it takes to verify it. What its key is worth is another question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileSignature {
    /// Public key, or certificate chain beginning with the signer's own, in PEM.
    pub key: String,
    /// Name of the algorithm.
    pub algorithm: String,
    /// The signature itself.
    pub value: Base64,
    /// What was signed, to the byte; empty: the same as in the signature before.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub manifest: String,
}

/// Who signed a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignedBy {
    /// Somebody whose signature lies beside the file; the server needs not have his key.
    Publisher,
    /// The server, which signs what it finds.
    Server,
}

/// The draft of 2007 says `chunkSize` for `chunk_size`.
#[derive(Deserialize)]
pub(super) struct DraftTellInfo {
    #[serde(rename = "chunkSize")]
    pub(super) chunk_size: Option<u32>,
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
    /// How many, 1 to [`crate::wire::limits::MAX_HASHES`].
    pub count: u32,
    /// Whether proof is wanted that they belong to the version. Then `count` is a power of two, and `first` a multiple
    /// of it.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub proof: bool,
    /// Whether, instead of hashes of pieces, the roots of each 16 of them are wanted ([`crate::wire::limits::ROOT_PIECES`]). Only
    /// with `proof`, and of 16 pieces at least.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub roots: bool,
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
    /// 32 bytes a piece, base64; of at most [`crate::wire::limits::MAX_HASHES`] pieces.
    pub hashes: Base64,
    /// If it was asked for: the hashes beside the way from the block to the root, from below, 32 bytes each; at most
    /// [`crate::wire::limits::MAX_PROOF`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Base64>,
    /// Whether `hashes` are roots, as asked for.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub roots: bool,
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

/// server: the directory is being read; `listing` follows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// As asked.
    pub url: String,
    /// As asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// Entries gone through for this page; 0 while it waits in line.
    pub entries: u64,
}

/// server: one page of a directory, in order of name bytes (of relative path, when deeper than one level).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Listing {
    /// As asked.
    pub url: String,
    /// As asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What is there: at most [`crate::wire::limits::MAX_LIST_ENTRIES`].
    #[serde(deserialize_with = "objects")]
    pub entries: Vec<Entry>,
    /// The same as XML, if that was asked for by `format`; `entries` is empty then ([`crate::content::rdl`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdl: Option<String>,
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
    #[serde(default, deserialize_with = "null_is_absent")]
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
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub signed: bool,
    /// By whom. A word that is not known counts as absent.
    #[serde(default, deserialize_with = "known_word", skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<SignedBy>,
    /// What is told only in XML.
    #[serde(skip)]
    pub about: Option<Box<About>>,
}

/// client: tell me by `changed` what changes at or below this URL.
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

/// server: a file you have to do with, or something you watch, is another one now, or gone.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Changed {
    /// File or directory.
    pub url: String,
    /// Its new version, if already known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Digest>,
    /// Bytes, with `root`, of what is watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Modification time, Unix seconds; the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
    /// `dir`: a directory that is new.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntryKind>,
    /// It is gone, with all below it.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub removed: bool,
    /// More has changed at or below it than is told one by one.
    #[serde(default, deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub rescan: bool,
}
