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

mod policy;
mod types;

pub use policy::Swarm;
pub use types::*;
