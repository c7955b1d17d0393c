"""Tests the operator with random faults on a real control plane, and checks what must hold meanwhile.

`make chaos` runs it for hours (`python -m chaos --help`), `tests/operator/test_operator_chaos.py` for two minutes with
each kind of fault once. `faults*.py` define the faults; `ledger.py`, `convergence.py` and `reaction.py` check what must
hold; the other modules run the cluster, the pods and the operators.
"""
