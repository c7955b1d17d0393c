"""Chaos for the operator: random faults of its whole world on a real control plane, and what must hold meanwhile.

`make chaos` runs it for long (`python -m chaos --help`), `tests/operator/test_operator_chaos.py` for a minute or two,
with each kind of fault. `faults*.py` say what is broken, `ledger.py`, `convergence.py` and `reaction.py` what must
hold; the rest is the world.
"""
