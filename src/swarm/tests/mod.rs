//! The scheduler's promises: single rules ([`rules`]), all rules under random events ([`chaos`]), and how close to
//! the optimum whole downloads come ([`races`]).

mod chaos;
mod properties;
mod races;
mod rules;
mod world;
