#!/usr/bin/env bash
# What `make check` does: everything that must hold in every commit, in under 15 minutes from a cold start on 2 cores.
set -eu
cd "$(dirname "$0")/.."

bash .ci/install.sh cc c++ curl openssl pkg-config python3 nm xmllint strace ip nft

step() { printf '\n== %s\n' "$*"; }

step 'format'
cargo fmt --check

step 'lints'
cargo clippy --locked --all-targets -- -D warnings

step 'the library alone, without the daemon and the command line'
cargo clippy --locked --lib --no-default-features --features ffi -- -D warnings

step 'documentation'
RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items --quiet

step 'tests'
bash .ci/test.sh --locked
