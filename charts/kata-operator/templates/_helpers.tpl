{{- define "kata-operator.labels" -}}
{{ include "kata-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{- define "kata-operator.selector" -}}
app.kubernetes.io/name: kata-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "kata-operator.controllerSelector" -}}
{{ include "kata-operator.selector" . }}
app.kubernetes.io/component: controller
{{- end }}

{{- /* Arguments: the root context and one of .Values.image, .Values.nodeImage. */}}
{{- define "kata-operator.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "kata-operator.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "kata-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}
