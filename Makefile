# Every target works on a fresh clone; CI runs the same ones.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAMPLE := docs/samples/chelsea.jpg

.PHONY: demo test test-runtime constraints check lint types wheel-proof bench conformance jpeg fuzz torture models clean
.DEFAULT_GOAL := help

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The versions with which the tests were last green. Tests and CI use them; `make CONSTRAINTS= test` takes the newest.
CONSTRAINTS := constraints.txt
PINNED = $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet $(PINNED) --editable '.[cpu]' --group dev
	touch $@

demo:  ## Colourize a sample photograph in a fresh environment without PyTorch
	rm -rf .demo-venv demo && mkdir demo
	$(PYTHON) -m venv .demo-venv
	.demo-venv/bin/pip install --quiet '.[cpu]'
	cp $(SAMPLE) demo/photo.jpg
	.demo-venv/bin/colorize-run --force demo/photo.jpg
	@echo "Before: demo/photo.jpg   After: $(CURDIR)/demo/photo.colorized.jpg"

test: $(VENV)/.installed  ## Run all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.runtime-venv/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .runtime-venv
	.runtime-venv/bin/pip install --quiet --upgrade 'pip>=25.1'
	.runtime-venv/bin/pip install --quiet $(PINNED) --editable '.[cpu]' --group test-runtime
	touch $@

test-runtime: .runtime-venv/.installed  ## Run the tests of the runtime alone, in an environment without PyTorch
	OMP_NUM_THREADS=1 .runtime-venv/bin/python -m pytest tests/runtime tests/conformance \
		--numprocesses auto --maxprocesses 4 --dist worksteal

constraints: $(VENV)/.installed  ## Write the versions in .venv to constraints.txt (first make sure that the tests pass)
	$(BIN)/pip freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' | grep -vE '^(nvidia-|cuda-|triton)' | sed 's/+c[pu][u0-9]*$$//' > constraints.txt

lint: $(VENV)/.installed  ## Lint, check the formatting, and which room imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=.:runtime $(BIN)/lint-imports --no-logo

types: $(VENV)/.installed  ## Check the types (mypy --strict)
	$(BIN)/mypy

check: lint types test  ## Lint, types and tests

wheel-proof: $(VENV)/.installed  ## Prove that the wheel alone colourizes, in an environment without PyTorch
	PYTHON=$(PYTHON) bash tests/wheel_proof.sh

bench: $(VENV)/.installed  ## Measure this machine against decode + encode + network
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.dilation
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.folder
	$(BIN)/python -m benchmarks.crowd --pictures 2000

conformance: $(VENV)/.installed  ## Replay 203 kinds of files before other programs, and write docs/conformance.md
	$(BIN)/python tests/conformance/conformance.py

jpeg: $(VENV)/.installed  ## Colour and restore 300 kinds of grey JPEG before other programs, and 20,000 damaged ones (minutes)
	rm -rf $(JPEGS)
	$(BIN)/python tests/conformance/jpeg_planes.py $(JPEGS) --browser
	$(BIN)/python tests/conformance/damaged_jpegs.py

fuzz: $(VENV)/.installed  ## Colour 20,000 damaged files of every format (minutes)
	$(BIN)/python tests/conformance/damaged_files.py

JPEGS ?= /tmp/colorize-run-jpegs

TORTURE ?= --trials quick

torture: $(VENV)/.installed  ## Treat the watch folder badly and print what was lost (minutes; hours with TORTURE='--trials full')
	$(BIN)/python -m torture $(TORTURE)

# Where the training data lies, and options for those who have them: the hand-out's palette, a classifier's weights,
# DeepLabV3's weights (a file, or none to train from scratch; downloaded when empty)
DATA ?= data
PALETTE ?=
CLASSIFIER ?=
DEEPLAB ?=
# Too large for artifacts/: their files go beside the runs
LARGE := chroma-large chroma-large-sigmoid deeplab-resnet101
MODELS := cnn regression-cnn unet dilated-unet unet-large unet-downsized \
	chroma-regressor chroma-sigmoid chroma-tanh fusion photo flowers $(LARGE)
FIT = --data-dir $(DATA) $(if $(filter chroma-% fusion photo flowers deeplab-%,$(1)),,$(if $(PALETTE),--palette $(PALETTE))) \
	$(if $(filter fusion,$(1)),$(if $(CLASSIFIER),--weights $(CLASSIFIER))) \
	$(if $(filter deeplab-%,$(1)),$(if $(DEEPLAB),--weights $(DEEPLAB)))

models: $(MODELS:%=model-%)  ## Train and export every model again (hours on a CPU; continues after an interruption)

model-%: $(VENV)/.installed
	test -f runs/$*-tuned/$*.pt || $(BIN)/python -m training fit $* $(call FIT,$*) \
		$(if $(wildcard runs/$*-tuned/resume-*.ckpt),--resume)
	$(BIN)/python -m export $* runs/$*-tuned/$*.pt -o $(if $(filter $(LARGE) deeplab-%,$*),runs/$*-tuned,artifacts) \
		$(if $(filter flowers deeplab-%,$*),--data-dir $(DATA))
	$(if $(filter photo flowers,$*),$(BIN)/python -m export variants artifacts/$*.onnx --data-dir $(DATA))

clean:  ## Remove everything that the other targets made
	rm -rf $(VENV) .runtime-venv .demo-venv .wheel-venv demo dist build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
