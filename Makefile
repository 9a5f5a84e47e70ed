# Everything runs in .venv, made on first use from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
MARK := .venv/.installed

.PHONY: demo test check bench clean

demo: $(MARK)
	$(BIN)/benchwire demo --data-dir .demo

# Tests that keep time with emulated instruments and browsers have the machine to themselves.
test: $(MARK)
	$(BIN)/python -m pytest -m "not paced" --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest -m paced

check: $(MARK)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

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

clean:
	rm -rf .venv .demo

$(MARK): pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint requirements.lock --editable ".[dev]"
	touch $(MARK)
