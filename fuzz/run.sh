#!/usr/bin/env bash
# Runs one fuzz target with the nightly toolchain and nothing else installed:
#   fuzz/run.sh control -max_total_time=60
# Arguments after the name go to libFuzzer. What it finds new is kept in fuzz/corpus/, crashes in fuzz/artifacts/.
set -eu
cd "$(dirname "$0")"
target=${1:?which target? one of: $(basename -s .rs fuzz_targets/*.rs | tr '\n' ' ')}
shift

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
# What cargo-fuzz would pass: coverage for libFuzzer, the address sanitizer, overflow checks.
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions -Coverflow-checks
  -Ccodegen-units=1'
RUSTFLAGS=$flags cargo +nightly build --release --target "$host" --bin "$target"

mkdir -p "corpus/$target" "artifacts/$target"
exec "target/$host/release/$target" -artifact_prefix="artifacts/$target/" "$@" "corpus/$target" "seeds/$target"
