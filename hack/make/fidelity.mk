.PHONY: bench-fidelity
bench-fidelity: setup ## the simulator judged by recorded runs of real vLLM on GPUs (some minutes; without ARGS the verdict)
	PYTHONPATH=operator:engine_image:. nice -n 10 python -m benchmarks.bench_fidelity $(or $(ARGS),--verdict)
