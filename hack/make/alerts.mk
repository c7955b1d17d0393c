.PHONY: bench-alerts bench-rules dashboard-page

bench-rules: setup ## what the recording and alerting rules of 1,000 services cost a real Prometheus (wants a quiet machine; ARGS="--services 100")
	PYTHONPATH=operator:engine_image:tests:. python -m benchmarks.bench_rules $(ARGS)

bench-alerts: setup ## the pages beside those of other tools, on simulated months with incidents (half a minute)
	PYTHONPATH=operator:engine_image:. python -m benchmarks.bench_alerts $(ARGS)

dashboard-page: setup ## dashboard.html: a dashboard's panels, drawn from a Prometheus' answers (ARGS="--prometheus http://127.0.0.1:9090")
	python -m hack.dashboards.picture $(ARGS)
