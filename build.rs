//! Tells the library what it is built for, and gives the shared one its name.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_default();
    println!("cargo:rustc-env=PDTP_TARGET={}", var("TARGET"));
    println!("cargo:rustc-env=PDTP_PROFILE={}", var("PROFILE"));
    // While the major version is 0 every minor one may break the ABI, and has a soname of its own: docs/abi.md.
    let (major, minor) = (var("CARGO_PKG_VERSION_MAJOR"), var("CARGO_PKG_VERSION_MINOR"));
    let abi = if major == "0" { format!("0.{minor}") } else { major };
    match var("CARGO_CFG_TARGET_OS").as_str() {
        "macos" | "ios" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libpdtp.{abi}.dylib");
        }
        "windows" => {}
        // What the Rust runtime makes once for a process would be made again by each dlopen(), and never be given back:
        // so the library stays.
        _ => println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libpdtp.so.{abi},-z,nodelete"),
    }
}
