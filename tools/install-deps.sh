#!/bin/sh
# Installs the Debian packages nibble builds from, if any is missing. Needs root or sudo only then.
set -eu
packages="g++ cmake ninja-build make pkg-config python3 libfmt-dev libcli11-dev nlohmann-json3-dev libexpected-dev libpcre2-dev libutf8proc-dev libedit-dev libgtest-dev libgmock-dev libbenchmark-dev"
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
command -v apt-get >/dev/null || { echo "nibble needs these Debian packages or their like:$missing" >&2; exit 1; }
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "missing packages:$missing; run as root: apt-get install$missing" >&2; exit 1; }
  sudo=sudo
fi
echo "installing:$missing" >&2
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
