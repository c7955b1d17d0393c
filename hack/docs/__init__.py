"""Compares the documentation with what exists: names, commands, manifests, words.

`python -m hack.docs` lists every fault with its line and what to write instead; tests/unit/test_docs_*.py fail on one.
"""
