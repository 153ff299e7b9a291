#!/usr/bin/env bash
# Installs what a build or a test needs and this machine lacks; says so first, and does nothing if all is there.
# usage: scripts/install.sh build|test|fleet
set -euo pipefail

purpose=${1:?usage: scripts/install.sh build|test|fleet}
packages=()

have() { command -v "$1" >/dev/null 2>&1; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Installed by people, not by us: they have ways of their own.
have cargo || fail "no cargo: install a Rust toolchain with rustup"
have npm || fail "no npm: install Node 20 or newer with npm"
node --eval 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' \
  || fail "Node $(node --version) is too old: install Node 20 or newer"
cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 \
  || fail "no rustfmt or clippy: run 'rustup component add rustfmt clippy'"

# The C compiler links Rust programs and builds zstd.
have cc || packages+=(build-essential)
if [ "$purpose" = test ]; then
  # Makes the disk fail under a server.
  have strace || packages+=(strace)
  # Clients of others, for MQTT.
  have mosquitto_sub || packages+=(mosquitto-clients)
  have chromium || have chromium-browser || have google-chrome || packages+=(chromium fonts-liberation fonts-noto-color-emoji)
fi

# Cassandra runs on a JDK and comes through Maven; NATS comes as a Python package.
if [ "$purpose" = test ] || [ "$purpose" = fleet ]; then
  python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
  have java || packages+=(openjdk-17-jdk-headless)
  have mvn || packages+=(maven)
  # Builds the store that stands in for S3.
  have go || packages+=(golang)
fi

[ ${#packages[@]} -gt 0 ] || exit 0
printf '\n==> Installing %s\n' "${packages[*]}"
have apt-get || fail "install ${packages[*]} (or what your system calls them) and try again"
as_root=()
if [ "$(id -u)" != 0 ]; then
  # Only where it needs no password: a build must not stop to ask.
  sudo --non-interactive true 2>/dev/null || fail "not root: run 'sudo apt-get install ${packages[*]}' and try again"
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update --quiet=2
"${as_root[@]}" apt-get install --quiet=2 --yes --no-install-recommends "${packages[@]}"
