#!/bin/bash
# Builds the container image of the Dockerfile without a Docker engine, with
# buildah, on a base image made from Debian's packages.
#
#   deploy/build_image_without_docker.sh [--check] [ARCHIVE]
#
# --check   start the image, ask whether it is healthy, stop it with SIGTERM
# ARCHIVE   also write the image there, for `docker load` or `podman load`
#
# Needs root. Keeps its files in build-image/ and leaves the engine's own store
# alone. The base is made by mmdebstrap instead of pulled, and is not slimmed, so
# the image is some 60 MB larger than one that is built on debian:bookworm-slim.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/shell.sh
. "$here/shell.sh"
repository=$(cd "$here/.." && pwd)

check=no
if [ "${1:-}" = --check ]; then
  check=yes
  shift
fi
archive=${1:-}
[ "$(id -u)" = 0 ] || fail "needs root: run it with sudo."
"$here/install_packages.sh" image

work=$repository/build-image
mkdir -p "$work/run"
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
buildah() { command buildah --root "$work/store" --runroot "$work/run" "$@"; }

# The base, once: the same Debian release as this machine's package sources.
base=docker.io/library/debian:bookworm-slim
if ! buildah inspect --type image "$base" >/dev/null 2>&1; then
  heading "Base image"
  mmdebstrap --variant=minbase --quiet bookworm "$work/base.tar" ||
    fail "mmdebstrap could not make a base image; its messages stand above."
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/base.tar" / >/dev/null
  buildah config --cmd /bin/bash \
    --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  buildah commit --quiet --rm "$container" "$base" >/dev/null
  rm -f "$work/base.tar"
fi

# The compiler cache of this machine serves the build stage too: with warnings as
# errors its commands are those of the preset `ci`.
options=(--build-arg THRESHER_WERROR=ON)
if command -v ccache >/dev/null; then
  cache=$(ccache --get-config cache_dir)
  mkdir -p "$cache"
  printf '%s\n' 'cache_dir = /ccache' 'base_dir = /src' 'hash_dir = false' >"$work/ccache.conf"
  options+=(--volume "$cache:/ccache" --volume "$work/ccache.conf:/etc/ccache.conf:ro")
fi

heading "Image"
# The Docker format: OCI's knows no HEALTHCHECK.
buildah build --pull-never --layers=false --format docker --tag localhost/thresher \
  "${options[@]}" --build-arg THRESHER_COMMIT="$(git -C "$repository" rev-parse --short HEAD 2>/dev/null || true)" \
  "$repository" || fail "buildah could not build the Dockerfile; its messages stand above."
buildah images --format '{{.Name}} {{.Size}}' localhost/thresher

if [ -n "$archive" ]; then
  buildah push --quiet localhost/thresher "docker-archive:$archive:thresher:latest"
  echo "Wrote $archive; load it with: docker load --input $archive"
fi
[ $check = yes ] || exit 0

heading "Running it"
container=$(buildah from --pull-never localhost/thresher)
server=''
cleanup() {
  [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
  buildah umount "$container" >/dev/null
  buildah rm "$container" >/dev/null
}
trap cleanup EXIT
root=$(buildah mount "$container")

# Runs a command in the image as its user, in place of this shell.
inside() {
  # shellcheck disable=SC2016
  exec unshare --mount bash -euc '
    root=$1; shift
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    exec env -i PATH=/usr/local/bin:/usr/bin:/bin /usr/sbin/chroot --userspec=65532:65532 "$root" "$@"
  ' inside "$root" "$@"
}

(inside thresherd --version)
# Port 0: the server takes free ones and says which.
(inside thresherd --listen_address 127.0.0.1:0 --metrics_address 127.0.0.1:0 --data_dir /var/lib/thresher) \
  >"$work/thresherd.out" 2>"$work/thresherd.log" &
server=$!
address=''
for _ in $(seq 100); do
  address=$(sed -n 's/^listening on //p' "$work/thresherd.out")
  [ -z "$address" ] || break
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
(inside thresher --server "$address" health) || {
  cat "$work/thresherd.log"
  fail "thresherd in the image is not healthy; its log stands above."
}
kill -TERM "$server"
code=0
wait "$server" || code=$?
server=''
[ "$code" = 0 ] || fail "thresherd in the image ended with $code on SIGTERM instead of 0."
echo "It stopped on SIGTERM with exit code 0."
