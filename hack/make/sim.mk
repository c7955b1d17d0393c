.PHONY: bench-sim

bench-sim: setup ## what the simulator costs: a replica-hour alone and under overload, a fleet's day, memory over length (minutes)
	PYTHONPATH=operator:engine_image:. python -m benchmarks.bench_sim $(ARGS)
