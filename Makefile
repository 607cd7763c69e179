# Every target makes the environment it needs: `make test` on a bare machine with Python 3.11 to 3.14 is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: demo test lint docs bench bench-gpu neighbours litert sanitize fuzz torture clean
.DELETE_ON_ERROR:

$(VENV)/ready: pyproject.toml .ci/constraints.txt $(wildcard src_ext/*.[ch])
	$(PYTHON) -m venv $(VENV)
	rm -f mmtk/_native*.so
	$(PIP) install -c .ci/constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(VENV)/ready
	$(BIN)/mmtk demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 -p no:benchmark $(ARGS)

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry mmtk
	$(BIN)/deptry mmtk tests benchmarks --ignore DEP004

# The site, into build/docs; its notebooks run, and every warning is an error.
docs: $(VENV)/ready
	$(PIP) install -c .ci/constraints.txt -e '.[docs]'
	$(BIN)/python -m sphinx -q -n -W --keep-going -b html docs build/docs $(ARGS)
	@echo build/docs/index.html

bench: $(VENV)/ready
	$(PIP) install -c .ci/constraints.txt -e '.[bench]'
	$(BIN)/python -m pytest -q benchmarks --benchmark-only --benchmark-quiet --benchmark-json=bench.json \
	  --benchmark-max-time=0.2 --benchmark-min-rounds=3 $(ARGS)

# Throughput of training on a GPU with its share of the chip's peak: about ten minutes on a large one.
bench-gpu: $(VENV)/ready
	$(BIN)/python -m benchmarks.gpu $(ARGS)

# Libraries that people put around a store, each by a short test. They bring many others, so they stay out of .venv.
NEIGHBOURS := .venv-neighbours
neighbours:
	test -x $(NEIGHBOURS)/bin/python || $(PYTHON) -m venv $(NEIGHBOURS)
	$(NEIGHBOURS)/bin/python -m pip --disable-pip-version-check -q install -c .ci/constraints.txt -e '.[all,dev,neighbours]'
	$(NEIGHBOURS)/bin/python -m pytest -p no:benchmark tests/neighbours $(ARGS)

# Networks of ours converted to TensorFlow Lite. What converts them holds back typing-extensions, and with it anyio, whose
# plugin for pytest then warns of its imports: an environment of its own, without that plugin.
LITERT := .venv-litert
litert:
	test -x $(LITERT)/bin/python || $(PYTHON) -m venv $(LITERT)
	$(LITERT)/bin/python -m pip --disable-pip-version-check -q install -c .ci/constraints.txt -e '.[train,tflite,dev,litert]'
	$(LITERT)/bin/python -m pytest -p no:benchmark -p no:anyio tests/neighbours/test_tflite_torch.py $(ARGS)

# The C kernels once more under the address and undefined-behaviour sanitizers, by their own tests. Where SIMDe's headers
# are there (Debian: libsimde-dev), they stand in for AVX-512, so that its path is tested on any x86-64.
SANITIZED := build/sanitized
SIMDE = $(shell echo '\#include <simde/x86/avx512.h>' | gcc -E - >/dev/null 2>&1 && echo -DMMTK_SIMDE)
sanitize: $(VENV)/ready
	rm -rf $(SANITIZED) build/temp-sanitized
	CFLAGS="$(SIMDE) -fsanitize=address,undefined -fno-sanitize-recover=all -fno-wrapv -g -O1" $(BIN)/python -c \
	  "from setuptools import setup; setup()" -q build --build-lib $(SANITIZED) --build-temp build/temp-sanitized
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
	  $(BIN)/python -m pytest -q -p no:benchmark -p no:cacheprovider -o pythonpath="$(SANITIZED) ." \
	  $(addprefix tests/test_,$(addsuffix .py,imaging_native imaging_png imaging_tiff imaging_jpeg imaging_resize imaging_zoom \
	    loader_gather)) \
	  -k "not process and not extension and not room and not torch"

# Every decoder of our own on whatever bytes a fuzzer comes up with, each for SECONDS; the C kernels need clang.
SECONDS ?= 600
fuzz: $(VENV)/ready
	$(PIP) install -c .ci/constraints.txt -e '.[fuzz]'
	for target in header png deep tiff dicom series nifti volume; do \
	  $(BIN)/python -m tests.fuzz.run $$target -max_total_time=$(SECONDS) || exit 1; done
	mkdir -p build
	clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Isrc_ext \
	  tests/fuzz/kernels.c src_ext/packbits.c src_ext/png.c -o build/fuzz-kernels
	build/fuzz-kernels -max_total_time=$(SECONDS) -print_final_stats=1

# Thousands of damaged files and failing calls, none of which may pass unsaid: all in ten minutes, ARGS=--short in one.
torture: $(VENV)/ready
	$(BIN)/python -m tests.torture $(ARGS)

clean:
	rm -rf $(VENV) $(NEIGHBOURS) $(LITERT) build docs/api/generated *.egg-info mmtk/_native*.so demo
