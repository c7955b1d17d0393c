"""The outside: the Kubernetes API, Prometheus, engine pods, the clock. Each fulfils a protocol of andante.ports."""
