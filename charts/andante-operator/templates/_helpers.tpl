{{- define "andante-operator.selector" -}}
app.kubernetes.io/name: andante-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "andante-operator.commonLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "andante-operator.labels" -}}
app.kubernetes.io/name: andante-operator
{{ include "andante-operator.commonLabels" . }}
{{- end }}

{{/* Labels of what a hook makes; another name, so that no selector of the operator finds its pods. */}}
{{- define "andante-operator.hookLabels" -}}
app.kubernetes.io/name: andante-operator-hook
{{ include "andante-operator.commonLabels" . }}
{{- end }}

{{/* The operator's image. With global.imageRegistry nothing comes from elsewhere. */}}
{{- define "andante-operator.image" -}}
{{- $registry := (.Values.global | default dict).imageRegistry -}}
{{- with .Values.image -}}
{{- $repository := .repository -}}
{{- if and $registry (not (hasPrefix (printf "%s/" $registry) ($repository | default ""))) -}}
{{- $repository = printf "%s/andante-operator" $registry -}}
{{- end -}}
{{- if not $repository -}}
{{- fail "the chart does not know where the operator's image is, as neither global.imageRegistry nor andante-operator.image.repository is set: run `make publish REGISTRY=HOST/PATH`, which pushes the image and prints the line to install with, or add `--set global.imageRegistry=HOST/PATH` where a registry has it already" -}}
{{- end -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The engines' default image: one of docker.io comes from global.imageRegistry where that is set. */}}
{{- define "andante-operator.engineImage" -}}
{{- $registry := (.Values.global | default dict).imageRegistry -}}
{{- if and $registry (hasPrefix "docker.io/" .Values.engineImage) -}}
{{ $registry }}/{{ trimPrefix "docker.io/" .Values.engineImage }}
{{- else -}}
{{ .Values.engineImage }}
{{- end -}}
{{- end }}

{{/* imagePullSecrets of the operator's and the hooks' pods, as YAML; nothing where there are none. */}}
{{- define "andante-operator.imagePullSecrets" -}}
{{- with concat ((.Values.global | default dict).imagePullSecrets | default list) .Values.imagePullSecrets | uniq -}}
{{ toYaml . }}
{{- end -}}
{{- end }}

{{/* Pod and container settings that the Pod Security level `restricted` asks for, and a read-only root file system. */}}
{{- define "andante-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "andante-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Where a pod of this chart may run. */}}
{{- define "andante-operator.placement" -}}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spec of a pod that runs `python -m andante.chart_hooks`: a dict with root, name, serviceAccount and args. */}}
{{- define "andante-operator.hookPod" -}}
restartPolicy: Never
serviceAccountName: {{ .serviceAccount }}
enableServiceLinks: false
{{- with include "andante-operator.imagePullSecrets" .root }}
imagePullSecrets: {{- . | nindent 2 }}
{{- end }}
securityContext: {{- include "andante-operator.podSecurityContext" .root | nindent 2 }}
containers:
  - name: {{ .name }}
    image: {{ include "andante-operator.image" .root | quote }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    command: [python, -m, andante.chart_hooks]
    args: {{- toYaml .args | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext: {{- include "andante-operator.containerSecurityContext" .root | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 96Mi}
      limits: {memory: 256Mi}
{{- with include "andante-operator.placement" .root | trim }}
{{ . }}
{{- end }}
{{- end }}
