#!/bin/sh
# Asks Prometheus's own checker about the metrics page.
#
#   promtool_check_metrics.sh METRICS_TEST_PROGRAM
set -eu
if ! command -v promtool >/dev/null; then
  echo "skipped: promtool is not on the PATH; see deploy/promtool.sh"
  exit 77
fi
page=$(mktemp)
trap 'rm -f "$page"' EXIT
THRESHER_METRICS_PAGE=$page "$1" --gtest_filter='*WritesItselfWhenAsked' >/dev/null
test -s "$page"
complaints=$(promtool check metrics <"$page" 2>&1) || {
  echo "$complaints"
  exit 1
}
# Advice comes with exit status 0 in some versions.
if [ -n "$complaints" ]; then
  echo "$complaints"
  exit 1
fi
