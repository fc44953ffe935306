//! The scheduler: who sends which piece to whom.
//!
//! A pure state machine: events in, commands out. It has no IO, no clock (every call says what time it is) and no
//! randomness of its own (the seed is in [`Config`]). What bytes are, who may ask for them, and how messages look is
//! not its business; the dispatcher in [`crate::server`] translates.
//!
//! ```text
//!   PeerJoined, Request, Provide, Progress, Completed, PeerLeft …        Start, Cancel, Waiting
//!   ─────────────────────────────────────────────────────────▶ Swarm ─────────────────────────▶
//! ```
//!
//! Inside, from the bottom up: sets and storage (`bits`, `slab`, `dice`), what is learned of lines (`rates`) and
//! readers (`reader`), of whom an origin serves and how much at once (`spread`, `deeper`), of the lines of all together (`crowd`),
//! of pairs (`pairs`), of who has met whom (`friends`) and of pieces (`rarity`), what the operator wants (`rules`), the bookkeeping of all there is (`state`), the decisions
//! (`schedule`) and what events mean (`policy`).

mod bits;
mod cache;
mod crowd;
mod deeper;
mod dice;
mod friends;
mod lately;
mod pairs;
mod places;
mod policy;
mod rarity;
mod rates;
mod reader;
mod rules;
mod schedule;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod slab;
mod spread;
mod state;
#[cfg(test)]
mod tests;
mod types;

pub use policy::Swarm;
pub use rules::{Rules, SharedRate};
pub use types::*;
