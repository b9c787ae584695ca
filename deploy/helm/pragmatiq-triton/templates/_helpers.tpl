{{- define "pragmatiq-triton.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end }}

{{/* 52 characters leave room for "-headless" in the 63 of a Service's name. */}}
{{- define "pragmatiq-triton.fullname" -}}
{{- $name := include "pragmatiq-triton.name" . }}
{{- $fullname := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $fullname | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "pragmatiq-triton.selectorLabels" -}}
app.kubernetes.io/name: {{ include "pragmatiq-triton.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pragmatiq-triton.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{ include "pragmatiq-triton.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "pragmatiq-triton.image" -}}
{{- $base := gt (int .Values.gpu.count) 0 | ternary "gpu" "cpu" }}
{{- $tag := .Values.image.tag | default (printf "%s-%s" .Chart.AppVersion $base) }}
{{- .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}
