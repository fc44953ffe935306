//! PDTP, the Peer Distributed Transfer Protocol: serve a directory tree like anonymous FTP, at the cost of
//! serving it once.
//!
//! The rooms, lowest first; a lower room never imports a higher one.
//!
//! - [`wire`]: the language of PDTP, sans-IO (bytes in, values out)
//! - [`content`]: what is distributed, no network: pieces, hash tree
//! - [`swarm`]: the scheduler, a pure state machine
//! - [`peer`]: piece exchange between two hosts over HTTP/1.1
//! - [`client`]: the download engine
//! - [`publisher`]: signing and verifying files of this machine
//! - [`media`]: what media files say of themselves, found out by a process of its own
//! - [`hub`]: the repository
//! - [`server`]: `pdtpd`'s server
//! - [`ffi`]: the C ABI
//!
//! Beside them, for the programs: [`globs`].

#![warn(missing_docs, unreachable_pub, unsafe_op_in_unsafe_fn)]
#![deny(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
pub mod content;
#[cfg(feature = "ffi")]
pub mod ffi;
#[cfg(any(feature = "server", feature = "cli"))]
pub mod globs;
#[cfg(feature = "server")]
pub mod hub;
#[cfg(feature = "server")]
pub mod media;
pub mod peer;
#[cfg(feature = "sign")]
pub mod publisher;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod swarm;
pub mod wire;
