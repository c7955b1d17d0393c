.PHONY: demo
demo: ## the main job: a cluster, real vLLM pods, a real trace with a surge, scaling on QoE (DEMO_ARGS="--help")
	@hack/preflight.sh $(DEMO_ARGS)
	@$(MAKE) --no-print-directory setup
	python -m hack.demo $(DEMO_ARGS)
