"""Pure policy and measures: standard library and numpy, no I/O, no logging, no clocks (time is passed in)."""
