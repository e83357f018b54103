# One command per intent. `demo` and `test` set up what they need by themselves.
PYTHON := .venv/bin/python
SOURCES := src tests scripts/render-tables scripts/render-planted bench
# Hundreds of processes are started here: each would compile anew whatever it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check sim bench soak lock clean

demo: ## a live migration on this machine, and the proof
	@scripts/setup run
	@.venv/bin/quorate demo

test: ## everything that must hold, on real processes
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	@$(PYTHON) -m pytest -q -n 2 tests/simulator
	@$(PYTHON) -m pytest -q tests/worlds tests/hands tests/contract tests/system tests/hostile

check: ## format, lint, types, layers, unit tests: under a minute, for every commit
	@scripts/setup test
	@.venv/bin/ruff format --check --quiet $(SOURCES)
	@.venv/bin/ruff check --quiet $(SOURCES)
	@.venv/bin/mypy -n 2 || { [ $$? -eq 2 ] && .venv/bin/mypy; } # its workers have 3 s to start: too few on a busy machine
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m pytest -q -n 2 --dist worksteal tests/unit

sim: ## ten thousand random histories in the simulator; what breaks a law is made short and kept in build/sim
	@scripts/setup test
	@.venv/bin/quorate simulate --random 10000 --seed $(or $(SEED),1) --jobs 2 --keep build/sim

bench: ## how fast, in ratios to what QEMU does by itself; results in build/bench
	@scripts/setup test
	@$(PYTHON) -m bench.run

soak: ## the long repetitions; seeds are printed, a second call goes on
	@scripts/setup test
	@QUORATE_SOAK=1 $(PYTHON) -m pytest -q -m "soak or hypothesis" tests

lock: ## write the lock files anew
	@scripts/lock

clean: ## remove what can be made again
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
