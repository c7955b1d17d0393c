.PHONY: estimate-env estimate-record estimate-check bench-estimate
# It goes into .venv, as none of its packages is of another version there. hack/setup.sh leaves it in place.
estimate-env: setup ## AIConfigurator's kernel times, for `andante profile estimate`, into .venv (140 MB to fetch, 330 MB)
	uv pip install -q --python .venv/bin/python --require-hashes -r requirements-estimate.lock

estimate-record: estimate-env ## AIConfigurator's answers that the unit tests ask for, into tests/unit/aiconfigurator_answers.json
	PYTHONPATH=operator:tests:. python -m benchmarks.record_aiconfigurator

estimate-check: estimate-env ## whether AIConfigurator still answers as recorded
	PYTHONPATH=operator:tests:. python -m benchmarks.record_aiconfigurator --check

bench-estimate: estimate-env ## estimated profiles beside the shipped ones, at four steps each (half a minute)
	PYTHONPATH=operator:engine_image:. python -m benchmarks.bench_estimate $(ARGS)
