"""Recorded runs of real engines: predicted by the simulator, fitted, and compared with it.

A folder of its own: the simulator is compiled anew when a file beside it changes.
"""
