{{/* What things are called. */}}

{{- define "cacheproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Short enough that Kubernetes can put `-replicas`, or a hash, behind it. */}}
{{- define "cacheproxy.fullname" -}}
{{- $name := include "cacheproxy.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* What a component's pods are selected by: never changes. Called with (list $ COMPONENT). */}}
{{- define "cacheproxy.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "cacheproxy.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Kubernetes' recommended labels. Called with (list $ COMPONENT). */}}
{{- define "cacheproxy.labels" -}}
{{- $ := index . 0 -}}
{{ include "cacheproxy.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: cacheproxy
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- with $.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace and labels of an object. Called with (list $ COMPONENT SUFFIX). */}}
{{- define "cacheproxy.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "cacheproxy.fullname" $ }}{{ index . 2 }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "cacheproxy.labels" (list $ (index . 1)) | nindent 2 }}
{{- end -}}

{{- define "cacheproxy.serviceAccountName" -}}
{{- default (ternary (include "cacheproxy.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "cacheproxy.image" -}}
{{- with .Values.image -}}
{{- .repository -}}
{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ default $.Chart.AppVersion .tag }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The name of the Service within the cluster, for clients and for certificates. */}}
{{- define "cacheproxy.host" -}}
{{- include "cacheproxy.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{- define "cacheproxy.scheme" -}}
{{- ternary "https" "http" (or .Values.tls.enabled (dig "server" "tls" nil .Values.config | empty | not)) -}}
{{- end -}}

{{/* Secrets: the user's, or what this chart has made. */}}
{{- define "cacheproxy.clusterSecret" -}}
{{- default (printf "%s-cluster" (include "cacheproxy.fullname" .)) .Values.cluster.existingSecret -}}
{{- end -}}

{{- define "cacheproxy.redisSecret" -}}
{{- default (printf "%s-redis" (include "cacheproxy.fullname" .)) .Values.redis.existingSecret -}}
{{- end -}}

{{- define "cacheproxy.tlsSecret" -}}
{{- default (printf "%s-tls" (include "cacheproxy.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/*
A value that is made once: what the Secret in the cluster has under that key, in base64, else a new
one. Called with (list $ SECRET KEY).
*/}}
{{- define "cacheproxy.kept" -}}
{{- $ := index . 0 -}}
{{- $there := lookup "v1" "Secret" $.Release.Namespace (index . 1) -}}
{{- dig "data" (index . 2) (randAlphaNum 40 | b64enc) (default dict $there) -}}
{{- end -}}
