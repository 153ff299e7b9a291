#!/usr/bin/env bash
# Runs every suite, also after one has failed, and closes with one line of sums. Use it as `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
logs=$target/test-logs
mkdir -p "$logs"
passed=0 failed=0 skipped=0

# run NAME COMMAND…: one suite; its last numbers are added to the sums. One that fails without a number counts as one.
run() {
  local name=$1 log start=$SECONDS status before=$failed numbers
  shift
  log=$logs/${name// /-}.log
  printf '\n==> %s\n' "$name"
  NO_COLOR=1 "$@" 2>&1 | tee "$log"
  status=${PIPESTATUS[0]}
  # "test result: ok. 8 passed; 0 failed; 1 ignored" (cargo), "Tests  1 failed | 8 passed | 2 skipped (11)" (vitest)
  numbers=$(awk '
    /^test result: / || /^ *Tests +[0-9]/ {
      for (i = 2; i <= NF; i++) {
        if ($i ~ /^passed/) passed += $(i - 1)
        if ($i ~ /^failed/) failed += $(i - 1)
        if ($i ~ /^(ignored|skipped)/) skipped += $(i - 1)
      }
    }
    END { print passed + 0, failed + 0, skipped + 0 }' "$log")
  read -r p f s <<<"$numbers"
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  [ "$status" = 0 ] || [ "$failed" -gt "$before" ] || failed=$((failed + 1))
  printf -- '--- %s: %s, %d s\n' "$name" "$([ "$status" = 0 ] && echo passed || echo FAILED)" $((SECONDS - start))
}

# Servers of others that the Rust tests start.
scripts/interop/venv.sh "$target/interop" || exit 1
export PATH=$(realpath "$target")/interop/venv/bin:$PATH

# What needs Cassandra or S3 has suites of its own below, one test at a time: some stop the nodes.
run "Rust" cargo test --workspace --locked --no-fail-fast -- --skip cassandra:: --skip s3:: --skip nemesis::runs
export S3_RUN=$PWD/$target/s3-tests
[ "${target#/}" = "$target" ] || S3_RUN=$target/s3-tests
run "S3, start" scripts/fleet/s3.sh start
trap 'scripts/fleet/s3.sh wipe' EXIT
run "S3" cargo test --package tidings-server --package tidings --package tidings-sim --locked --no-fail-fast --lib --test it \
  -- --include-ignored s3::
scripts/fleet/s3.sh wipe
export CASSANDRA_RUN=$PWD/$target/cassandra-tests
[ "${target#/}" = "$target" ] || CASSANDRA_RUN=$target/cassandra-tests
run "Cassandra, start" scripts/fleet/cassandra.sh start
trap 'scripts/fleet/cassandra.sh wipe' EXIT
run "Cassandra" cargo test --package tidings-server --package tidings --package tidings-sim --locked --no-fail-fast --lib --test it \
  -- --include-ignored --test-threads 1 --skip cassandra::deploy::next cassandra::
scripts/fleet/cassandra.sh wipe
trap - EXIT
run "a fleet under faults" scripts/fleet/nemesis.sh
# The server for what follows was built with the Rust tests.
run "MQTT clients of others" scripts/interop/mqtt.sh "$target/debug/tidings"
run "WebSocket, by Autobahn" scripts/interop/autobahn.sh "$target/debug/examples/echo"
run "calls made up from the document" scripts/interop/openapi.sh "$target/debug/tidings"
if [ -f web/index.html ]; then
  run "page, units" npm --prefix web test
  # The page runs against the server that was just built.
  TIDINGS_BIN=$(realpath "$target")/debug/tidings
  CHROMIUM=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
  export TIDINGS_BIN CHROMIUM
  run "page, in a browser" npm --prefix web run e2e
fi

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" = 0 ]
