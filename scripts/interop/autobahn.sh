#!/usr/bin/env bash
# The Autobahn testsuite (PyPI `autobahntestsuite`, for Python 2.7 alone) against the WebSocket layer as the server bounds it.
# usage: scripts/interop/autobahn.sh ECHO, the built example `echo`. Part of `make test`; says skipped where there is no
# Python 2.7. Left out: 9.* (they measure speed, with messages above the server's 64 KiB) and 12.*, 13.* (compression, which
# is not offered).
set -uo pipefail
echo=$(realpath "${1:?usage: scripts/interop/autobahn.sh ECHO}")
here=$(cd "$(dirname "$0")" && pwd)
tools=$(dirname "$echo")/../../interop/autobahn

skip() {
  echo "Autobahn: skipped, $1"
  echo "test result: ok. 0 passed; 0 failed; 1 skipped"
  exit 0
}

python=
for candidate in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7*/bin/python2.7; do
  candidate=$(command -v "$candidate") && "$candidate" -m pip --version >/dev/null 2>&1 && python=$candidate && break
done
[ -n "$python" ] || skip "there is no Python 2.7 with pip"
if ! cmp -s "$here/autobahn.txt" "$tools/installed.txt"; then
  rm -rf "$tools" && mkdir -p "$tools"
  "$python" -m pip install --quiet --disable-pip-version-check --no-warn-script-location --target "$tools" \
    --requirement "$here/autobahn.txt" 2>"$tools/pip.log" \
    || { cat "$tools/pip.log"; skip "its packages cannot be installed"; }
  cp "$here/autobahn.txt" "$tools/installed.txt"
fi

work=$(mktemp -d)
# It ends when its standard input does, also if this script is killed.
exec {hold}> >(exec "$echo" >"$work/ready" 2>"$work/log")
trap 'exec {hold}>&-; rm -rf "$work"' EXIT
for _ in $(seq 300); do
  grep -q listening "$work/ready" 2>/dev/null && break
  sleep 0.1
done
address=$(sed -n 's/^listening on //p' "$work/ready")
[ -n "$address" ] || { cat "$work/log"; echo "test result: FAILED. 0 passed; 1 failed; 0 ignored"; exit 1; }

cat >"$work/spec.json" <<SPEC
{"outdir": "$work/report", "servers": [{"agent": "tidings", "url": "ws://$address"}],
 "cases": ["*"], "exclude-cases": ["9.*", "12.*", "13.*"], "exclude-agent-cases": {}}
SPEC
# As a site folder: one of its packages needs the `.pth` files read.
program='import sys, site; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()'
timeout 300 "$python" -W ignore -c "$program" "$tools" --mode fuzzingclient --spec "$work/spec.json" >"$work/out" 2>&1
[ -s "$work/report/index.json" ] || { tail -20 "$work/out"; echo "test result: FAILED. 0 passed; 1 failed; 0 ignored"; exit 1; }

# Of a case both are judged: what was said, and how the connection was closed.
python3 - "$work/report/index.json" <<'SUM'
import json, sys
cases = json.load(open(sys.argv[1]))["tidings"]
good = {"OK", "NON-STRICT", "INFORMATIONAL"}
failed = {name: case for name, case in cases.items() if not {case["behavior"], case["behaviorClose"]} <= good}
for name, case in sorted(failed.items()):
    print(f"test Autobahn {name} ... FAILED: {case['behavior']}, closing {case['behaviorClose']}")
if len(cases) < 240:
    failed[""] = print(f"only {len(cases)} cases ran")
verdict = "FAILED" if failed else "ok"
print(f"test result: {verdict}. {len(cases) - len(failed)} passed; {len(failed)} failed; 0 ignored")
sys.exit(bool(failed))
SUM
