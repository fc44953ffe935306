#!/usr/bin/env bash
# Installs what the checks need and the machine lacks. Arguments: programs, each mapped to its Debian package below.
# Without root or apt it says what is missing; the tests that need it then skip, loudly.
set -u

# With --packages the arguments are names of pkg-config.
is_there() {
  case $1 in
    # The runtime of the sanitizers is a package of its own.
    clang-rt) echo 'int main(void) { return 0; }' | clang -fsanitize=address -x c - -o /dev/null 2>/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}
if [ "${1:-}" = --packages ]; then
  shift
  is_there() { pkg-config --exists "$1"; }
fi

declare -A package=(
  [cc]=gcc [c++]=g++ [curl]=curl [openssl]=openssl [pkg-config]=pkg-config [python3]=python3 [nm]=binutils
  [clang]=clang [valgrind]=valgrind [ffmpeg]=ffmpeg [nginx]=nginx-light [ip]=iproute2 [nft]=nftables [ld.lld]=lld
  [xmllint]=libxml2-utils
  [abidiff]=abigail-tools [strings]=binutils [xz]=xz-utils [systemd-analyze]=systemd
  [mpv]=mpv [cvlc]='vlc-bin vlc-plugin-base' [runuser]=util-linux
  [gst-launch-1.0]='gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-libav'
  [clang-rt]=libclang-rt-dev [glib-2.0]=libglib2.0-dev [Qt6Core]=qt6-base-dev
)

missing=()
for program in "$@"; do
  # One program may take several packages.
  # shellcheck disable=SC2206
  is_there "$program" || missing+=(${package[$program]:-$program})
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 && exit 0
  apt-get update >/dev/null 2>&1
  apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null || echo "could not install: ${missing[*]}"
else
  echo "missing, and this user cannot install them: ${missing[*]}"
fi
exit 0
