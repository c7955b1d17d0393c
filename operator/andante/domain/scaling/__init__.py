"""Makes the scaling decision: a pure function of a snapshot, a small memory and the time."""
