//! `pdtpd`, the server: arguments and presentation only.

fn main() {}
