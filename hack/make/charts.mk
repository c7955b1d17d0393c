.PHONY: golden engine-image-cpu
golden: setup helm ## rewrite the golden files of the charts
	ANDANTE_WRITE_GOLDEN=1 python -m pytest -q tests/golden/test_chart.py
