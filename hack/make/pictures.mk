.PHONY: pictures
# As root chromium wants --no-sandbox; both pages are ours and load nothing from elsewhere.
SCREENSHOT = chromium --headless --no-sandbox --hide-scrollbars --virtual-time-budget=10000

pictures: ## docs/images, from report.html (run `make demo` before) and benchmarks/results; needs chromium
	$(SCREENSHOT) --force-device-scale-factor=1.5 --window-size=640,380 --screenshot=docs/images/scheduler.png \
	  file://$(CURDIR)/benchmarks/results/scheduler.svg
	test ! -e report.html || $(SCREENSHOT) --window-size=1120,1240 --screenshot=docs/images/demo-report.png file://$(CURDIR)/report.html
