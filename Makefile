# Every target does its own set-up (Scripts/setup), so that each works alone on a fresh Debian machine which has
# nothing but the Swift toolchain.

.DEFAULT_GOAL := help
.PHONY: help run build test test-unit test-sanitize fuzz check coverage bench format

help: ## lists the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## starts the demo: HTTP on 8080 and 8002, SOCKS5 on 8001, TCP on 9000, loopback only, with small built-in origins
	@Scripts/run demo

build: ## release build of ExampleApp
	@Scripts/run --build-only

test: ## every test: Swift tests, the example package, real clients, a 40-element release build
	@Scripts/test

test-unit: ## the tests that need no server and no root
	@Scripts/setup build
	@Scripts/swift-tests unit

test-sanitize: ## the Swift tests under the Thread and the Address sanitizer
	@Scripts/sanitize

fuzz: ## libFuzzer on every parser of a peer's bytes, FUZZ_SECONDS each (60)
	@Scripts/fuzz

check: ## formatting, architecture, warnings as errors, unit tests
	@Scripts/check

coverage: ## line coverage: HTML in coverage/ and a total
	@Scripts/coverage

bench: ## compares with HAProxy, nginx, Go and microsocks; refreshes Docs/Benchmarks.md (QUICK=1: minutes, no file)
	@Scripts/setup bench
	@Benchmarks/run $(if $(QUICK),--quick,--write)

format: ## formats all Swift sources in place
	@Scripts/format
