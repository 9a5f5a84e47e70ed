# Everything runs in .venv, made on first use from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
MARK := .venv/.installed
PARALLEL := --numprocesses 2 --dist loadfile
CRATES := .venv/crate-validator

.PHONY: demo test check audit soak bench docs clean

demo: $(MARK)
	$(BIN)/benchwire demo --data-dir .demo

# Two at a time, first those that do not keep time with emulated instruments and browsers. Those that
# fail run once more with the machine to themselves: a machine may stall for a second, a fault stays.
test: $(MARK) $(CRATES)/.installed
	for these in "not paced" paced; do \
		$(BIN)/python -m pytest -m "$$these" $(PARALLEL) || \
			{ test $$? -eq 1 && $(BIN)/python -m pytest -m "$$these" --last-failed; } || exit 1; \
	done

# The long form of every fault; takes a day for the bench that endures, and hours for the rest.
soak: $(MARK)
	$(BIN)/python -m pytest tests/faults --soak

check: $(MARK)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) audit
	$(MAKE) test

# Known weaknesses of what is installed, and secrets in files.
audit: $(MARK)
	$(BIN)/python tools/audit.py

bench: $(MARK)
	$(BIN)/python benchmarks/streams.py
	$(BIN)/python benchmarks/acquisition.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/plates.py
	$(BIN)/python benchmarks/storage.py
	$(BIN)/python benchmarks/pipeline.py
	$(BIN)/python benchmarks/fitting.py
	$(BIN)/python benchmarks/served_fits.py
	$(BIN)/python benchmarks/ingest.py
	$(BIN)/python benchmarks/telemetry.py
	$(BIN)/python benchmarks/anomalies.py
	$(BIN)/python benchmarks/forecast.py
	$(BIN)/python benchmarks/backup.py
	$(BIN)/python benchmarks/readers.py
	$(BIN)/python benchmarks/dashboard.py
	$(BIN)/python benchmarks/cluster.py
	$(BIN)/python benchmarks/mixed.py

# The documentation site, in site/.
docs: $(MARK)
	$(BIN)/python tools/build_site.py

clean:
	rm -rf .venv .demo site

$(MARK): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock --editable ".[dev]"
	touch $(MARK)

# The validator of RO-Crates and the linter of imports do not agree on a version of rich.
$(CRATES)/.installed: tests/crate-validator.lock | $(MARK)
	test -x $(CRATES)/bin/python || $(PYTHON) -m venv $(CRATES)
	$(CRATES)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
