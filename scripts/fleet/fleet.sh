#!/usr/bin/env bash
# A whole fleet on this machine, to try it and to test against: three Cassandra nodes, NATS, a store that speaks S3, and
# Tidings nodes, all on loopback addresses.
#
#   fleet.sh start BINARY       starts what is not running yet, and says where it is
#   fleet.sh stop               stops all of it; data stay, `start` goes on with them
#   fleet.sh wipe               ends all of it at once and deletes its data
#   fleet.sh status             a line a part
#   fleet.sh kill|pause|resume I...   Tidings nodes: SIGKILL, SIGSTOP, SIGCONT; `start` brings the killed ones back
#
# Settings of the environment:
#   FLEET_RUN     data, settings and logs of all parts; a folder is a fleet of its own     [target/fleet]
#   FLEET_NODES   how many Tidings nodes                                                   [3]
#   FLEET_PORT    node I listens on this port + I, and for other nodes on this + 100 + I   [8080]
#   FLEET_NATS    the port of NATS                                                         [4222]
#   and those of cassandra.sh
#
# Needs what cassandra.sh and s3.sh need, and Python for NATS (scripts/install.sh fleet).
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
run=${FLEET_RUN:-$target/fleet}
nodes=${FLEET_NODES:-3}
port=${FLEET_PORT:-8080}
nats_port=${FLEET_NATS:-4222}
patience_s=60
export CASSANDRA_RUN=${CASSANDRA_RUN:-$run/cassandra}

