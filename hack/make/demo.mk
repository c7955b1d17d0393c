.PHONY: demo
demo: setup ## the main job: a cluster, real vLLM pods, a real trace with a surge, scaling on QoE (DEMO_ARGS="--help")
	@$(MAKE) --no-print-directory cluster-binaries helm engine-env
	python -m hack.demo $(DEMO_ARGS)
