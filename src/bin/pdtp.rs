//! `pdtp`, the command line client: arguments and presentation only.

fn main() {}
