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
{{- $extras := .Values.image.extras | empty | ternary "" (printf "-%s" .Values.image.extras) }}
{{- $tag := .Values.image.tag | default (printf "%s-%s%s" .Chart.AppVersion $base $extras) }}
{{- .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "pragmatiq-triton.serviceAccountName" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "pragmatiq-triton.fullname" .) "default" }}
{{- .Values.serviceAccount.name | default $own }}
{{- end }}

{{/* What contradicts itself, or opens the server without saying so. */}}
{{- define "pragmatiq-triton.check" -}}
{{- if and .Values.modelRepository.existingClaim .Values.modelRepository.image }}
{{- fail "modelRepository: existingClaim and image are both given; name one, or neither for a repository in the image" }}
{{- end }}
{{- $of := .Values.gateway }}
{{- if not $of.enabled }}
{{- if or $of.apiKeys.existingSecret $of.tls.existingSecret (index .Values.settings "gateway") }}
{{- fail "gateway.enabled is false, so its keys, TLS and settings would have no use" }}
{{- end }}
{{- else }}
{{- if .Values.apiKey.existingSecret }}
{{- fail "apiKey opens Triton's restricted APIs, which nobody reaches behind the gateway: see gateway.apiKeys for callers" }}
{{- end }}
{{- $auth := dig "gateway" "auth" dict .Values.settings }}
{{- $known := or $of.apiKeys.existingSecret $of.tls.clientCertificates (index $auth "api_keys") (index $auth "jwt") (index $auth "certificates") }}
{{- if not (or $known $of.allowAnonymous (index $auth "allow_anonymous")) }}
{{- fail "gateway: everybody in the cluster could call: set apiKeys.existingSecret, tls.clientCertificates or settings.gateway.auth, or say allowAnonymous: true" }}
{{- end }}
{{- $tls := dig "gateway" "tls" dict .Values.settings }}
{{- if not (or $of.tls.existingSecret (index $tls "certificate") $of.allowPlaintext (index $tls "allow_plaintext")) }}
{{- fail "gateway: what customers did would pass in plain text: set tls.existingSecret, or say allowPlaintext: true where a mesh or an ingress ends TLS" }}
{{- end }}
{{- if and $of.tls.clientCertificates (not $of.tls.existingSecret) }}
{{- fail "gateway.tls.clientCertificates: set tls.existingSecret, whose ca.crt signs them" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Variables of the container. */}}
{{- define "pragmatiq-triton.env" -}}
- name: PRAGMATIQ_DRAIN_SECONDS
  value: {{ .Values.drainSeconds | quote }}
- name: PRAGMATIQ_SKIP_VERIFICATION
  value: {{ .Values.skipVerification | ternary "1" "0" | quote }}
- name: PRAGMATIQ_TRUST_REMOTE_CODE
  value: {{ .Values.trustRemoteCode | ternary "1" "0" | quote }}
{{- if .Values.cache.enabled }}
- name: PRAGMATIQ_CACHE_FOLDER
  value: /cache
{{- end }}
- name: PRAGMATIQ_GATEWAY
  value: {{ .Values.gateway.enabled | ternary "1" "0" | quote }}
{{- if .Values.settings }}
- name: PRAGMATIQ_SETTINGS
  value: /etc/pragmatiq/settings.yaml
{{- end }}
{{- with .Values.gateway }}
{{- if .enabled }}
{{- if .apiKeys.existingSecret }}
- name: PRAGMATIQ_GATEWAY_AUTH_API_KEYS
  value: /run/pragmatiq/callers/api-keys
{{- end }}
{{- if .tls.existingSecret }}
- name: PRAGMATIQ_GATEWAY_TLS_CERTIFICATE
  value: /run/pragmatiq/tls/tls.crt
- name: PRAGMATIQ_GATEWAY_TLS_KEY
  value: /run/pragmatiq/tls/tls.key
{{- end }}
{{- with .tls.clientCertificates }}
- name: PRAGMATIQ_GATEWAY_TLS_CLIENT_CA
  value: /run/pragmatiq/tls/ca.crt
- name: PRAGMATIQ_GATEWAY_AUTH_CERTIFICATES
  value: {{ join "," . | quote }}
{{- end }}
{{- if .allowAnonymous }}
- name: PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS
  value: "1"
{{- end }}
{{- if .allowPlaintext }}
- name: PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT
  value: "1"
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
