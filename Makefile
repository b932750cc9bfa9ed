# make try    see it work on a simulated server, and growth being found: no GPU, no root, no network service (FOR=20 ends it)
# make run    the same on this machine's GPUs
# make test   every test, on all cores, with all the set-up they need; those of services are skipped where there are none
# make test-services  those that need a real Prometheus and Alertmanager, which it fetches from Debian's packages,
#             and a real llama-server, which it builds from its authors' source, once and long (LLAMA_CPP=URL: a mirror)
# make probe  where the memory of a generate call goes: every variant on a tiny model, and a page in build/probe.html
# make test-torch  the tests that need a real torch; both take one that can be imported, else fetch $(TORCH)
# make check  format, lint, types, import contracts: what a change must pass before it is looked at
# make audit  whether an advisory is known for a version in the locks; asks pypi.org
# make test-systemd  the service on a machine that is booted for it: needs root, and takes what it boots from Debian
# make test-image  the container image, built and run: needs root; takes its base from a registry, else from Debian
# make sdk-wheel  what a model server imports, as a distribution of its own, into dist/
# make bundle  one archive with all that a server without a package index needs
# make docs   draw the plots of docs/ anew, and write what replay says into its pages
# make bench  what it costs, beside its peers
# make gpu PART=reading|watcher|remedies|probe|layers-1|layers-2  what a real GPU alone can show; each part takes less
#             than eight minutes and goes on where it was cut off (DRY=1: rehearsed without a GPU); make gpu-report writes it down
# make bench-detection  how growth is found, beside the rules that people use (DATA=DIR: recordings of healthy services)

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
FOR    ?=
GPU_OUT ?= build/gpu
TORCH  ?= torch==2.13.0
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: try run test test-torch probe test-services test-systemd test-image sdk-wheel bundle check audit format docs bench gpu gpu-report bench-detection lock clean

try: $(VENV)/.base
	@scripts/show simulated $(FOR)

run: $(VENV)/.base
	@scripts/show nvml $(FOR)

test: $(VENV)/.dev
	$(MAKE) --no-print-directory -C tests/nvml
	$(BIN)/pytest -n auto --dist loadfile

test-services: $(VENV)/.dev
	@scripts/services
	@scripts/llama-server
	$(BIN)/pytest tests/services

sdk-wheel: $(VENV)/.base
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist packaging/sdk

test-torch: build/torch/.ready
	$(MAKE) --no-print-directory -C tests/nvml
	build/torch/bin/python -m pytest tests/probe tests/stories/test_remedies.py

probe: build/torch/.ready
	build/torch/bin/python -m vramwatch probe --compare --html build/probe.html

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	@scripts/check-units
	@scripts/check-manifests

audit: build/audit/.ready
	@scripts/audit

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-systemd: $(VENV)/.dev bundle
	$(MAKE) --no-print-directory -C tests/nvml
	@scripts/systemd-root
	$(BIN)/pytest tests/systemd

test-image: $(VENV)/.dev
	$(MAKE) --no-print-directory -C tests/nvml
	@scripts/image
	$(BIN)/pytest tests/image

bundle: $(VENV)/.base
	@scripts/bundle

docs: $(VENV)/.dev
	$(BIN)/python -m docs.plots

bench: $(VENV)/.peers
	$(MAKE) --no-print-directory -C tests/nvml
	$(BIN)/python -m benchmarks

# Whether there is a GPU is looked at before torch is fetched for it.
gpu:
	$(if $(PART),,$(error write PART=reading, watcher, remedies, probe, layers-1 or layers-2))
	@$(if $(DRY),:,command -v nvidia-smi >/dev/null || { \
	  echo "make gpu needs an NVIDIA GPU, and there is no nvidia-smi; DRY=1 rehearses every step without one" >&2; exit 69; })
	@$(MAKE) --no-print-directory build/torch/.ready
	@build/torch/bin/python -m benchmarks.gpu $(PART) --out $(GPU_OUT) $(if $(DRY),--dry)

gpu-report: build/torch/.ready
	@build/torch/bin/python -m benchmarks.gpu report --out $(GPU_OUT) $(if $(DRY),--dry)

bench-detection: $(VENV)/.dev
	$(BIN)/python -m benchmarks.detection $(if $(DATA),--data $(DATA)) $(if $(PROGRAM),--program "$(PROGRAM)")

# The locks name no index: pip takes the one that it is configured with, and compares the hashes.
lock: $(VENV)/.dev
	$(PIP) install uv
	for name in base build dev peers audit; do \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-annotate --no-header requirements/$$name.in -o requirements/$$name.txt; \
	done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-annotate --no-header --override requirements/no-torch.in requirements/torch.in -o requirements/torch.txt

clean:
	rm -rf $(VENV) build dist tests/nvml/build .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vramwatch needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: requirements/base.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install --require-hashes -r requirements/base.txt -r requirements/build.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# It sees the packages of $(PYTHON), where a torch may be that fits this machine's GPUs.
build/torch/.ready: requirements/dev.txt requirements/torch.txt scripts/torch
	$(PYTHON) -m venv --system-site-packages build/torch
	build/torch/bin/python -m pip --disable-pip-version-check --quiet install --no-warn-conflicts --require-hashes -r requirements/dev.txt
	build/torch/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation --editable .
	build/torch/bin/python scripts/torch $(TORCH) requirements/torch.txt
	@touch $@

$(VENV)/.peers: requirements/peers.txt $(VENV)/.dev
	$(PYTHON) -m venv build/peers
	build/peers/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/peers.txt
	@touch $@

build/audit/.ready: requirements/audit.txt
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/audit.txt
	@touch $@
