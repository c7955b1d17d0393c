"""Scaling laws of others, to compare Andante's with: one module for each law or family.

`docs/reference/rival-laws.md` states each law in words, with its source and what could not be known. The code is our
own. `registry` builds a law by name. A law keeps its own memory: one object serves one run.
"""
