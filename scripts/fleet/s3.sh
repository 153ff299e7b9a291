#!/usr/bin/env bash
# A store that speaks S3, for tests and for trying a fleet, on a free port of this machine: versitygw over a folder.
#
#   s3.sh start            installs what is missing, starts it, returns when it answers; makes the bucket `tidings`
#   s3.sh stop             ends it; its objects stay
#   s3.sh wipe             ends it and deletes its objects
#   s3.sh endpoint         where it answers: http://address:port
#   s3.sh pause            SIGSTOP        s3.sh resume        SIGCONT
#   s3.sh status           a line
#   s3.sh install          builds it; `start` does it too
#
# Settings of the environment:
#   S3_RUN      the objects and the log; a folder is a store of its own     [target/s3]
#   S3_CACHE    the program, shared by all                                  [~/.cache/tidings/s3]
#   S3_KEY      who may come in                                             [tidings]
#   S3_SECRET   and with which secret                                       [tidings-secret]
#
# Needs Go (scripts/install.sh fleet); the program comes as a Go module and is built here once, in about two minutes.
set -euo pipefail

version=v1.8.0
here=$(cd "$(dirname "$0")/../.." && pwd)
run=${S3_RUN:-${CARGO_TARGET_DIR:-$here/target}/s3}
cache=${S3_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidings/s3}/$version
patience_s=60

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The process id, if it lives. A number that another program has got since does not count.
process() {
  local id
  id=$(cat "$run/pid" 2>/dev/null) || return 1
  tr '\0' ' ' 2>/dev/null <"/proc/$id/cmdline" | grep --quiet --fixed-strings "posix $run/objects" && echo "$id"
}

listens() { timeout 2 bash -c "exec 3<>/dev/tcp/127.0.0.1/$1" 2>/dev/null; }

# Any answer of HTTP will do: nobody is let in without a signature.
answers() {
  timeout 2 bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf "GET / HTTP/1.0\r\n\r\n" >&3; head --bytes 5 <&3' _ "$1" 2>/dev/null | grep --quiet HTTP/
}

install() {
  [ -x "$cache/versitygw" ] && return
  command -v go >/dev/null || fail "no Go: run scripts/install.sh fleet"
  printf 'building versitygw %s (once)\n' "$version"
  mkdir -p "$cache"
  # Without C: it needs none, and the build asks nothing of the C compiler then.
  CGO_ENABLED=0 GOFLAGS=-modcacherw GOBIN=$cache go install "github.com/versity/versitygw/cmd/versitygw@$version"
}

launch() {
  local port=$1
  ROOT_ACCESS_KEY=${S3_KEY:-tidings} ROOT_SECRET_KEY=${S3_SECRET:-tidings-secret} setsid nohup "$cache/versitygw" \
    --port "127.0.0.1:$port" --quiet posix "$run/objects" >>"$run/log" 2>&1 </dev/null 8>&- 9>&- &
  echo $! >"$run/pid"
  echo "$port" >"$run/port"
}

start() {
  local port deadline began=$SECONDS
  # A store keeps the port that it has, if nobody else has taken it: others know it.
  port=$(cat "$run/port" 2>/dev/null) || port=$((22000 + RANDOM % 1000))
  mkdir -p "$cache" "$run/objects/tidings"
  # One at a time on a machine: the port is chosen and taken under the lock.
  exec 9>"$cache/lock"
  flock 9
  install
  deadline=$((SECONDS + patience_s))
  until process >/dev/null && answers "$(cat "$run/port")"; do
    [ $SECONDS -lt $deadline ] || { tail -5 "$run/log" >&2; fail "it does not answer after $patience_s s; see $run/log"; }
    if ! process >/dev/null; then
      if listens "$port"; then port=$((22000 + RANDOM % 1000)); else launch "$port"; fi
    fi
    sleep 0.1
  done
  flock --unlock 9
  printf 'a store with the bucket tidings answers on %s after %d s\n' "$(endpoint)" $((SECONDS - began))
}

end() {
  local id
  id=$(process) || return 0
  kill "-$1" "$id" && kill -CONT "$id" 2>/dev/null || true
  for _ in {1..100}; do process >/dev/null || return 0; sleep 0.1; done
  kill -KILL "$id"
}

endpoint() {
  [ -e "$run/port" ] || fail "there is no store in $run"
  printf 'http://127.0.0.1:%s\n' "$(cat "$run/port")"
}

signal() { kill "-$1" "$(process || fail 'it does not run')"; }

case ${1:-help} in
  install) mkdir -p "$cache"; exec 9>"$cache/lock"; flock 9; install ;;
  start) start ;;
  stop) end TERM ;;
  wipe) end KILL; rm -rf "$run/objects" "$run/port" "$run/pid" ;;
  endpoint) endpoint ;;
  pause) signal STOP ;;
  resume) signal CONT ;;
  status) if id=$(process); then echo "process $id on $(endpoint)"; else echo down; fi ;;
  *) sed -n '2,19s/^# \{0,1\}//p' "$0"; [ "${1:-help}" = help ] ;;
esac
