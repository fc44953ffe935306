#!/usr/bin/env bash
# What `make check-slow` does: the tests that take minutes (valgrind, large files, floods), which `make check` skips.
set -eu
cd "$(dirname "$0")/.."

bash .ci/install.sh cc c++ clang curl openssl pkg-config python3 nm xmllint valgrind ip ffmpeg chromium cmake abidiff doxygen mandoc zsh fish strings xz systemd-analyze
bash .ci/install.sh clang-rt mpv cvlc runuser gst-launch-1.0
bash .ci/install.sh --packages glib-2.0 Qt6Core
# For the sanitizers in the library itself; ThreadSanitizer takes the standard library's source. Without it they skip.
command -v rustup >/dev/null 2>&1 && { rustup run nightly rustc -V >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal || :; } \
  && { rustup component add rust-src --toolchain nightly || :; }

export PDTP_SLOW=1
bash .ci/test.sh --locked --test 'slow_*'

printf '\n== the scheduler in thousands of random swarms\n'
PDTP_SEEDS=500..5400 cargo test --locked --lib -- swarm::tests::properties swarm::tests::chaos::nothing_breaks_whatever
PDTP_SEEDS=500..540 cargo test --locked --lib -- swarm::tests::chaos::nothing_breaks_in_a swarm::tests::chaos::a_crowd

printf '\n== the simulator, and the goals of the scheduler\n'
cargo clippy --locked --features sim --lib --bin pdtp-sim --test swarm_goals --test sim_program -- -D warnings
cargo test --locked --profile sim --features sim --bin pdtp-sim --test sim_program --test swarm_goals -- --nocapture
