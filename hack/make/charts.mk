.PHONY: golden chart-package crd-upgrade
golden: setup helm ## rewrite the golden files of the charts, and the reference of their values
	python -m hack.chart_values
	ANDANTE_WRITE_GOLDEN=1 python -m pytest -q tests/golden/test_chart.py

chart-package: setup helm ## the chart as one file, in dist/
	$$($(LOCAL_CLUSTER) binaries helm) package . --destination dist

crd-upgrade: setup ## bring the CRD of the current kubectl context to this version (Helm never does)
	kubectl apply --server-side --force-conflicts -f crds/
