.PHONY: demo bench-demo
demo: ## the main job: a cluster, real vLLM pods, a real trace with a surge, ours beside stock vLLM with an autoscaler (DEMO_ARGS="--help")
	@hack/preflight.sh $(DEMO_ARGS)
	@$(MAKE) --no-print-directory setup
	python -m hack.demo $(DEMO_ARGS)

bench-demo: ## the demo, and its requests in the simulator too: benchmarks/results/demo.json (about 18 minutes)
	@mkdir -p build
	@$(MAKE) --no-print-directory demo DEMO_ARGS="--json build/demo.json $(DEMO_ARGS)"
	PYTHONPATH=operator:engine_image:. python -m benchmarks.bench_demo build/demo.json
