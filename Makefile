# Two commands for a newcomer (run, test) and two more (bench, lint). Each installs what it lacks: on Debian and
# Ubuntu by apt-get as root, elsewhere it says what to install. Needed beforehand: a Rust toolchain, Node 20 and npm.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH)
TARGET := $(or $(CARGO_TARGET_DIR),target)
step = @printf "\n==> %s\n" "$(1)"

# Whatever the page is built from. Without a page there is nothing to build.
WEB := $(if $(wildcard web/index.html),web/dist/index.html)
WEB_SOURCES := $(shell find web/src web/public web/build web/index.html web/*.ts web/package.json -type f 2>/dev/null)

.PHONY: help run test bench lint fleet fleet-stop nemesis next-version sim web tools test-tools fleet-tools
.DEFAULT_GOAL := help

help: ## Shows this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: tools $(WEB) ## Builds Tidings and starts it on http://127.0.0.1:8080, with its data in ./tidings-data
	$(call step,Building the server (minutes the first time))
	cargo build --release --package tidings
	$(call step,Starting; Ctrl-C stops it)
	$(TARGET)/release/tidings serve $(ARGS)

test: test-tools $(WEB) ## Runs all tests: Rust, the page's units, the page in a browser
	@scripts/test.sh

bench: tools $(WEB) ## Measures speed; one scenario alone: make bench ARGS=relay
	$(call step,Building the server (minutes the first time))
	cargo build --release --package tidings
	$(call step,Measuring)
	$(TARGET)/release/tidings bench $(ARGS)

fleet: fleet-tools $(WEB) ## Starts a fleet on this machine: Cassandra, NATS and Tidings nodes (needs 3 GB of memory)
	$(call step,Building the server (minutes the first time))
	cargo build --release --package tidings
	$(call step,Starting the fleet; make fleet-stop ends it)
	scripts/fleet/fleet.sh start $(TARGET)/release/tidings

fleet-stop: ## Stops that fleet and all its parts; the data stay
	scripts/fleet/fleet.sh stop

nemesis: test-tools $(WEB) ## Tests a fleet under faults for ten minutes; NEMESIS_SECONDS, NEMESIS_SEED, NEMESIS_NODES
	NEMESIS_SECONDS=$(or $(NEMESIS_SECONDS),600) scripts/fleet/nemesis.sh
	scripts/fleet/next.sh

next-version: test-tools $(WEB) ## Deploys a fleet to the version after this one and back, while people talk
	scripts/fleet/next.sh

sim: test-tools $(WEB) ## Runs a simulated fleet under faults, by seed: make sim SEEDS=1000, or one: make sim SEED=7
	cargo test --workspace --test sim -- $(if $(SEED),seed $(SEED) --trace $(TARGET)/sim,seeds $(or $(SEEDS),100))

lint: tools $(if $(WEB),web/node_modules/.package-lock.json) $(WEB) ## Checks format and style; warnings are errors
	$(call step,Format of the Rust code)
	cargo fmt --all --check
	$(call step,Style of the Rust code)
	cargo clippy --workspace --all-targets --locked -- --deny warnings
	$(if $(WEB),$(call step,Format and style of the page))
	$(if $(WEB),cd web && npm run lint)

web: tools $(WEB) ## Builds the page that the server carries

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	$(call step,Building the page)
	cd web && npm run build
	@touch $@

web/node_modules/.package-lock.json: web/package-lock.json
	$(call step,Installing the page's packages)
	cd web && npm ci --no-audit --no-fund
	@touch $@

tools:
	@scripts/install.sh build

test-tools:
	@scripts/install.sh test

fleet-tools:
	@scripts/install.sh fleet
