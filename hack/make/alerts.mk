.PHONY: bench-rules

bench-rules: setup ## what the recording and alerting rules of 1,000 services cost a real Prometheus (wants a quiet machine; ARGS="--services 100")
	PYTHONPATH=operator:engine_image:tests:. python -m benchmarks.bench_rules $(ARGS)
