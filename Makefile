# The short way to what CMake does. `make` builds build/release/nibble; see `make help`.
PRESET ?= release
BUILD := build/$(PRESET)
JOBS ?= $(shell nproc)

.PHONY: all deps demo test install clean help
all: deps
	@[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET)
	cmake --build --preset $(PRESET) -j $(JOBS) --target nibble_program

help:
	@echo "make            build build/release/nibble"
	@echo "make demo       quantize the bundled model, let it tell a story, print the trade-off table"
	@echo "make test       build and run every test"
	@echo "make install    install (DESTDIR and PREFIX are honoured)"
	@echo "PRESET=alone|dev|tsan|baseline|fuzz chooses another build"

deps:
	@tools/install-deps.sh

demo: all
	@tools/demo.sh $(BUILD)/nibble

test: deps
	@[ -f $(BUILD)/build.ninja ] || cmake --preset $(PRESET)
	cmake --build --preset $(PRESET) -j $(JOBS)
	ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure; status=$$?; \
	sed -n '/: Skipped$$/{n;s/^/skipped: /p}' $(BUILD)/Testing/Temporary/LastTest.log | sort | uniq -c; exit $$status

PREFIX ?= /usr/local
install: all
	cmake --build --preset $(PRESET) -j $(JOBS) --target nibble
	cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf build
