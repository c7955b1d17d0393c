.PHONY: bench-league bench-league-full league-env league-lock league-record league-check
LEAGUE_PYTHON = $(ANDANTE_CACHE)/league-env/dynamo-1.4.2-py$(shell $(or $(ANDANTE_PYTHON),python3) -c 'import sys; print("%d.%d" % sys.version_info[:2])')/bin/python
LEAGUE_RUN = env PYTHONPATH=operator:engine_image:tests:. $(LEAGUE_PYTHON)

league-env: setup ## the planner of ai-dynamo 1.4.2, for the league of scaling laws, cached (about 800 MB)
	hack/league_env.sh

league-lock: setup ## resolve the league's requirements again and write benchmarks/league/requirements.lock
	hack/league_env.sh --lock

league-record: league-env ## what the planner of ai-dynamo decides on the unit tests' histories, for tests/unit/test_sim_laws_dynamo.py
	nice -n 15 $(LEAGUE_RUN) -m benchmarks.league.record_dynamo

league-check: league-env ## whether the planner of ai-dynamo still decides as recorded
	nice -n 15 $(LEAGUE_RUN) -m benchmarks.league.record_dynamo --check

bench-league: setup ## who keeps the promise for the fewest replica-hours: our scaling law and others, tuned alike (some hours; resumable)
	PYTHONPATH=operator:engine_image:. nice -n 15 python -m benchmarks.league $(ARGS)

bench-league-full: league-env ## the same for all warm-ups, readers who leave, both promises and all rivals (many hours; resumable)
	nice -n 15 $(LEAGUE_RUN) -m benchmarks.league --full $(ARGS)
