{{/* The pod of the proxy, as the StatefulSet and the DaemonSet have it. */}}
{{- define "cacheproxy.pod" -}}
metadata:
  labels:
    {{- include "cacheproxy.labels" (list . "cache") | nindent 4 }}
    {{- $azure := dict }}
    {{- if .Values.serviceAccount.azureClientId }}{{ $_ := set $azure "azure.workload.identity/use" "true" }}{{ end }}
    {{- with merge (deepCopy .Values.podLabels) $azure }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $checksum := dict "checksum/config" (toYaml .Values.config | sha256sum) }}
  {{- with merge (deepCopy .Values.podAnnotations) (ternary $checksum dict .Values.restartOnChange) }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "cacheproxy.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
  # Each Service would else be some variables; none of them is for us.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "cacheproxy.graceSeconds" . }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with include "cacheproxy.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- if .Values.persistence.prepareHostPath }}
  initContainers:
    - name: prepare
      {{- include "cacheproxy.prepare" . | nindent 6 }}
  {{- end }}
  containers:
    - name: cacheproxy
      {{- include "cacheproxy.container" . | nindent 6 }}
  volumes:
    {{- include "cacheproxy.volumes" . | nindent 4 }}
{{- end -}}

{{- define "cacheproxy.container" -}}
image: {{ include "cacheproxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [cacheproxy, serve, --config, /etc/cacheproxy/cacheproxy.yaml]
env:
  {{- include "cacheproxy.env" . | nindent 2 }}
ports:
  - name: pull
    containerPort: {{ include "cacheproxy.pullPort" . }}
    {{- if and (eq .Values.mode "daemonset") .Values.hostPort }}
    hostPort: {{ .Values.hostPort }}
    {{- with .Values.hostIP }}
    hostIP: {{ . }}
    {{- end }}
    {{- end }}
  - {name: admin, containerPort: {{ include "cacheproxy.adminPort" . }}}
  {{- if include "cacheproxy.isCluster" . }}
  - {name: peers, containerPort: {{ .Values.cluster.port }}}
  {{- end }}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  {{- toYaml .Values.probes.startup | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  {{- toYaml .Values.probes.readiness | nindent 2 }}
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  {{- toYaml .Values.probes.liveness | nindent 2 }}
{{- if .Values.drain.preStopSeconds }}
lifecycle:
  preStop:
    # The port closes with the signal, and not everybody knows at once that the pod leaves. Python is
    # there in any case, `sleep` may not be.
    exec: {command: [python3, -c, "import time; time.sleep({{ .Values.drain.preStopSeconds }})"]}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.containerSecurityContext | nindent 2 }}
volumeMounts:
  {{- include "cacheproxy.mounts" . | nindent 2 }}
{{- end -}}

{{/* Kubernetes makes directories of nodes for root alone. */}}
{{- define "cacheproxy.prepare" -}}
image: {{ include "cacheproxy.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [python3, -c, "import os; os.chown('/cache', {{ .Values.podSecurityContext.runAsUser }}, {{ .Values.podSecurityContext.runAsGroup }})"]
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: false
  runAsUser: 0
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL], add: [CHOWN]}
volumeMounts:
  - {name: cache, mountPath: /cache}
{{- end -}}

{{/* Where pods go. */}}
{{- define "cacheproxy.placement" -}}
{{- if .Values.affinity }}
affinity:
  {{- toYaml .Values.affinity | nindent 2 }}
{{- else if and (eq .Values.mode "statefulset") (ne .Values.antiAffinity "none") }}
affinity:
  podAntiAffinity:
    {{- if eq .Values.antiAffinity "hard" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - {{- include "cacheproxy.apart" . | nindent 8 }}
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          {{- include "cacheproxy.apart" . | nindent 10 }}
    {{- end }}
{{- end }}
{{- if and (eq .Values.mode "statefulset") .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range .Values.topologySpreadConstraints }}
  - {{- toYaml . | nindent 4 }}
    labelSelector:
      matchLabels:
        {{- include "cacheproxy.selector" (list $ "cache") | nindent 8 }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "cacheproxy.apart" -}}
topologyKey: kubernetes.io/hostname
labelSelector:
  matchLabels:
    {{- include "cacheproxy.selector" (list . "cache") | nindent 4 }}
{{- end -}}
