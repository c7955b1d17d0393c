.PHONY: bench-fidelity
bench-fidelity: setup ## the simulator against recorded runs of real vLLM on GPUs (some minutes; ARGS=--verdict judges)
	PYTHONPATH=operator:engine_image:. nice -n 10 python -m benchmarks.bench_fidelity $(ARGS)
