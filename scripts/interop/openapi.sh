#!/usr/bin/env bash
# schemathesis, as it is, against the real binary: calls made up from the OpenAPI document, by somebody who is in the
# conversations, by somebody who is not, and by nobody. Never a 5xx, never an answer that is not described.
# usage: scripts/interop/openapi.sh BINARY. Part of `make test`, which installs what it needs.
set -uo pipefail
. "$(dirname "$0")/common.sh"
operator=the-operators-own-secret
start_server rates.sends_per_s=100000 rates.sends_burst=100000 "admin_token=$operator"

python=$tools/venv/bin/python
"$python" "$here/openapi_prepare.py" "$http" >"$work/openapi.json" 2>"$work/tokens" || { cat "$work/tokens"; exit 1; }
. "$work/tokens"

# as TOKEN PHASE EXAMPLES ARGUMENT…: a run with a token, or with none. Streams do not end, so they are left out. One worker and one
# phase a run: with more, its generator now and then finds itself inconsistent. `coverage` tries the bounds of every schema, one
# after the other, `fuzzing` what it makes up.
as() {
  local header=() token=$1 phase=$2 examples=$3
  shift 3
  [ -z "$token" ] || header=(-H "Authorization: Bearer $token")
  (cd "$work" && timeout 300 "$tools/venv/bin/schemathesis" run "$work/openapi.json" --url "$http" "${header[@]}" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
    --exclude-path /v1/events --max-examples "$examples" --phases "$phase" --generation-deterministic \
    --request-timeout 60 --warnings off --workers 1 --no-color "$@")
}

check "schemathesis, a user" as "$user" fuzzing 12
check "schemathesis, a user at every bound" as "$user" coverage 12
check "schemathesis, a stranger" as "$stranger" fuzzing 5
check "schemathesis, nobody" as "" fuzzing 3
check "schemathesis, an operator" as "$operator" fuzzing 10 --include-path-regex ^/v1/admin
check "schemathesis, an operator at every bound" as "$operator" coverage 10 --include-path-regex ^/v1/admin
finish
