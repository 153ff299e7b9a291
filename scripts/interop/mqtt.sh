#!/usr/bin/env bash
# Clients of others, as they are, against the real binary: mosquitto_pub and mosquitto_sub, paho-mqtt (Python), MQTT.js, in
# MQTT 3.1.1 and 5. usage: scripts/interop/mqtt.sh BINARY. Part of `make test`, which installs what it needs.
set -uo pipefail
. "$(dirname "$0")/common.sh"

if ! cmp -s "$here/package.json" "$tools/package.json" || ! [ -d "$tools/node_modules/mqtt" ]; then
  cp "$here/package.json" "$tools/" && npm install --prefix "$tools" --no-audit --no-fund --silent
fi

# A port that is free now; nobody else takes it in the moment until the server has it.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
start_server "mqtt.listen=127.0.0.1:$port"

# Somebody listens and leaves; what is sent then comes when they are back, in order.
mosquitto() {
  local version=$1 user=mosquitto-$1 expiry=() at=(-h 127.0.0.1 -p "$port") heard
  [ "$version" = 5 ] && expiry=(-x 3600)
  local sub=(mosquitto_sub "${at[@]}" -V "$version" "${expiry[@]}" -c -i sub -u "$user" -q 1 -t tidings/inbox)
  timeout 20 "${sub[@]}" -E || return 1
  for n in 1 2 3; do
    mosquitto_pub "${at[@]}" -V "$version" -i pub -u ada -q 1 -t "tidings/to/$user" -m "number $n" || return 1
  done
  heard=$(timeout 20 "${sub[@]}" -C 3) || return 1
  printf '%s\n' "$heard"
  [ "$(printf '%s\n' "$heard" | sed 's/.*"text":"\([^"]*\)".*/\1/' | paste -sd,)" = "number 1,number 2,number 3" ] || return 1
  mosquitto_pub "${at[@]}" -V "$version" -i pub -u ada -q 0 -t "tidings/to/$user" -m "number 4" || return 1
  # It closes with unread bytes in its socket: acknowledgements may be lost with the line, and then messages come once more.
  for _ in $(seq 50); do
    heard=$(timeout 20 "${sub[@]}" -C 1) || return 1
    [[ $heard == *'"text":"number 4"'* ]] && break
  done
  [[ $heard == *'"text":"number 4"'* ]] || return 1
  # Refused: nobody speaks after the end, and nothing is retained.
  ! mosquitto_pub "${at[@]}" -V "$version" -i pub -u ada -q 1 -t "tidings/to/$user" -m bye --will-topic tidings/to/eve --will-payload bye
}

check "mosquitto, 3.1.1" mosquitto 311
check "mosquitto, 5" mosquitto 5
for version in 4 5; do
  check "paho-mqtt, version $version" timeout 60 "$tools/venv/bin/python" "$here/mqtt_paho.py" "$port" "$version"
  for url in "mqtt://127.0.0.1:$port" "ws://${http#http://}/v1/mqtt"; do
    check "MQTT.js, version $version, ${url%%:*}" timeout 60 env NODE_PATH="$tools/node_modules" node "$here/mqtt_js.cjs" "$url" "$version"
  done
done
finish
