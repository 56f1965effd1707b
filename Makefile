SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

.PHONY: help run replicas test test-long lint fmt doc bench release deb image screenshots

help: ## Lists the targets from their own comments.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## Builds iocast and starts it on embedded SQLite in ./data; prints where to sign in. LISTEN=, DATA= and ARGS= go to it.
	@.ci/need cc
	cargo run --bin iocast -- serve $(if $(DATA),--data $(DATA)) $(if $(LISTEN),--listen $(LISTEN)) $(ARGS)

replicas: ## Two replicas on one PostgreSQL behind nginx; prints where to sign in. LISTEN= and DATA= as above.
	@LISTEN="$(LISTEN)" DATA="$(DATA)" tests/replicas

test: ## Sets up what the tests need, and runs every check and test. CI runs this.
	@tests/run

test-long: ## The same campaigns with the large counts: about an hour more. IOCAST_LONG=10 tries ten times as many.
	@PROPTEST_CASES=20000 IOCAST_LONG=$(or $(IOCAST_LONG),1) tests/run

lint: ## Formatting and lints.
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## Formats the code.
	cargo fmt

doc: ## Builds the documentation of all crates.
	cargo doc --workspace --no-deps --document-private-items

bench: ## iocast beside its peers on this machine, as a table of ratios (release build). QUICK=1 in under three minutes.
	@tests/bench $(if $(QUICK),--quick)

screenshots: ## Pictures of every page, light and dark, wide and narrow, into target/pictures.
	@tests/run screenshots

deb: release ## A Debian package of it in target/debian: systemd service, configuration, user.
	crates/server/packaging/debian target/release/iocast target/debian

image: release ## A container image of it in target/image, as an OCI archive; no container daemon is needed.
	crates/server/packaging/image target/release/iocast target/image

release: ## Builds the binary for operation: target/release/iocast.
	@.ci/need cc
	cargo build --release --bin iocast
