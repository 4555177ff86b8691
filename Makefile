# The names people type. Each target is one line; the work is done by meson and by scripts/.

.PHONY: build-dev build test test-quick sanitize format lint clean

build-dev: ## build rloop and install it into build/venv-X.Y
	@scripts/bootstrap.sh

build: ## a wheel in dist/
	@"$$(scripts/bootstrap.sh --venv-only)" -m pip wheel --no-deps --wheel-dir dist .

test: ## everything, on every interpreter
	@scripts/test.sh

test-quick: ## everything, on one interpreter
	@scripts/test.sh --quick

sanitize: ## the tests under ASan and UBSan
	@scripts/test.sh --sanitize

format: ## clang-format and ruff
	@scripts/format.sh

lint: ## what is not a test: layers and sizes, formatting, ruff, mypy
	@python3 scripts/tidy.py
	@scripts/format.sh --check
	@tools="$$(dirname "$$(scripts/bootstrap.sh --venv-only)")"; \
	  "$$tools/ruff" check . && "$$tools/mypy"

clean:
	rm -rf build dist
