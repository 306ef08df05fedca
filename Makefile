# What one does with this tree. Every target sets up what it needs and may be run again; what is done is not done twice.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PREFIX ?= /usr/local
PRESET ?= release
FUZZ_SECONDS ?= 60

.PHONY: help
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

# $(call build_preset,PRESET,NINJA TARGETS): configures build/PRESET when there is none or the presets changed, and builds.
define build_preset
	@if [[ ! -e build/$(1)/build.ninja || CMakePresets.json -nt build/$(1)/build.ninja ]]; then cmake --preset $(1); fi
	@cmake --build --preset $(1) $(if $(2),--target $(2))
endef

.PHONY: setup setup-fuzz setup-peers setup-demo setup-report
setup:
	@tools/setup.sh build
setup-fuzz:
	@tools/setup.sh fuzz
setup-peers:
	@tools/setup.sh peers
setup-demo:
	@tools/setup.sh demo
setup-report:
	@tools/setup.sh charts
	@tools/setup.sh browser

.PHONY: build
build: setup  ## the command build/release/graft
	$(call build_preset,release,graft)

.PHONY: build-all
build-all: setup  ## the command, all libraries and all tests
	$(call build_preset,release)

.PHONY: test
test: setup-report build-all  ## all tests; reports are opened in Chromium
	@ctest --preset release

.PHONY: test-fast
test-fast: build-all  ## the tests that take no time
	@ctest --preset release -L fast

.PHONY: test-exhaustive
test-exhaustive: build-all  ## kills a run at some 60 of its writes, and more of that kind (a quarter of an hour)
	@ctest --preset release -C Exhaustive -L exhaustive

.PHONY: demo
demo: setup-demo build  ## trains and evaluates on real mail, from data to a table
	@tools/demo/run.sh

.PHONY: bench
bench: setup-peers build  ## speed and memory beside the peers, on the same rows
	@bench/run.sh

.PHONY: fuzz
fuzz: setup-fuzz  ## every fuzz target for FUZZ_SECONDS (60)
	$(call build_preset,fuzz,fuzz_targets)
	@tools/fuzz.sh build/fuzz $(FUZZ_SECONDS) $$(nproc)

.PHONY: asan
asan: setup  ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(call build_preset,asan)
	@ctest --preset asan

.PHONY: tidy
tidy: setup-fuzz  ## clang-tidy over every file
	$(call build_preset,tidy)

.PHONY: format
format: setup-fuzz  ## clang-format over every file, and long paragraphs of the pages wrapped, in place
	@git ls-files -co --exclude-standard '*.h' '*.cpp' | xargs clang-format-14 -i
	@git ls-files -co --exclude-standard '*.md' | xargs python3 tools/wrap_docs.py

.PHONY: golden
golden: setup-peers  ## makes the golden files of tests/golden again
	@for script in $$(grep -l __main__ tools/golden/*.py); do echo "$$script"; .venv-peers/bin/python "$$script" || exit 1; done

.PHONY: install
install: setup  ## command, libraries, headers and CMake package into PREFIX (/usr/local); the prefix may be moved
	$(call build_preset,$(PRESET),graft)
	@cmake --install build/$(PRESET) --prefix "$(PREFIX)"

.PHONY: package
package: setup  ## the command with all that it needs as build/PRESET/graft-*.tar.xz (PRESET=portable: for other processors)
	$(call build_preset,$(PRESET),graft)
	@cd build/$(PRESET) && cpack --config CPackConfig.cmake

.PHONY: clean
clean:  ## removes build/ (not the environments)
	@rm -rf build
