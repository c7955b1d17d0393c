{{- /* Generated from the table in andante.app.children by `make generate`; a test compares. Do not edit. */}}
{{- define "andante-operator.childRules" -}}
# The pods' identity.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# The engine's settings.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# What clients reach.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# So that a drained node takes one replica at a time.
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# Where spec.networkPolicy asks for one.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Tells a Prometheus Operator to scrape the engines, where its CRD is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
# The alerts of the promise, where the CRD of the Prometheus Operator is installed.
- apiGroups: [monitoring.coreos.com]
  resources: [prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# The engine pods.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
