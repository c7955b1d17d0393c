.PHONY: bench-operator
bench-operator: setup ## 1,000 LLMServices on a real control plane, beside a minimal kopf operator (BENCH_ARGS="--services 100")
	@$(MAKE) --no-print-directory control-plane-binaries
	python -m benchmarks.bench_operator $(BENCH_ARGS)
