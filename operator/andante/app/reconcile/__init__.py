"""Makes the cluster look like one service's spec: gather, plan, apply."""
