#!/bin/bash
# From a clean clone to a recovered network: installs what is missing, builds,
# starts a server of its own, recovers a planted problem and then a network for
# real pictures, and stops the server again.
#
#   ./deploy/quickstart.sh
#
# As root, or as a user who may use sudo. A second run takes seconds.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/shell.sh
. "$here/shell.sh"
repository=$(cd "$here/.." && pwd)
[ $# = 0 ] || fail "takes no arguments. To run the server yourself, see README.md."
build=$repository/build

if [ -z "${THRESHER_LEFT_SUDO:-}" ]; then
  heading "1. Packages"
  "$here/install_packages.sh" build run demo
  echo "All packages are installed."
fi
leave_sudo "$repository" "$here/quickstart.sh"
check_writable "$build"

heading "2. Build"
cd "$repository"
if ! cmake --preset release -DTHRESHER_BUILD_TESTS=OFF >"$build/configure.log" 2>&1; then
  tail -n 30 "$build/configure.log"
  fail "cmake could not configure build/. If that folder is from another machine or path, remove it and run this again."
fi
# One moving line on a terminal; elsewhere only what went wrong.
if [ -t 1 ]; then
  cmake --build --preset release --target thresherd thresher ||
    fail "the build failed; the compiler's messages stand above. If it ran out of memory, run 'cmake --build build -j1', then this again."
else
  cmake --build --preset release --target thresherd thresher >"$build/build.log" 2>&1 || {
    tail -n 60 "$build/build.log"
    fail "the build failed; the compiler's messages stand above, all of them in build/build.log."
  }
fi
thresherd=$build/server/thresherd
thresher=$build/client/thresher
"$thresherd" --version

heading "3. Server"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/thresher-quickstart.XXXXXX") ||
  fail "cannot make a folder under ${TMPDIR:-/tmp}. Set TMPDIR to a folder that you can write, then run this again."
server=''
cleanup() {
  if [ -n "$server" ] && kill -TERM "$server" 2>/dev/null; then
    wait "$server" 2>/dev/null || true
  fi
  rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Port 0: the server takes free ones and says which.
"$thresherd" --listen_address 127.0.0.1:0 --metrics_address 127.0.0.1:0 --data_dir "$scratch/data" \
  >"$scratch/thresherd.out" 2>"$scratch/thresherd.log" &
server=$!
address=''
for _ in $(seq 300); do
  address=$(sed -n 's/^listening on //p' "$scratch/thresherd.out")
  page=$(sed -n 's/^metrics on //p' "$scratch/thresherd.out")
  if [ -n "$address" ] && [ -n "$page" ] && "$thresher" --server "$address" health >/dev/null 2>&1; then
    break
  fi
  kill -0 "$server" 2>/dev/null || break
  sleep 0.1
done
if ! "$thresher" --server "$address" health >/dev/null 2>&1; then
  tail -n 20 "$scratch/thresherd.log"
  fail "thresherd did not start; its log stands above."
fi
echo "thresherd listens on $address and keeps its data in $scratch/data."

# Where no terminal shows the progress in one place: of its lines ever fewer, and the last.
thin_progress() {
  local line held='' count=0 next_shown=1
  while IFS= read -r line; do
    if [[ $line =~ \#[0-9]+\ +iteration\  ]]; then
      count=$((count + 1))
      held=$line
      [ $count = $next_shown ] || continue
      next_shown=$((count * 3 / 2 + 1))
    elif [ -n "$held" ]; then
      printf '%s\n' "$held"
    fi
    held=''
    printf '%s\n' "$line"
  done
}

# Runs the client against our server, shows the command, and ends with its failure.
thresher() {
  printf '\n%s$ thresher %s%s\n' "$bold" "$*" "$plain"
  local code=0
  if [ -t 1 ]; then
    "$thresher" --server "$address" "$@" || code=$?
  else
    "$thresher" --server "$address" "$@" | thin_progress || code=${PIPESTATUS[0]}
  fi
  [ "$code" = 0 ] || {
    echo "The server's last lines:" >&2
    tail -n 10 "$scratch/thresherd.log" >&2
    fail "'thresher $*' ended with exit code $code; its message stands above."
  }
}

heading "4. A planted problem: the server makes up a sparse network and we find it again"
thresher datasets plant --id planted --num_samples 20000 --num_inputs 200 --hidden_width 50 \
  --nonzeros 100 --seed 1
thresher recover --dataset planted --hidden_width 50 --nonzeros 100 --seed 1 --watch

heading "5. Real pictures: T-shirts (class 0) against trousers (class 1)"
pictures=/usr/share/datasets/fashion-mnist
[ -r "$pictures/train-images-idx3-ubyte.gz" ] ||
  fail "$pictures/train-images-idx3-ubyte.gz is missing. Run: apt-get install --reinstall dataset-fashion-mnist"
thresher datasets upload --id fashion --classes 0,1 \
  --inputs "$pictures/train-images-idx3-ubyte.gz" --targets "$pictures/train-labels-idx1-ubyte.gz"
thresher recover --dataset fashion --hidden_width 20 --nonzeros 100 --seed 1 --watch

heading "6. What Prometheus reads on $page"
# Without curl: HTTP is few enough words.
read_page() {
  local host=${page#http://}
  host=${host%%/*}
  exec 3<>"/dev/tcp/${host%:*}/${host##*:}"
  printf 'GET /metrics HTTP/1.0\r\nHost: %s\r\n\r\n' "$host" >&3
  tr -d '\r' <&3
}
metrics=$(read_page 2>/dev/null) || fail "the server gives no metrics on $page."
grep -E '^thresher_(build_info|jobs_total|iterations_total|gradient_flops_total|checkpoints_total|workers|resident_memory_peak_bytes|rpcs_total\{[^}]*(CreateJob|UploadDataset))' \
  <<<"$metrics" || fail "$page holds no thresher_ metrics."

heading "7. Done"
kill -TERM "$server"
code=0
wait "$server" || code=$?
server=''
[ "$code" = 0 ] || {
  tail -n 20 "$scratch/thresherd.log"
  fail "thresherd ended with $code instead of 0 when it was asked to stop; its log stands above."
}
cat <<TEXT
The server has stopped and its data is gone. To run one of your own:

  ${thresherd#"$repository"/} --data_dir ./thresher-data
  ${thresher#"$repository"/} health

and to see every flag: ${thresherd#"$repository"/} --help
TEXT
