#!/bin/bash
# Builds the benchmarks and prints every table: tests/benchmark/run.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
deploy/install_packages.sh build benchmark run test
cmake --preset release -DTHRESHER_BUILD_TESTS=ON -DTHRESHER_BUILD_BENCHMARKS=ON >/dev/null
cmake --build build --target adjoint_benchmark evaluation_benchmark recovery_benchmark \
  sweep_benchmark service_benchmark
grep -m1 'model name' /proc/cpuinfo
build/tests/benchmark/adjoint_benchmark --benchmark_repetitions=7 \
  --benchmark_enable_random_interleaving=true --benchmark_report_aggregates_only=true
echo
build/tests/benchmark/evaluation_benchmark
echo
build/tests/benchmark/sweep_benchmark sweep
build/tests/benchmark/sweep_benchmark planted 5
for table in quality steps memory growth; do
  echo
  build/tests/benchmark/recovery_benchmark "$table"
done
echo
build/tests/benchmark/recovery_benchmark fixed_gates 20
for signs in positive mixed; do
  echo
  build/tests/benchmark/recovery_benchmark grid 2 "$signs"
  echo
  build/tests/benchmark/recovery_benchmark full_size 1 "$signs"
  echo
  build/tests/benchmark/recovery_benchmark phase_transition 4 "$signs"
done
echo
build/tests/benchmark/service_benchmark
