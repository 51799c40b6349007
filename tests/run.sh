#!/bin/bash
# Installs what is missing, builds, and runs the tests.
#
#   tests/run.sh [PRESET [CTEST ARGUMENT...]]
#
# PRESET is one of CMakePresets.json's test presets (default: release). Examples:
#   tests/run.sh                       everything
#   tests/run.sh core-only             the solver library, without gRPC
#   tests/run.sh release -R recovery   the tests whose name holds "recovery"
#   tests/run.sh tsan                  ThreadSanitizer on the core and the job queue
#
# Closes with ctest's summary and one line 'N passed, N failed'. Exits 0 when all
# tests passed.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=deploy/shell.sh
. "$repository/deploy/shell.sh"
cd "$repository"

preset=${1:-release}
case $preset in
  release) build=$repository/build ;;
  core-only | ci | asan | tsan) build=$repository/build-$preset ;;
  -* | *) fail "there is no test preset '$preset'. Take one of: release, core-only, ci, asan, tsan." ;;
esac

lists=(build run test)
case $preset in
  ci) lists+=(benchmark) ;;
  asan) lists+=(clang) ;;
esac
deploy/install_packages.sh "${lists[@]}"
leave_sudo "$repository" "$repository/tests/run.sh" "$@"
[ $# = 0 ] || shift
check_writable "$build"

# A test that wants promtool finds it on the PATH.
promtool=$(deploy/promtool.sh "$repository/build-tools")
PATH=$PATH:$(dirname "$promtool")
export PATH
configure=(cmake --preset "$preset")

heading "Configuring ($preset)"
if ! "${configure[@]}" >"$build/configure.log" 2>&1; then
  cat "$build/configure.log"
  fail "cmake could not configure $build; its messages stand above."
fi
tail -n 3 "$build/configure.log"

heading "Building ($preset)"
targets=(all)
if [ "$preset" = tsan ]; then
  # Only what is free of gRPC: a test's target bears the test's name.
  mapfile -t targets < <(ctest --preset tsan -N | sed -n 's/^ *Test *#[0-9]*: //p')
  [ ${#targets[@]} -gt 0 ] || fail "no test is labelled core or jobs."
fi
# All that is wrong, not only the first file.
cmake --build "$build" --target "${targets[@]}" -- -k 0 ||
  fail "the build failed; the compiler's messages stand above."

heading "Testing ($preset)"
log=$build/tests.log
status=0
ctest --preset "$preset" -j "$(nproc)" "$@" 2>&1 | tee "$log" || status=$?

# "95% tests passed, 1 tests failed out of 20"
read -r failed total < <(sed -n 's/^[0-9]*% tests passed, \([0-9]*\) tests failed out of \([0-9]*\).*/\1 \2/p' "$log" || true) ||
  fail "ctest ran no test."
skipped=$(grep -c '(Skipped)$' "$log" || true)
if [ "$skipped" -gt 0 ]; then
  echo "$((total - failed - skipped)) passed, $failed failed, $skipped skipped"
else
  echo "$((total - failed)) passed, $failed failed"
fi
exit "$status"
