//! What is promised to the user, each promise in a module of its own, checked with the real programs.
//!
//! One test binary: linking is the slow part.

pub mod common;

#[path = "e2e/browse.rs"]
mod browse;
#[path = "e2e/change.rs"]
mod change;
#[path = "e2e/disk.rs"]
mod disk;
#[path = "e2e/exit_codes.rs"]
mod exit_codes;
#[path = "e2e/files.rs"]
mod files;
#[path = "e2e/mirror.rs"]
mod mirror;
#[path = "e2e/output.rs"]
mod output;
#[path = "e2e/resume.rs"]
mod resume;
#[path = "e2e/share.rs"]
mod share;
#[path = "e2e/swarm.rs"]
mod swarm;
#[path = "e2e/trees.rs"]
mod trees;
#[path = "e2e/watch.rs"]
mod watch;
