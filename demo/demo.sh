#!/usr/bin/env bash
# One server and six C clients move a real directory among themselves, on this machine. `make demo` calls it.
#
#   demo/demo.sh [--keep]
#
# What is moved are files of the Rust toolchain: its libraries and part of its documentation; hundreds of MB, thousands
# of files. The server's uplink is limited ($DEMO_UPLINK), so that there is something to gain by sharing, as there is
# with real uplinks. At the end every copy is compared with the original by sha256sum; the exit code says the result.
#
# Needs what `make` builds: target/release/pdtpd, and the example `swarm`, linked to libpdtp.so.
set -euo pipefail
cd "$(dirname "$0")/.."

UPLINK=${DEMO_UPLINK:-50M}   # bytes a second that the server sends
SWARM=4                       # clients in one process
ALONE=2                       # clients that are processes of their own
PDTPD=${PDTPD:-target/release/pdtpd}
EXAMPLES=${EXAMPLES:-build/examples}
MIN_MB=300 MAX_MB=600 MIN_FILES=3000

say() { printf '%s\n' "$*"; }
die() { printf 'demo: %s\n' "$*" >&2; exit 1; }

for program in "$PDTPD" "$EXAMPLES/swarm"; do
  [ -x "$program" ] || die "$program is missing; run \`make\` first"
done

keep=
[ "${1:-}" = --keep ] && keep=1
work=$(mktemp -d "${TMPDIR:-/tmp}/pdtp-demo.XXXXXX")
pids=()
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || :; done
  wait 2>/dev/null || :
  if [ -n "$keep" ]; then say "kept: $work"; else rm -rf "$work"; fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# ---------------------------------------------------------------------------------------------- what is served
mkdir "$work/served"
sysroot=$(rustc --print sysroot)
candidates=("$sysroot"/lib/rustlib/*/lib)
for name in book reference cargo rust-by-example alloc std; do candidates+=("$sysroot/share/doc/rust/html/$name"); done
# Toolchains without documentation: the sources that cargo fetched for `make`.
candidates+=("${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/*)
megabytes=0 files=0
for directory in "${candidates[@]}"; do
  [ -d "$directory" ] || continue
  [ "$megabytes" -ge $MIN_MB ] && [ "$files" -ge $MIN_FILES ] && break
  size=$(du -sm "$directory" | cut -f1)
  [ $((megabytes + size)) -gt $MAX_MB ] && continue
  # Names under which it is found again: lib-of-rustlib, html-std, …
  name=$(basename "$(dirname "$directory")")-$(basename "$directory")
  # Symbolic links are followed: what is compared later is content.
  cp -RL "$directory" "$work/served/$name"
  megabytes=$((megabytes + size)) files=$((files + $(find "$directory" -type f | wc -l)))
done
[ "$files" -gt 0 ] || die "found nothing to serve in $sysroot"
bytes=$(find "$work/served" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%.0f", sum }')
files=$(find "$work/served" -type f | wc -l)
(cd "$work/served" && find . -type f -print0 | sort -z | xargs -0 sha256sum) > "$work/sums"
say "serving $files files, $((bytes / 1000000)) MB from the Rust toolchain, at most ${UPLINK}iB/s"

# -------------------------------------------------------------------------------------------------- the server
"$PDTPD" serve "$work/served" --hidden --listen 127.0.0.1:0 --limit-up "$UPLINK" > "$work/pdtpd.out" 2> "$work/pdtpd.err" &
pids+=($!)
uri=
for _ in $(seq 200); do
  uri=$(grep -o -m1 'pdtp://[^ ]*' "$work/pdtpd.out" || :)
  [ -n "$uri" ] && break
  kill -0 "${pids[0]}" 2>/dev/null || die "pdtpd ended: $(cat "$work/pdtpd.err")"
  sleep 0.05
done
[ -n "$uri" ] || die "pdtpd printed no URI"
say "pdtpd  $uri"

# ------------------------------------------------------------------------------------------------- the clients
# All start together, so that they have something to give each other.
now() { date +%s%N; }
begin=$(now)
mkdir "$work/copies"
clients=() names=()
start() { # NAME CLIENTS
  "$EXAMPLES/swarm" -n "$2" "$uri" "$work/copies/$1" > "$work/$1.out" 2> "$work/$1.err" &
  clients+=($!) pids+=($!) names+=("$1")
}
start together $SWARM
for number in $(seq $ALONE); do start "alone$number" 1; done
say "$((SWARM + ALONE)) C clients: $SWARM in one process, $ALONE in processes of their own; all linked to libpdtp.so"

failed=
for index in "${!clients[@]}"; do
  wait "${clients[index]}" || { failed=1; say "${names[index]} failed:"; cat "$work/${names[index]}.err"; }
done
milliseconds=$((($(now) - begin) / 1000000))
[ -z "$failed" ] || die "a client failed"

# ---------------------------------------------------------------------------------------------- is it all right?
say "comparing all copies with the original by sha256sum"
for copy in "$work"/copies/*/*/; do
  (cd "$copy" && sha256sum --check --quiet --strict "$work/sums" 2>&1) || { failed=1; say "WRONG: $copy"; }
  found=$(find "$copy" -type f | wc -l)
  [ "$found" -eq "$files" ] || { failed=1; say "WRONG: $copy has $found files, not $files"; }
done
copies=$(find "$work/copies" -mindepth 2 -maxdepth 2 -type d | wc -l)
[ "$copies" -eq $((SWARM + ALONE)) ] || { failed=1; say "WRONG: $copies copies, not $((SWARM + ALONE))"; }

# ------------------------------------------------------------------------------------------------- what it took
printf '\n%-12s %14s %14s\n' client 'origin, MiB' 'peers, MiB'
for name in "${names[@]}"; do
  # Rows of the table that swarm prints: number, origin, from each other client …, sum.
  awk -v name="$name" '$1 ~ /^[0-9]+$/ && NF >= 4 && $2 ~ /^[0-9.]+$/ { print name "/" $1, $2, $NF - $2 }' "$work/$name.out"
done | awk -v bytes="$bytes" -v ms="$milliseconds" -v uplink="$UPLINK" '
  { printf "%-12s %14.1f %14.1f\n", $1, $2, $3; origin += $2; peers += $3; clients++ }
  END {
    file = bytes / 1048576; time = ms / 1000
    printf "%-12s %14.1f %14.1f\n\n", "sum", origin, peers
    printf "%d copies of %.0f MiB in %.1f s, %.0f MiB/s over all\n", clients, file, time, clients * file / time
    printf "origin bytes / file bytes: %.2f (each for itself: %d.00)\n", origin / file, clients
    exit !(clients > 0 && peers > 0)
  }' || { failed=1; say "no client received anything from another one"; }

[ -z "$failed" ] || die "FAILED"
say "all copies are right"
