#!/usr/bin/env bash
# Runs the tests with cargo-nextest where it is installed, else with cargo test. Arguments go to either.
set -eu
if cargo nextest --version >/dev/null 2>&1; then
  exec cargo nextest run --no-fail-fast "$@"
fi
exec cargo test --no-fail-fast "$@"
