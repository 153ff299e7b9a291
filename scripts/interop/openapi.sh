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

# as TOKEN EXAMPLES PHASES ARGUMENT…: a run with a token, or with none. The phase coverage goes through the values at the edges of
# each schema, fuzzing makes values up. Streams do not end, so they are left out.
as() {
  local header=() token=$1 examples=$2 phases=$3
  shift 3
  [ -z "$token" ] || header=(-H "Authorization: Bearer $token")
  (cd "$work" && timeout 300 "$tools/venv/bin/schemathesis" run "$work/openapi.json" --url "$http" "${header[@]}" \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
    --exclude-path /v1/events --max-examples "$examples" --phases "$phases" --generation-deterministic \
    --request-timeout 60 --warnings off --workers 2 --no-color "$@")
}

check "schemathesis, a user" as "$user" 8 coverage,fuzzing
check "schemathesis, a stranger" as "$stranger" 4 fuzzing
check "schemathesis, nobody" as "" 2 fuzzing
check "schemathesis, an operator" as "$operator" 8 coverage,fuzzing --include-path-regex ^/v1/admin
finish
