.PHONY: bench-startup
bench-startup: engine-env ## seconds that Andante adds to an engine's start, cold and with a cache volume (wants a quiet machine)
	$(ENGINE_PYTHON) benchmarks/bench_startup.py $(ARGS)

.PHONY: engine-env engine-lock test-contract bench-meter bench-uncontended bench-virtual-gpu
# One environment for each Python (hack/engine_env.sh); asked for when a recipe runs, after setup has brought a python3.
ENGINE_PYTHON_VERSION = $(shell $(or $(ANDANTE_ENGINE_PYTHON),python3) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ENGINE_PYTHON = $(ANDANTE_CACHE)/engine-env/vllm-0.32.0-py$(ENGINE_PYTHON_VERSION)/bin/python

engine-env: setup ## real vLLM 0.32.0 without a GPU, cached (about 6 GB, 3 minutes the first time)
	hack/engine_env.sh

engine-lock: setup ## resolve the engine's requirements again and write engine_image/*.lock
	hack/engine_env.sh --lock

test-contract: engine-env ## our classes inside the real vLLM (virtual GPU and tiny model, no GPU)
	$(ENGINE_PYTHON) -m pytest -q tests/contract $(ARGS)

bench-meter: engine-env ## what the delivery meter costs at 128 streams (wants a quiet machine)
	$(ENGINE_PYTHON) benchmarks/bench_meter.py $(ARGS)

bench-uncontended: engine-env ## the QoE scheduler's cost while nothing is short, whole servers (wants a quiet machine)
	$(ENGINE_PYTHON) benchmarks/bench_uncontended.py $(ARGS)

bench-virtual-gpu: engine-env ## the virtual GPU's time per token against its profile (wants a quiet machine)
	$(ENGINE_PYTHON) benchmarks/bench_virtual_gpu.py

.PHONY: http-fuzz
http-fuzz: engine-env ## 100,000 hostile HTTP requests to an engine on the virtual GPU (REQUESTS=1000 sends fewer, SEED=N the same again)
	ANDANTE_FUZZ_REQUESTS=$(or $(REQUESTS),100000) ANDANTE_FUZZ_SEED=$(or $(SEED),$(shell date +%s)) $(ENGINE_PYTHON) -m pytest -q tests/contract/test_hostile_requests.py
