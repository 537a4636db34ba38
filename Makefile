# Every target makes what it needs. `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := demo

.PHONY: demo test check bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

demo: $(READY)  ## a sample CT, its report, and where it lies
	$(BIN)/tomoscribe phantom $(DEMO)/ct --preset demo --seed 7
	$(BIN)/tomoscribe read $(DEMO)/ct --out $(DEMO)/report
	@echo
	@echo "Report:  $(DEMO)/report/report.md    (evidence: report.json, masks/, key/)"

test: $(READY)  ## all tests, on two cores
	$(BIN)/pytest -n 2

check: $(READY)  ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 0 tests/test_architecture.py

BENCHMARKS := reader counterfactuals reading corruptions limits implants real_scans speed

bench: $(READY)  ## every measured table, one after the other, about an hour; see benchmarks/README.md
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf .venv $(DEMO) build dist *.egg-info
