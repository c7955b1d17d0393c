{{- /* The files by which Prometheus is reached, as sources of a projected volume; empty where there are none. */}}
{{- define "andante-operator.prometheusFiles" -}}
{{- with .Values.prometheus }}
{{- if and .ca.secret .ca.configMap }}
{{- fail "prometheus.ca: give secret or configMap, not both" }}
{{- end }}
{{- if gt (len (compact (list .bearerToken.secret .bearerTokenFile .basicAuthSecret))) 1 }}
{{- fail "prometheus: give one of bearerToken.secret, bearerTokenFile and basicAuthSecret" }}
{{- end }}
{{- if and .insecureSkipVerify (or .ca.secret .ca.configMap) }}
{{- fail "prometheus: insecureSkipVerify checks no certificate, so prometheus.ca would mean nothing; give one of the two" }}
{{- end }}
{{- if .bearerToken.secret }}
- secret: {name: {{ .bearerToken.secret }}, items: [{key: {{ .bearerToken.key }}, path: token}]}
{{- end }}
{{- if .basicAuthSecret }}
- secret: {name: {{ .basicAuthSecret }}, items: [{key: username, path: username}, {key: password, path: password}]}
{{- end }}
{{- if .ca.secret }}
- secret: {name: {{ .ca.secret }}, items: [{key: {{ .ca.key }}, path: ca.crt}]}
{{- end }}
{{- if .ca.configMap }}
- configMap: {name: {{ .ca.configMap }}, items: [{key: {{ .ca.key }}, path: ca.crt}]}
{{- end }}
{{- if .clientCertificateSecret }}
- secret: {name: {{ .clientCertificateSecret }}, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
{{- end }}
{{- end }}
{{- end }}
