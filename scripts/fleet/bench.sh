#!/usr/bin/env bash
# `tidings bench cluster` on a Cassandra cluster and NATS of its own, which go when it ends. What follows is for the bench:
#   scripts/fleet/bench.sh --rounds 3 --seconds 10
set -euo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(realpath "$target")
export CASSANDRA_RUN=$target/cassandra-bench CASSANDRA_HEAP=${CASSANDRA_HEAP:-768m}
# Both compilers: this runs long enough to earn the second.
export CASSANDRA_JAVA=${CASSANDRA_JAVA:--XX:TieredStopAtLevel=4}
scripts/interop/venv.sh "$target/interop"

cargo build --release --package tidings
nats_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$target/interop/venv/bin/nats-server" --addr 127.0.0.1 --port "$nats_port" >/dev/null 2>&1 &
nats=$!
trap 'kill "$nats"; scripts/fleet/cassandra.sh wipe' EXIT
scripts/fleet/cassandra.sh start
"$target/release/tidings" bench cluster --cassandra "$(scripts/fleet/cassandra.sh contacts)" --nats "127.0.0.1:$nats_port" "$@"
