#!/bin/bash
# Checks the wire contract with buf: style (proto/buf.yaml), and, given a git
# revision, that nothing a released client relies on has changed since.
#
#   tests/proto_lint.sh [REVISION]
#
# buf comes from npm's package @bufbuild/buf, into build-tools/.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=deploy/shell.sh
. "$repository/deploy/shell.sh"
cd "$repository"

if ! command -v npm >/dev/null; then
  [ "${CI:-}" = true ] || fail "needs npm: deploy/install_packages.sh npm"
  deploy/install_packages.sh npm
fi
buf=$repository/build-tools/buf/node_modules/.bin/buf
if [ ! -x "$buf" ]; then
  mkdir -p build-tools/buf
  npm install --silent --no-audit --no-fund --no-save --prefix build-tools/buf @bufbuild/buf@1.75.0 ||
    fail "npm could not install @bufbuild/buf; its messages stand above."
fi

# buf resolves imports within one folder only, and google/rpc comes with a Debian
# package: lay both into one.
workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
lay_out() {
  mkdir -p "$1/google/rpc"
  cp /usr/share/gocode/src/github.com/gogo/googleapis/google/rpc/*.proto "$1/google/rpc"
}

cp -r proto "$workspace/now"
lay_out "$workspace/now"
cd "$workspace/now"
"$buf" lint --path thresher
"$buf" format --diff --exit-code --path thresher

if [ $# -gt 0 ]; then
  mkdir "$workspace/before"
  git -C "$repository" archive "$1" proto | tar -x -C "$workspace/before" --strip-components=1
  lay_out "$workspace/before"
  "$buf" build --path thresher -o "$workspace/now.binpb"
  (cd "$workspace/before" && "$buf" build --path thresher -o "$workspace/before.binpb")
  "$buf" breaking "$workspace/now.binpb" --against "$workspace/before.binpb" --config buf.yaml
fi
