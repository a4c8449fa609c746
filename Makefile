# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv if it is not there.
PYTHON ?= python3
BIN := .venv/bin
# Each set of packages has a mark of its own: the demo installs no tool of the tests.
PIP := $(BIN)/pip install --quiet --constraint constraints.txt --editable
ROOM ?=
SECONDS_OF = @start=$$(date +%s); $(1); status=$$?; echo "$@: $$(($$(date +%s) - start)) s"; exit $$status

.PHONY: demo viewer test test-slow test-services bench-smoke check format reference pictures wheelhouse clean

.venv/.made:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

.venv/.demo: .venv/.made pyproject.toml constraints.txt
	$(PIP) '.[chat,serve]'
	touch $@

.venv/.dev: .venv/.made pyproject.toml constraints.txt
	$(PIP) '.[dev]'
	touch $@

.venv/.services: .venv/.dev
	$(PIP) '.[services]'
	touch $@

.venv/.bench: .venv/.dev
	$(PIP) '.[bench]'
	touch $@

# Packages that tests set beside ours, on the path of a child process and never in .venv: they need a torchvision that does not load there.
.published/.made: .venv/.dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target .published spectre-fm==0.2.1 timm==1.0.22 loralib==0.1.2
	touch $@

# The page's viewer, for a checkout; the wheel has it. Without npm the page shows slices that the server draws.
VIEWER := src/thoracle/serving/static/vendor/niivue.js

web/node_modules: web/package.json web/package-lock.json
	cd web && npm ci --ignore-scripts --no-audit --no-fund
	touch $@

$(VIEWER): web/node_modules web/build.mjs web/niivue.entry.js web/no-zarr.js
	cd web && node build.mjs

viewer: $(VIEWER)

# With the viewer where npm is, for `thoracle serve`.
demo: .venv/.demo
	-@command -v npm > /dev/null && $(MAKE) --no-print-directory viewer
	$(BIN)/python -m thoracle demo

# All rooms, or one: make test ROOM=ct
test: .venv/.dev
	$(call SECONDS_OF,$(BIN)/python -m pytest -n 2 -m "not slow and not service and not manual" tests/$(ROOM))

# Ranks of the room of training need both cores: its tests are run one after the other.
SLOW := $(BIN)/python -m pytest -m "slow and not manual"
test-slow: .venv/.dev .published/.made
	$(call SECONDS_OF,$(SLOW) -n 2 --dist loadfile --ignore=tests/training; others=$$?; $(SLOW) tests/training && test $$others = 0)

test-services: .venv/.services $(VIEWER)
	$(call SECONDS_OF,$(BIN)/python -m pytest -m "service and not manual")

bench-smoke: .venv/.bench
	$(call SECONDS_OF,$(BIN)/python bench/smoke.py)

# The benches are typed but not strictly: what they call of libraries without types is theirs to know.
check: .venv/.bench
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=bench $(BIN)/mypy --explicit-package-bases --allow-untyped-calls --no-warn-return-any bench
	$(BIN)/lint-imports

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: .venv/.dev
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_api.py

pictures: .venv/.dev
	$(BIN)/python docs/make_pictures.py

wheelhouse: .venv/.dev $(VIEWER)
	$(BIN)/pip wheel --quiet --constraint constraints.txt --wheel-dir wheelhouse '.[hub,serve]'

clean:
	rm -rf .venv .published demo wheelhouse web/node_modules $(dir $(VIEWER))
