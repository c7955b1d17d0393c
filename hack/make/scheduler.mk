.PHONY: bench-scheduler bench-patience bench-stock bench-replay bench-ablation bench-sweep bench-again bench-prefix bench-speculative bench-classes bench-surge bench-host-kv bench-clairvoyant bench-real-time bench-decision demo-engine vllm-conformance scheduler-fuzz
# Strings hash alike in every process, so that a run repeats to the last digit: vLLM keeps sets of request ids.
SCHEDULER_RUN = env PYTHONHASHSEED=0 PYTHONPATH=operator:engine_image:. $(ENGINE_PYTHON)

bench-scheduler: engine-env ## QoE over load in virtual time: stock at its best, simple orders, Andes and ours (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_scheduler $(ARGS)

bench-patience: engine-env ## the same with readers who leave, mean patience 60 s and 20 s (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_scheduler --patience 60 --name scheduler-patience-60 $(ARGS)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_scheduler --patience 20 --name scheduler-patience-20 $(ARGS)

bench-stock: engine-env ## which of vLLM's flags serve readers best: the rival of all tables (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_stock $(ARGS)

bench-replay: engine-env ## recorded traces against stock at its best, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_replay $(ARGS)

bench-ablation: engine-env ## the policy with one part changed at a time, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_ablation $(ARGS)

bench-sweep: engine-env ## profiles, lengths, paces, loads and patience against stock at its best, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_sweep $(ARGS)

bench-again: engine-env ## the violations of bench-sweep again with ten other seeds: the policy or the seed (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_again $(ARGS)

bench-prefix: engine-env ## system prompts and sessions, against FCFS at its best, in virtual time (resumable; about an hour)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_prefix $(ARGS)

bench-speculative: engine-env ## draft tokens: qoe against FCFS at its best, on a small engine in virtual time (minutes)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_speculative $(ARGS)

bench-classes: engine-env ## a mix of classes: who pays for whom, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_classes $(ARGS)

bench-surge: engine-env ## replicas that a 60 s surge takes at equal mean QoE, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_surge $(ARGS)

bench-clairvoyant: engine-env ## distance to a reference that knows all lengths (after bench-scheduler)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_clairvoyant $(ARGS)

bench-host-kv: engine-env ## QoE over the host memory that KV gets, in virtual time (resumable)
	nice -n 15 $(SCHEDULER_RUN) -m benchmarks.scheduling.bench_host_kv $(ARGS)

bench-real-time: engine-env ## the same arrivals through the whole server and in virtual time (12 minutes)
	$(SCHEDULER_RUN) -m benchmarks.scheduling.bench_real_time $(ARGS)

demo-engine: engine-env ## no cluster: one engine under a burst, stock and QoE scheduling side by side (4 minutes)
	$(SCHEDULER_RUN) -m hack.demo_engine $(DEMO_ARGS)

bench-decision: engine-env ## what a decision costs beside vLLM's own scheduling (wants a quiet machine)
	$(SCHEDULER_RUN) -m benchmarks.scheduling.bench_decision $(ARGS)

scheduler-fuzz: engine-env ## random requests of every kind under preemption, abort and too few blocks (ARGS="--steps 1000000")
	nice -n 10 $(SCHEDULER_RUN) -m benchmarks.scheduling.fuzz $(ARGS)

vllm-conformance: engine-env ## vLLM's own scheduler tests with our class in place of its own
	nice -n 10 $(SCHEDULER_RUN) -m hack.vllm_conformance $(ARGS)

scheduler-docs: setup ## the tables of pages in docs/reference from benchmarks/results
	python -m hack.scheduler_docs
