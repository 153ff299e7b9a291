#!/usr/bin/env bash
# Tidings under faults: starts a Cassandra cluster that clients reach through proxies, runs crates/tidings/tests/it/nemesis on
# it, and deletes it. Each fault once; for long: NEMESIS_SECONDS=600 scripts/fleet/nemesis.sh, again the same by NEMESIS_SEED.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
export CASSANDRA_RUN=$target/cassandra-nemesis CASSANDRA_FRONT=1
scripts/interop/venv.sh "$target/interop"
export PATH=$target/interop/venv/bin:$PATH

cargo test --package tidings-server --package tidings --package tidings-sim --locked --test it --no-run
trap 'scripts/fleet/cassandra.sh wipe' EXIT
scripts/fleet/cassandra.sh start
cargo test --package tidings-server --package tidings --package tidings-sim --locked --test it -- --include-ignored --nocapture nemesis::runs
