//! The C ABI: thin, boring, every function documented. All unsafe code of the client library lives here.
//!
//! Not responsible for what the functions do: that is `client`'s. This room turns C's pointers, numbers and
//! functions into Rust's values and back, keeps panics on this side, remembers what went wrong for the thread that
//! asks, and delivers events and data on the thread where the application wants them.
//!
//! `include/pdtp.h` is made from `pdtp.h.in` and from the doc comments of the exported functions, constants and
//! structs of the modules below (`tests/header_current.rs` does it): they are written for C programmers, and say of
//! every function whether it blocks, on which threads it may be called, who owns what, what NULL means, which
//! errors it gives, and since which version it is there.
//!
//! What C sees: [`version`], [`error`], [`config`], [`client`], [`session`], [`listing`], [`transfer`], [`reader`],
//! [`resume`], [`share`], [`log`], [`metrics`], [`event`],
//! [`uri`], [`callbacks`], [`stream`]. What it does not: `guard` (panics, results, the thread's last error), `handle` (pointers),
//! `text` (strings and structs), `delivery` (draining of events).

#![allow(unsafe_code, reason = "this is the C boundary; the casts are in `handle`, `text` and `callbacks`")]
#![allow(non_camel_case_types, reason = "the names are those of C")]
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "the comments are for C programmers"
)]
#![allow(clippy::missing_safety_doc, reason = "the contract is C's: pdtp.h says it once for all functions")]

#[macro_use]
mod macros;

pub mod callbacks;
pub mod client;
pub mod config;
mod delivery;
pub mod error;
pub mod event;
mod guard;
mod handle;
pub mod listing;
pub mod log;
pub mod metrics;
pub mod reader;
pub mod resume;
pub mod session;
pub mod share;
pub mod stream;
mod text;
pub mod transfer;
pub mod uri;
pub mod verify;
pub mod version;
