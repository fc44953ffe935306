#!/usr/bin/env bash
# What `make dist VERSION` does: dist/pdtp-VERSION.tar.xz, the committed tree and all crates it needs, so that it builds
# without a network. The same commit gives the same bytes.
set -eu
cd "$(dirname "$0")/.."
name=pdtp-$1

git rev-parse --git-dir >/dev/null 2>&1 || { echo 'make dist: needs a git checkout' >&2; exit 1; }
git diff --quiet HEAD || echo 'make dist: what is not committed is left out' >&2
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

mkdir -p dist
work=$(mktemp -d "$PWD/dist/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
git archive --prefix="$name/" HEAD | tar -x -C "$work"
cd "$work/$name"

# Cargo looks for a configuration from here upwards.
mkdir -p .cargo
cargo vendor --locked --quiet vendor
cat >.cargo/config.toml <<'END'
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
END
# Import libraries of Windows, 100 MB of them. Cargo looks at what it compiles only.
find vendor/win* \( -name '*.a' -o -name '*.lib' \) -delete

cd ..
tar --sort=name --owner=0 --group=0 --numeric-owner --mode=u+rw,go+r-w --mtime="@$SOURCE_DATE_EPOCH" -c "$name" |
  xz -T2 -1 >"../$name.tar.xz"
cd ../..
ls -l "dist/$name.tar.xz"
(cd dist && sha256sum "$name.tar.xz")
