.PHONY: docs docs-check
docs: setup ## the documentation as a site, in build/site; fails on a wrong link or anchor
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
	@echo build/site/index.html

docs-check: setup ## names, commands, manifests and words of the documentation that are wrong, each with its line
	python -m hack.docs
