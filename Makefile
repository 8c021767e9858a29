# make demo   create .venv, export and prove the example model, build an fp16 engine without a GPU
# make test   run the tests              make check   ruff and mypy --strict              make clean
# make soak   2,000 random modules       make fuzz    ten minutes of mutated ONNX files   make coverage   docs/coverage.md
# make plugins-test TENSORRT_11_INCLUDE=FOLDER   plugins/ with nvcc and TensorRT's headers (8, 10, 11)
# make cpp-test TensorRT_INCLUDE_DIR=... CUDA_INCLUDE_DIR=...   cpp/ against the vendor's headers, without a GPU
# make bench  latency against every peer, on an idle machine; an interrupted run goes on where it stopped
# PYTHON chooses the interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := out

.PHONY: demo test plugins-test cpp-test check soak fuzz coverage bench install clean
.DELETE_ON_ERROR:

demo: $(READY)
	@mkdir -p $(DEMO)
	$(BIN)/s2deploy export examples/s2mlpv2.py:s2mlpv2_small_7 --input "x:batch=1..4..8,3,224,224" -o $(DEMO)/s2mlpv2.onnx
	$(BIN)/s2deploy build $(DEMO)/s2mlpv2.onnx --target rtx --fp16 --compute-capability 8.6 -o $(DEMO)/s2mlpv2.plan
	@printf '%s\n' '' 'Next, with your own model:' \
	  '  . $(BIN)/activate' \
	  '  s2deploy export your_model.py:YourModel --input "x:batch=1..8..64,3,224,224" -o model.onnx' \
	  '  s2deploy validate your_model.py:YourModel model.onnx' \
	  '  s2deploy build model.onnx --fp16 -o model.plan' \
	  '  s2deploy export --help'

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

plugins-test: export TENSORRT_8_INCLUDE := $(TENSORRT_8_INCLUDE)
plugins-test: export TENSORRT_10_INCLUDE := $(TENSORRT_10_INCLUDE)
plugins-test: export TENSORRT_11_INCLUDE := $(TENSORRT_11_INCLUDE)
plugins-test: $(READY)
	$(BIN)/python -m pytest tests/test_ops.py tests/test_plugins.py -v -rs

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

cpp-test: $(READY)
	$(BIN)/python -m pytest tests/test_cpp_runtime.py -rs

soak: $(READY)
	$(BIN)/python -m pytest tests/test_random_modules.py -n 2 --programs 2000

fuzz: $(READY)
	$(BIN)/python benchmarks/fuzz.py --minutes 10

coverage: $(READY)
	$(BIN)/python benchmarks/coverage.py --output docs/coverage.md

bench: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python benchmarks/latency.py

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else f"s2deploy needs CPython 3.10 to 3.13, $(PYTHON) is {sys.version.split()[0]}; choose one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[rtx,dev]"
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
