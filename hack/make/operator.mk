.PHONY: bench-operator bench-decide chaos
bench-operator: setup ## 1,000 LLMServices with ten ready pods each on a real control plane, beside a minimal kopf operator (BENCH_ARGS="--services 100")
	@$(MAKE) --no-print-directory control-plane-binaries
	python -m benchmarks.bench_operator $(BENCH_ARGS)

bench-decide: setup ## what the scaling law's decisions cost: a tick of 1,000 services (minutes)
	PYTHONPATH=operator:engine_image:. python -m benchmarks.bench_decide

chaos: setup ## random faults of a real control plane, pods and operators, and what must hold (ARGS="--faults 2000 --seed 7")
	@$(MAKE) --no-print-directory control-plane-binaries helm
	PYTHONPATH=operator:engine_image:tests:. python -m chaos $(ARGS)
