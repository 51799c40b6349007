#!/bin/bash
# Prints the path of a promtool, which checks metrics, Prometheus configuration
# and alert rules.
#
#   deploy/promtool.sh DIRECTORY
#
# Takes the one on the PATH; else unpacks it from Debian's package `prometheus`
# into DIRECTORY. The package is not installed: that would set up a service that
# starts with the machine.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/shell.sh
. "$here/shell.sh"
[ $# = 1 ] || fail "name the folder to unpack promtool into."

if command -v promtool; then
  exit 0
fi
mkdir -p "$1"
directory=$(cd "$1" && pwd)
if [ -x "$directory/promtool" ]; then
  echo "$directory/promtool"
  exit 0
fi

scratch=$(mktemp -d "$directory/unpack.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
# apt's own user cannot write into a folder of root's.
options=(-q)
[ "$(id -u)" != 0 ] || options+=(-o APT::Sandbox::User=root)
download() {
  (cd "$scratch" && apt-get "${options[@]}" download prometheus) >"$scratch/log" 2>&1
}
if ! download; then
  # The list of packages may be old or empty; only root can read it anew.
  if [ "$(id -u)" = 0 ]; then apt-get -q update >/dev/null 2>&1 || true; fi
  download || fail "cannot download Debian's package 'prometheus', which holds promtool:" \
    "$(tail -n 1 "$scratch/log") Run 'apt-get update' as root, then this again."
fi
dpkg-deb -x "$scratch"/prometheus_*.deb "$scratch/root"
mv "$scratch/root/usr/bin/promtool" "$directory/promtool"
echo "$directory/promtool"
