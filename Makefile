# One word a task; `make help` lists them. What is built goes into folders whose names begin with `.build`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format fuzz sanitize bench guard-update soak build install deb clean

prefix ?= /usr/local
bindir ?= $(prefix)/bin
DESTDIR ?=
INSTALL ?= install
# One folder with both programs, where it is not what `make build` made that is installed.
binaries ?=
daemon = $(or $(binaries),.build/release)/scaem-tokend
client = $(or $(binaries),.build-client/release)/scaem-token

# The daemon needs the C libraries of its host (SQLite, OpenSSL, systemd) and no Swift toolchain.
daemon_flags := -c release --product scaem-tokend --static-swift-stdlib
# The client needs nothing at all: it starts in the time of /bin/true and is copied as one file. The linker flags hold
# for a whole build, so it has a folder of its own.
client_flags := -c release --product scaem-token --scratch-path .build-client \
	-Xswiftc -static-executable -Xswiftc -Osize -Xlinker --gc-sections -Xlinker -s

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## builds, then shows every step of a token's life with a daemon of its own, in a temporary folder
	scripts/ensure-packages build
	swift build --product scaem-tokend
	swift build --product scaem-token
	scripts/demo "$$(swift build --show-bin-path)"

test: ## builds and runs all tests (the gate: .ci/run calls this)
	scripts/test

check: ## format, imports, structure, scripts and links, without running the tests
	scripts/check

format: ## formats the Swift sources in place
	swift format --in-place --recursive Sources Tests Fuzz/Sources Package.swift

fuzz: ## ten seconds of each fuzzer (scripts/fuzz takes more: docs/testing.md)
	scripts/fuzz

sanitize: ## the unit tests under the thread sanitizer, then under the address sanitizer
	scripts/sanitize thread
	scripts/sanitize address

bench: ## speed beside Redis and PostgreSQL, growth, client, profiles, in one run; scripts/bench says what BENCH_... do
	scripts/bench

guard-update: ## counts anew what a request costs, for Tests/Guard: after a change that costs more with good reason
	scripts/ensure-packages build test
	swift build
	Benchmarks/guard/guard.py update "$$(swift build --show-bin-path)"
	swift build $(daemon_flags)
	Benchmarks/guard/guard.py update "$$(swift build -c release --show-bin-path)"

soak: ## the longer forms: kills, every fault, random histories, sanitizers, fuzzers, speed (SOAK_SECONDS=3600 SOAK_PARTS=)
	scripts/soak $(SOAK_PARTS)

build: ## release builds: .build/release/scaem-tokend and .build-client/release/scaem-token
	scripts/ensure-packages build
	swift build $(daemon_flags)
	swift build $(client_flags)
	scripts/check-client .build-client/release/scaem-token

install: ## installs what `make build` made, under DESTDIR and prefix (/usr/local)
	scripts/install "$(INSTALL)" "$(DESTDIR)" "$(prefix)" "$(bindir)" "$(daemon)" "$(client)"

deb: $(if $(binaries),,build) ## a Debian package in .build-deb, looked at by lintian
	scripts/ensure-packages deb
	scripts/deb "$(daemon)" "$(client)"

clean: ## removes every folder that was built into
	rm -rf .build .build-*
