# Wiretune. `make help` lists the targets; every one of them installs what it needs first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
WIRETUNE := $(SUDO) $(BIN)/wiretune
# rustup's and the virtual environment's folders come first, so that tools which setup brought are found.
export PATH := $(BIN):$(HOME)/.cargo/bin:$(PATH)

WIRELANE := dataplane/target/release/wirelane
RUST_SOURCES := $(shell find dataplane -path dataplane/target -prune -o \( -name '*.rs' -o -name '*.c' -o -name 'Cargo.*' \) -print)
WEB_SOURCES := $(shell find web -path web/node_modules -prune -o -path web/dist -prune -o -type f -print)
OPENAPI_TEST := tests/contract/test_openapi.py
TUNE_ARGS ?=
BENCH_ARGS ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# --- the product ------------------------------------------------------------------------------------------------------

.PHONY: tune
tune: setup ## tune a link between two namespaces on this machine and export the result (TUNE_ARGS="--trials 6")
	$(WIRETUNE) tune --testbed netns $(TUNE_ARGS)

.PHONY: bench-model
bench-model: $(VENV)/.installed ## the cost model beside public figures (BENCH_ARGS="--calibration FILE": and beside held-out measurements)
	$(BIN)/python benchmarks/model/figures.py $(BENCH_ARGS)

.PHONY: serve
serve: setup ## run the service and the dashboard on 127.0.0.1:8080
	$(WIRETUNE) serve

.PHONY: setup
setup: $(VENV)/.installed $(WIRELANE) web/dist/index.html ## install and build everything that `make tune` needs

# --- what it needs ----------------------------------------------------------------------------------------------------

$(VENV)/.apt: scripts/setup
	scripts/setup apt
	@mkdir -p $(VENV) && touch $@

$(VENV)/.installed: requirements.lock pyproject.toml $(VENV)/.apt
	scripts/setup python
	@touch $@

$(VENV)/.rust: $(VENV)/.apt
	scripts/setup rust
	@touch $@

$(VENV)/.node: $(VENV)/.installed
	scripts/setup node
	@touch $@

$(WIRELANE): $(RUST_SOURCES) $(VENV)/.rust
	cd dataplane && cargo build --release --locked
	@touch $@

web/node_modules/.installed: web/package.json web/package-lock.json $(VENV)/.node
	cd web && npm ci
	@touch $@

web/dist/index.html: $(WEB_SOURCES) web/node_modules/.installed
	cd web && npm run build
	@touch $@

$(VENV)/.test-tools: $(VENV)/.installed
	scripts/setup test-tools
	@touch $@

# --- its quality ------------------------------------------------------------------------------------------------------

.PHONY: check
check: $(VENV)/.installed $(VENV)/.rust web/node_modules/.installed ## linters, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd dataplane && cargo fmt --check
	cd dataplane && cargo clippy --release --all-targets --locked -- -D warnings
	cd web && npm run check

.PHONY: test
test: setup $(VENV)/.test-tools ## all tests: data plane, dashboard, service, namespaces, browser
	cd dataplane && cargo test --release --locked --quiet
	cd web && npm test
	@# schemathesis gives the tests of all operations one name, and of such pytest-xdist runs only one: they run by themselves.
	$(SUDO) $(BIN)/pytest $(OPENAPI_TEST)
	$(SUDO) $(BIN)/pytest --numprocesses 2 --dist loadfile --ignore $(OPENAPI_TEST)

.PHONY: bench-tuner
bench-tuner: $(VENV)/.installed ## does the search find the optimum, and does its answer hold? tables; simulated
	$(BIN)/python -m benchmarks.tuner $(BENCH_ARGS)

.PHONY: bench-netns
bench-netns: setup ## do the verdicts of five studies agree, does an A/A study find nothing? on real packets (root)
	$(SUDO) $(BIN)/python -m benchmarks.netns $(BENCH_ARGS)

.PHONY: bench-dataplane
bench-dataplane: $(WIRELANE) ## wirelane beside other user-space WireGuards, as ratios (root; BENCH_ARGS="--quick")
	cd dataplane && cargo build --release --locked --example udp_load -p wirelane-io
	$(SUDO) env PATH="$(PATH)" HOME="$(HOME)" python3 benchmarks/dataplane/bench.py $(BENCH_ARGS)

.PHONY: test-compose
test-compose: setup ## docker-compose.yml under a Docker daemon of the test's own: a study in containers (root; about 10 minutes)
	scripts/setup containers
	$(SUDO) env WIRETUNE_TEST_COMPOSE=1 $(BIN)/pytest -rs tests/compose

.PHONY: test-vm
test-vm: setup $(VENV)/.test-tools ## two virtual machines: real kernels, NUMA, a study, hosts that heal (root; long without KVM)
	scripts/setup vm
	$(SUDO) env WIRETUNE_TEST_VM=1 $(BIN)/pytest -v -rs tests/vm

.PHONY: test-vm-quick
test-vm-quick: setup $(VENV)/.test-tools ## of test-vm: a trial with each engine, host settings, a host that heals (root; some minutes)
	scripts/setup vm
	$(SUDO) env WIRETUNE_TEST_VM=1 $(BIN)/pytest -v -rs -m quick tests/vm

.PHONY: clean
clean: ## remove everything that was built or installed into this folder
	rm -rf $(VENV) dataplane/target web/node_modules web/dist var
