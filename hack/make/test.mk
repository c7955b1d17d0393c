.PHONY: test lint format
test: setup ## every test that can run here; says what could not and why (SUITES="unit golden" picks)
	python3 hack/run_tests.py $(SUITES)

lint: setup ## ruff, mypy, import contracts, actionlint
	python3 hack/run_tests.py lint

format: setup ## ruff format and the fixes that ruff is sure of
	ruff format . && ruff check --fix .
