#!/usr/bin/env bash
# Python packages that tests need (clients and servers of others), in an environment of their own below FOLDER.
# usage: scripts/interop/venv.sh FOLDER
set -euo pipefail
folder=${1:?usage: scripts/interop/venv.sh FOLDER}
wanted=$(cd "$(dirname "$0")" && pwd)/requirements.txt

[ -x "$folder/venv/bin/python" ] && cmp -s "$wanted" "$folder/requirements.txt" && exit 0
mkdir -p "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --requirement "$wanted"
cp "$wanted" "$folder/"
