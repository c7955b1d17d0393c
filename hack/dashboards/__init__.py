"""Makes the chart's Grafana dashboards with Grafana's own builders; `make generate` writes them, a test compares.

One dashboard serves all services: variables choose namespace and service. Grafana 10.1 and newer read them.
"""
