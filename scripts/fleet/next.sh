#!/usr/bin/env bash
# This version and the next one side by side: builds the server once more, as one whose formats and wire are a step ahead (the feature
# `next-format`), starts Cassandra, and has crates/tidings/tests/it/cassandra/deploy/next.rs deploy three nodes to it and back.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
export CASSANDRA_RUN=$target/cassandra-next NEXT_SERVER=$target/next/debug/tidings
scripts/interop/venv.sh "$target/interop"
export PATH=$target/interop/venv/bin:$PATH

# In a folder of its own: the tests' server is of this version.
cargo build --workspace --locked --features tidings/next-format --bin tidings --target-dir "$target/next"
cargo test --package tidings-server --package tidings --package tidings-sim --locked --test it --no-run
trap 'scripts/fleet/cassandra.sh wipe' EXIT
scripts/fleet/cassandra.sh start
cargo test --package tidings-server --package tidings --package tidings-sim --locked --test it \
  -- --include-ignored --nocapture cassandra::deploy::next
