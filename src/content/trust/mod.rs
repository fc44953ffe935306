//! Whom to believe: the trust file, what was seen before, and the verdict over the signatures of a file.
//!
//! Not responsible for reading files, asking people, or acting on a verdict. The time is an argument.

mod file;
mod judge;
mod seen;

pub use file::{Place, Trust, TrustEntry, TrustError};
pub use judge::{Judge, Policy, Question, Status, Verdict};
pub use seen::{Seen, SeenEntry};
