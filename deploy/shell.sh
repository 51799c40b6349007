# shellcheck shell=bash
# How the scripts of this project speak and fail. Sourced, not run:
#   . "$(dirname "$0")/shell.sh"

if [ -t 1 ]; then
  bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
  bold='' plain=''
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }

# Ends the script with one sentence: what failed, and what to do about it.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Under `sudo`, in a checkout that belongs to the calling user, goes on as that
# user, so that no file of root's is left in it. Call it once root's work is done.
#   leave_sudo REPOSITORY "$0" "$@"
leave_sudo() {
  repository=$1
  shift
  if [ "$(id -u)" = 0 ] && [ "${SUDO_UID:-0}" != 0 ] &&
    [ "$(stat -c %u "$repository")" = "$SUDO_UID" ]; then
    exec sudo -H -u "#$SUDO_UID" -- env THRESHER_LEFT_SUDO=yes "$@"
  fi
}

# Says where the build goes; fails where it cannot be written.
#   check_writable DIRECTORY
check_writable() {
  mkdir -p "$1" 2>/dev/null
  if [ ! -w "$1" ] || { [ -e "$1/CMakeCache.txt" ] && [ ! -w "$1/CMakeCache.txt" ]; }; then
    fail "cannot write to $1, which belongs to $(stat -c %U "$1" 2>/dev/null || echo 'nobody yet')." \
      "Remove that folder, or run this as its owner."
  fi
}
