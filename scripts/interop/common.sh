# For the scripts beside it, which source it with the binary as $1: installs what they need in Python, starts a server, counts
# cases. `tools` is for what they install, `work` for their files, which go with the server.
binary=$(realpath "${1:?usage: $0 BINARY}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=$(dirname "$binary")/../interop
work=$(mktemp -d)
passed=0 failed=0

mkdir -p "$tools"
if ! [ -x "$tools/venv/bin/python" ] || ! cmp -s "$here/requirements.txt" "$tools/requirements.txt"; then
  python3 -m venv "$tools/venv" && "$tools/venv/bin/pip" install --quiet --requirement "$here/requirements.txt" \
    && cp "$here/requirements.txt" "$tools/"
fi

# start_server SETTING…: returns when it listens, at `http`.
start_server() {
  local set=()
  for setting in "$@"; do set+=(--set "$setting"); done
  "$binary" serve --listen 127.0.0.1:0 --data "$work/data" --set log.level=warn "${set[@]}" >"$work/ready" 2>"$work/log" &
  server=$!
  trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$work"' EXIT
  for _ in $(seq 300); do
    grep -q listening "$work/ready" && break
    sleep 0.1
  done
  http=$(sed -n 's/^listening on //p' "$work/ready")
  [ -n "$http" ] || { cat "$work/log"; echo "test result: FAILED. 0 passed; 1 failed; 0 ignored"; exit 1; }
}

# check NAME COMMAND…: one case.
check() {
  local name=$1
  shift
  if "$@" >"$work/out" 2>&1; then
    passed=$((passed + 1))
    echo "test $name ... ok"
  else
    failed=$((failed + 1))
    echo "test $name ... FAILED"
    sed 's/^/    /' "$work/out"
  fi
}

# Stops the server, which must not have panicked, and tells the sums.
finish() {
  kill "$server" && wait "$server" && ! grep -i panic "$work/log" || { failed=$((failed + 1)); cat "$work/log"; }
  echo "test result: $([ "$failed" = 0 ] && echo ok || echo FAILED). $passed passed; $failed failed; 0 ignored"
  [ "$failed" = 0 ]
}
