"""The parts of `make bench-operator`: control plane, engine pods that answer, and what is measured on them."""
