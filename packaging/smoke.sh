#!/bin/sh
# What `make smoke` does: the programs and the library that `make` has built, together, over real sockets. For packagers
# who build on many machines: needs no network but 127.0.0.1, no privilege, and half a minute.
set -eu
cd "$(dirname "$0")/.."
out=${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release
pdtp=target/$out/pdtp pdtpd=target/$out/pdtpd examples=build/examples

dir=$(mktemp -d)
server=
end() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || :
  rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' INT TERM

mkdir -p "$dir/served/sub"
head -c 3000000 /dev/urandom >"$dir/served/file"
head -c 70000 /dev/urandom >"$dir/served/sub/other"

"$pdtpd" serve "$dir/served" --listen 127.0.0.1:0 --name 127.0.0.1 --json >"$dir/said" &
server=$!
tries=0
until uri=$(sed -n 's/.*"uris":\["\([^"]*\)".*/\1/p' "$dir/said") && [ -n "$uri" ]; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] && kill -0 "$server" || { echo "smoke: pdtpd does not start" >&2; exit 1; }
  sleep 0.1
done

step() { echo "smoke: $*"; }
step 'pdtp downloads a tree'
"$pdtp" get -q -r "$uri" -o "$dir/tree" && diff -r "$dir/served" "$dir/tree"
step 'a C program downloads a file'
"$examples/get" "${uri}file" "$dir/c" 2>/dev/null && cmp "$dir/served/file" "$dir/c"
step 'a C++ program downloads a file'
"$examples/get-cpp" "${uri}file" "$dir/cpp" 2>/dev/null && cmp "$dir/served/file" "$dir/cpp"
step 'a C program lists'
"$examples/ls" "$uri" >"$dir/list" && grep -q sub/ "$dir/list"
step 'three clients in one process share'
"$examples/swarm" -n 3 "$uri" "$dir/swarm" >/dev/null && diff -r "$dir/served" "$dir/swarm/3"
step 'all of it is as it should be'
