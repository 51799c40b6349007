#!/bin/bash
# Installs the Debian packages of the named lists, as root or through sudo.
#
#   deploy/install_packages.sh LIST...     for example: build run test
#
# LIST is deploy/packages/LIST.txt. Does nothing, and asks for no rights, when
# all of them are installed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/shell.sh
. "$here/shell.sh"

[ $# -gt 0 ] || fail "name at least one list of deploy/packages, such as: build run test."

wanted=()
for list in "$@"; do
  file=$here/packages/$list.txt
  [ -r "$file" ] || fail "there is no list named '$list' in deploy/packages."
  while read -r package _; do
    [ -z "$package" ] || wanted+=("$package")
  done < <(sed 's/#.*//' "$file")
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  fail "installs Debian packages, and this machine has no apt-get." \
    "Use Debian 12, the Dockerfile, or install by hand what deploy/packages names."
fi

declare -A installed=()
while read -r status package; do
  [ "$status" != installed ] || installed[$package]=yes
done < <(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null)

missing=()
for package in "${wanted[@]}"; do
  if [ -z "${installed[$package]:-}" ]; then
    missing+=("$package")
    installed[$package]=soon
  fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null ||
    fail "needs root to install packages, and there is no sudo. As root, run:" \
      "apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  sudo true ||
    fail "needs root to install packages, and sudo refused. As root, run:" \
      "apt-get update && apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi

# Waits for another apt to finish instead of failing on its lock, and does not
# read what is meant for the calling script.
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

update() {
  echo "Reading the list of Debian's packages."
  apt update >/dev/null ||
    fail "apt-get update failed. Check the network and /etc/apt/sources.list, then run this again."
}

# Prints the packages that apt does not know.
unknown() {
  for package in "${missing[@]}"; do
    apt-cache show --no-all-versions "$package" >/dev/null 2>&1 || echo "$package"
  done
}

[ -z "$(unknown)" ] || update
absent=$(unknown | tr '\n' ' ')
[ -z "$absent" ] ||
  fail "apt does not know: ${absent% }. Thresher builds on Debian 12 (bookworm);" \
    "this is $(. /etc/os-release 2>/dev/null && echo "${PRETTY_NAME:-another system}")."

echo "Installing ${#missing[@]} Debian packages and what they need: ${missing[*]}"
# An old list of packages names versions that are gone: read it anew, try once more.
if ! apt install -y --no-install-recommends "${missing[@]}"; then
  update
  apt install -y --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install these packages. Its messages above say why;" \
      "mend that, then run this again."
fi
