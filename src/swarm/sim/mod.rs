//! A simulator that runs the very same [`Swarm`](super::Swarm) in an invented network, by discrete events in invented
//! time. The same [`Setup`] gives the same outcome on every machine.
//!
//! Hosts behave as docs/protocol.md says: the connector alone is told of a transfer, dials unless it has a connection
//! left from before (at most 64 new hosts in 10 s), a PUT waits for "100 Continue", pieces of a run are told at most
//! every 50 ms, a body that does not move is cut after 30 s, and a host that vanishes without a word is missed by the
//! server after 120 s. Bytes are a fluid (`network`). Not modelled: the time that hashing, disks and the server's own
//! processor take.
//!
//! Not part of the library: compiled for tests and with the feature `sim`, for the program `pdtp-sim`.

mod agenda;
mod mix;
mod network;
#[cfg(feature = "sim")]
mod plot;
mod report;
mod run;
mod scenario;
mod setup;

pub use mix::Mix;
#[cfg(feature = "sim")]
pub use plot::plot;
pub use report::{HostOutcome, Outcome, Sample, Summary, best, best_in_pieces};
pub use run::{run, run_with};
pub use scenario::{SCENARIOS, Scenario, scenario};
pub use setup::{EXACT, FileSpec, Host, MBIT, MIB, SECOND, Setup, Wants};
