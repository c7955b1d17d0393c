"""Pure policy and measures: standard library, numpy and numba; no I/O but the folder of compiled
code (`compiled`), no logging, no clocks (time is passed in).
"""
