"""The simulator: the production policy in a compiled model of vLLM's step loop.

`docs/reference/simulator.md` says what it models and what it leaves out. It may use `andante.domain` and
`andante.profiles`; nothing that serves uses it.
"""