cassandra() { "$here/scripts/fleet/cassandra.sh" "$@"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
listens() { timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }

# The process id of part $1, if it lives: each has the path of its settings in its command. A number that another program has
# got since does not count.
process() {
  local id
  id=$(cat "$run/$1/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$id/cmdline" | grep --quiet --fixed-strings "$run/$1/settings" && echo "$id"
}

# Starts part $1; what follows is its command, which must name its settings.
launch() {
  local part=$1
  shift
  setsid nohup "$@" >>"$run/$part/log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$run/$part/pid"
}

# Waits until part $1 does what follows.
await() {
  local part=$1 deadline=$((SECONDS + patience_s))
  shift
  until "$@"; do
    # In the moment in which a program becomes another one it has no command.
    process "$part" >/dev/null || { sleep 0.5; process "$part" >/dev/null; } || { tail -5 "$run/$part/log" >&2; fail "$part died; see $run/$part/log"; }
    [ $SECONDS -lt $deadline ] || fail "$part is not ready after $patience_s s; see $run/$part/log"
    sleep 0.1
  done
}

# Ends part $1 by signal $2; killed if it does not go.
end() {
  local id
  id=$(process "$1") || return 0
  kill "-$2" "$id" && kill -CONT "$id" 2>/dev/null || true
  for _ in {1..300}; do process "$1" >/dev/null || break; sleep 0.1; done
  if id=$(process "$1"); then kill -KILL "$id"; fi
  rm -f "$run/$1/pid"
}

# --- the parts ------------------------------------------------------------------------------------------------------

start_nats() {
  process nats >/dev/null && return
  listens "$nats_port" && fail "somebody listens on port $nats_port already: choose another with FLEET_NATS"
  "$here/scripts/interop/venv.sh" "$target/interop"
  mkdir -p "$run/nats"
  printf 'listen: 127.0.0.1:%s\nmax_payload: 1MB\n' "$nats_port" >"$run/nats/settings"
  launch nats "$target/interop/venv/bin/nats-server" --config "$run/nats/settings"
  await nats listens "$nats_port"
}

s3() { S3_RUN=$run/s3 "$here/scripts/fleet/s3.sh" "$@"; }

# What node $1 is told. Nodes are alike but for their address.
configure() {
  local contacts
  contacts=$(cassandra contacts)
  mkdir -p "$run/tidings$1"
  cat >"$run/tidings$1/settings" <<TOML
listen = "127.0.0.1:$((port + $1))"
data = "$run/tidings$1/data"
store = "cassandra"
blobs = "s3"
admin_token = "$(cat "$run/admin.token")"

[cassandra]
nodes = ["${contacts//,/\", \"}"]

[s3]
endpoint = "$(s3 endpoint)"
allow_http = true
bucket = "tidings"
access_key_id = "tidings"
secret_access_key = "tidings-secret"

[archive]
after_months = 12
TOML
  [ "$nodes" -gt 1 ] || return 0
  sed -i '/^store/a bus = "nats"' "$run/tidings$1/settings"
  cat >>"$run/tidings$1/settings" <<TOML

[nats]
servers = ["127.0.0.1:$nats_port"]

[node]
name = "node-$1"
public_url = "http://127.0.0.1:$((port + $1))"
listen = "127.0.0.1:$((port + 100 + $1))"
TOML
}

is_ready() { curl --silent --fail --max-time 2 "http://127.0.0.1:$((port + $1))/readyz" >/dev/null; }

start_tidings() {
  local node part binary=$1
  # One operators' token for the whole fleet.
  [ -e "$run/admin.token" ] || (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$run/admin.token")
  for ((node = 1; node <= nodes; node++)); do
    part=tidings$node
    process "$part" >/dev/null && continue
    listens $((port + node)) && fail "somebody listens on port $((port + node)) already: choose others with FLEET_PORT"
    configure "$node"
    [ "$node" != 1 ] || "$binary" schema apply --config "$run/$part/settings"
    launch "$part" "$binary" serve --config "$run/$part/settings"
  done
  for ((node = 1; node <= nodes; node++)); do await "tidings$node" is_ready "$node"; done
}

# --- all of it ------------------------------------------------------------------------------------------------------

tidings_nodes() {
  local folder
  for folder in "$run"/tidings[0-9]*; do
    [ -d "$folder" ] && echo "${folder##*/}"
  done
  return 0
}

start() {
  local binary
  binary=$(realpath "${1:?usage: fleet.sh start BINARY}") || fail "there is no $1: build it first"
  mkdir -p "$run"
  # One start at a time.
  exec 8>"$run/lock"
  flock 8
  cassandra start 3
  start_nats
  s3 start
  start_tidings "$binary"
  printf '\nThe fleet is up; data, settings and logs are in %s\n' "$run"
  status
}

# Tidings first, which has something to store.
stop() {
  local part signal=$1
  for part in $(tidings_nodes); do end "$part" "$signal" & done
  wait
  end nats "$signal"
}

# Where part $1 listens.
address() { sed -n 's/^listen[ =:"]*\([0-9.:]*\).*/\1/p' "$run/$1/settings"; }

status() {
  local part id scheme
  for part in $(tidings_nodes) nats; do
    scheme=$([ "$part" = nats ] && echo nats || echo http)
    if id=$(process "$part"); then
      printf '%s on %s://%s: process %s, %s MB\n' "$part" "$scheme" "$(address "$part")" "$id" \
        "$(awk '/VmRSS/ { print int($2 / 1024) }' "/proc/$id/status")"
    else
      printf '%s: down\n' "$part"
    fi
  done
  cassandra status | sed 's/^/Cassandra, /'
}

signal_nodes() {
  local signal=$1 node id
  shift
  [ $# -gt 0 ] || fail "which nodes? for example: fleet.sh kill 2"
  for node in "$@"; do
    id=$(process "tidings$node") || fail "Tidings node $node does not run"
    kill "-$signal" "$id"
  done
}

command=${1:-help}
shift || true
case $command in
  start) start "$@" ;;
  stop) stop TERM; s3 stop; cassandra stop ;;
  wipe) stop KILL; s3 wipe; cassandra wipe; rm -rf "$run"/{tidings[0-9]*,nats,admin.token} ;;
  status) status ;;
  kill) signal_nodes KILL "$@" ;;
  pause) signal_nodes STOP "$@" ;;
  resume) signal_nodes CONT "$@" ;;
  *) sed -n '2,19s/^# \{0,1\}//p' "$0"; [ "$command" = help ] ;;
esac
