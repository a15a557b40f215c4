# For a machine that has only Python 3.10 to 3.13, make and git. `make` alone lists what there is to make.
#
# Everything is installed into .venv, from the newest supported Python found; `make clean` and `make PYTHON=python3.11 test`
# choose another one. What is installed is installed again only when setup.cfg or pyproject.toml changes.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3.10 python3 python)
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))
EXAMPLE := data/example_run.dcm
OUT ?= build/peers
CT ?=
VESSELS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.PHONY: help demo test test-fast coverage lint docs peers paper clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    register the example run and show where its pictures are"
	@echo "make test    run the tests"
	@echo "make test-fast   run all but the slow tests"
	@echo "make coverage    run the tests and list the lines that they do not reach"
	@echo "make lint    check format, style and types"
	@echo "make docs    build the pages of docs/ into build/site, links checked"
	@echo "make peers   compare with other registrations on simulated runs; CT=head.nii.gz VESSELS=cta.nii.gz OUT=DIR PEERS_ARGS="
	@echo "make paper   train the paper's three losses alike and print each over lambda; STORES='a.h5 b.h5' RUNS=DIR OUT=DIR"
	@echo "make clean   remove what the others made"

demo: $(VENV)/.demo
	@echo "== Registering $(EXAMPLE) with the shipped model"
	@$(BIN)/python register.py $(EXAMPLE) --out demo --save dicom,h5,png
	@echo "== The picture (contrast frame, plain DSA, BSA) and the subtracted run:"
	@find demo -type f \( -name '*.png' -o -name '*.dcm' \) | sort | sed 's/^/   /'

test: $(VENV)/.test
	@echo "== Running the tests"
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-fast: $(VENV)/.test
	@echo "== Running the tests that take less than half a second each"
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' $(PYTEST_ARGS)

# By sys.monitoring, where Python has it (3.12): the tracer that older ones need makes tests take half as long again.
coverage: $(VENV)/.test
	@echo "== Running the tests, and counting the lines that they reach"
	@COVERAGE_CORE=$$($(BIN)/python -c 'import sys; print("sysmon" if sys.version_info >= (3, 12) else "ctrace")') $(BIN)/python -m pytest -n 2 --dist loadfile --cov=angiomorph $(PYTEST_ARGS)

lint: $(VENV)/.lint
	@echo "== Format"
	@$(BIN)/ruff format --check
	@echo "== Style"
	@$(BIN)/ruff check
	@echo "== Types"
	@$(BIN)/mypy

docs: $(VENV)/.docs
	@echo "== Building the pages into build/site"
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

peers: $(VENV)/.peers
	@echo "== Comparing with other registrations (half an hour on two cores; the same command resumes)"
	@$(BIN)/python -m benchmarks.peers $(if $(CT),--ct '$(CT)') $(if $(VESSELS),--vessels '$(VESSELS)') --out '$(OUT)' $(PEERS_ARGS)

paper: $(VENV)/.peers
	@echo "== Training VLE, MinMax and MSE (three hours on one idle core; a stopped command resumes)"
	@$(BIN)/python -m benchmarks.training.paper $(STORES) --runs $(RUNS) --out '$(if $(filter build/peers,$(OUT)),build/paper,$(OUT))' $(PAPER_ARGS)

clean:
	@echo "== Removing $(VENV), demo and what was built or cached"
	@rm -rf $(VENV) demo build dist *.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find angiomorph benchmarks tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.demo: EXTRAS :=
$(VENV)/.test: EXTRAS := [test,simulate,images,export,openvino,cluster,view,notebook,benchmark,docs]
$(VENV)/.lint: EXTRAS := [lint,test,simulate,images,export,openvino,cluster,view,notebook]
$(VENV)/.docs: EXTRAS := [docs]
$(VENV)/.peers: EXTRAS := [simulate,benchmark]
$(VENV)/.demo $(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.peers: $(VENV)/.made setup.cfg pyproject.toml
	@echo "== Installing AngioMorph$(EXTRAS) and TensorFlow into $(VENV) (1 to 1.5 GB to download the first time)"
	@$(BIN)/python -m pip install --editable '.$(EXTRAS)'
	@touch $@

$(VENV)/.made:
	@for python in $(CANDIDATES); do \
	    "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1 || continue; \
	    found="$$python"; \
	    "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
	    echo "== Making a virtual environment in $(VENV) with $$("$$python" --version) ($$python)"; \
	    "$$python" -m venv --clear $(VENV) && touch $@ && exit 0; \
	    echo "Error: $$python could not make the virtual environment; see above." >&2; exit 1; \
	done; \
	if [ -n "$$found" ]; then \
	    echo "Error: $$found cannot make virtual environments (no ensurepip). On Debian or Ubuntu:" >&2; \
	    echo "    apt install $$("$$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; \
	else \
	    echo "Error: expected Python 3.10 to 3.13, tried: $(CANDIDATES); none is one." >&2; \
	    echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	fi; \
	exit 1
