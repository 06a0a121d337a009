{{/* What the proxy's container is told, and what it is shown. */}}

{{- define "cacheproxy.secretsDirectory" -}}
/run/secrets/cacheproxy
{{- end -}}

{{/* An upstream's name in variables (`.`, `-` and `:` cannot be), and in names of volumes. */}}
{{- define "cacheproxy.upstreamVariable" -}}
CACHEPROXY__UPSTREAMS__{{ regexReplaceAll "[.:-]" . "_" | upper }}__CREDENTIALS
{{- end -}}

{{- define "cacheproxy.upstreamVolume" -}}
{{- printf "upstream-%s" (regexReplaceAll "[^a-z0-9]+" (lower .) "-") | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Each name below is a key of the configuration: `config` stays as the user wrote it. */}}
{{- define "cacheproxy.env" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
# The root file system is read-only.
- {name: HOME, value: /tmp}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
{{- include "cacheproxy.cacheEnv" . }}
{{- include "cacheproxy.redisEnv" . }}
{{- include "cacheproxy.clusterEnv" . }}
{{- include "cacheproxy.tlsEnv" . }}
{{- include "cacheproxy.credentialsEnv" . }}
{{- with .Values.admin.existingSecret }}
- {name: CACHEPROXY__ADMIN__TOKEN_FILE, value: {{ include "cacheproxy.secretsDirectory" $ }}/admin/token}
{{- if $.Values.admin.webhookTokenKey }}
- {name: CACHEPROXY__ADMIN__WEBHOOK_TOKEN_FILE, value: {{ include "cacheproxy.secretsDirectory" $ }}/admin/webhook-token}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* On a disk that is shared, a share of it would be more than `persistence.size`. */}}
{{- define "cacheproxy.cacheEnv" -}}
{{- if and (ne (include "cacheproxy.volume" .) "claim") (hasSuffix "%" (dig "cache" "max_size" "" .Values.config)) }}
- {name: CACHEPROXY__CACHE__MAX_SIZE, value: {{ include "cacheproxy.cacheBytes" (list . "max_size" "") | quote }}}
{{- end }}
{{- end -}}

{{- define "cacheproxy.redisEnv" -}}
{{- $secrets := include "cacheproxy.secretsDirectory" . }}
{{- if .Values.redis.enabled }}
- {name: CACHEPROXY__METADATA__URL, value: "redis://{{ include "cacheproxy.fullname" . }}-redis.{{ .Release.Namespace }}.svc:6379/0"}
- {name: CACHEPROXY__METADATA__PASSWORD_FILE, value: {{ $secrets }}/redis/password}
{{- else if .Values.externalRedis.url }}
- {name: CACHEPROXY__METADATA__URL, value: {{ include "cacheproxy.externalRedisUrl" . | quote }}}
{{- if .Values.externalRedis.existingSecret }}
- {name: CACHEPROXY__METADATA__PASSWORD_FILE, value: {{ $secrets }}/redis/password}
{{- end }}
{{- with .Values.externalRedis.sentinel }}
{{- if .existingSecret }}
- {name: CACHEPROXY__METADATA__SENTINEL_PASSWORD_FILE, value: {{ $secrets }}/redis-sentinel/password}
{{- end }}
{{- if .username }}
- {name: CACHEPROXY__METADATA__SENTINEL_USERNAME, value: {{ .username | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* With the files of its TLS, which are parameters of the URL. */}}
{{- define "cacheproxy.externalRedisUrl" -}}
{{- $url := .Values.externalRedis.url -}}
{{- with .Values.externalRedis.tls -}}
{{- if .existingSecret -}}
{{- $files := printf "%s/redis-tls" (include "cacheproxy.secretsDirectory" $) -}}
{{- $parameters := list -}}
{{- if .caKey }}{{ $parameters = append $parameters (printf "ca_file=%s/ca.crt" $files) }}{{ end -}}
{{- if .certificateKey }}{{ $parameters = concat $parameters (list (printf "certificate=%s/tls.crt" $files) (printf "key=%s/tls.key" $files)) }}{{ end -}}
{{- if $parameters }}{{ $url = printf "%s%s%s" $url (ternary "&" "?" (contains "?" $url)) (join "&" $parameters) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- $url -}}
{{- end -}}

{{/* A StatefulSet's pods have names in the DNS, which outlive their addresses; a DaemonSet's have none. */}}
{{- define "cacheproxy.clusterEnv" -}}
{{- if include "cacheproxy.isCluster" . }}
{{- $host := printf "$(POD_NAME).%s-replicas.%s.svc" (include "cacheproxy.fullname" .) .Release.Namespace }}
{{- $own := printf "%s:%v" (ternary $host "$(POD_IP)" (eq .Values.mode "statefulset")) .Values.cluster.port }}
- {name: CACHEPROXY__CLUSTER__ADVERTISE, value: {{ default $own .Values.cluster.advertise | quote }}}
- {name: CACHEPROXY__CLUSTER__LISTEN, value: ":{{ .Values.cluster.port }}"}
{{- if include "cacheproxy.mountsClusterSecret" . }}
- {name: CACHEPROXY__CLUSTER__SECRET_FILE, value: {{ include "cacheproxy.secretsDirectory" . }}/cluster/secret}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cacheproxy.tlsEnv" -}}
{{- if .Values.tls.enabled }}
{{- $secrets := include "cacheproxy.secretsDirectory" . }}
- {name: CACHEPROXY__SERVER__TLS__CERTIFICATE, value: {{ $secrets }}/tls/tls.crt}
- {name: CACHEPROXY__SERVER__TLS__KEY, value: {{ $secrets }}/tls/tls.key}
{{- if .Values.tls.clientCASecret }}
- {name: CACHEPROXY__SERVER__TLS__CLIENT_CA, value: {{ $secrets }}/client-ca/ca.crt}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cacheproxy.credentialsEnv" -}}
{{- range $name, $login := .Values.credentials }}
{{- $variable := include "cacheproxy.upstreamVariable" $name }}
{{- $file := printf "%s/%s/login" (include "cacheproxy.secretsDirectory" $) (include "cacheproxy.upstreamVolume" $name) }}
{{- $type := default "password" $login.type }}
{{- if eq $type "password" }}
{{- if $login.username }}
- {name: {{ $variable }}__USERNAME, value: {{ $login.username | quote }}}
{{- else }}
- {name: {{ $variable }}__USERNAME, valueFrom: {secretKeyRef: {name: {{ $login.secretName }}, key: {{ default "username" $login.usernameKey }}}}}
{{- end }}
- {name: {{ $variable }}__PASSWORD_FILE, value: {{ $file }}}
{{- else }}
- {name: {{ $variable }}__PROVIDER, value: {{ $type }}}
- {name: {{ $variable }}__{{ ternary "PATH" "KEY_FILE" (eq $type "docker-config") }}, value: {{ $file }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* Every Secret of the container: its volume, and by which name the container has which key. */}}
{{- define "cacheproxy.secrets" -}}
{{- if .Values.redis.enabled }}
- {volume: redis, secret: {{ include "cacheproxy.redisSecret" . }}, items: {password: {{ .Values.redis.passwordKey }}}}
{{- else if and .Values.externalRedis.url .Values.externalRedis.existingSecret }}
- {volume: redis, secret: {{ .Values.externalRedis.existingSecret }}, items: {password: {{ .Values.externalRedis.passwordKey }}}}
{{- end }}
{{- with .Values.externalRedis.sentinel }}
{{- if .existingSecret }}
- {volume: redis-sentinel, secret: {{ .existingSecret }}, items: {password: {{ .passwordKey }}}}
{{- end }}
{{- end }}
{{- with .Values.externalRedis.tls }}
{{- if .existingSecret }}
- volume: redis-tls
  secret: {{ .existingSecret }}
  items: {ca.crt: {{ .caKey | quote }}, tls.crt: {{ .certificateKey | quote }}, tls.key: {{ .keyKey | quote }}}
{{- end }}
{{- end }}
{{- if include "cacheproxy.mountsClusterSecret" . }}
- {volume: cluster, secret: {{ include "cacheproxy.clusterSecret" . }}, items: {secret: {{ .Values.cluster.secretKey }}}}
{{- end }}
{{- if .Values.tls.enabled }}
- {volume: tls, secret: {{ include "cacheproxy.tlsSecret" . }}, items: {tls.crt: tls.crt, tls.key: tls.key}}
{{- end }}
{{- with .Values.tls.clientCASecret }}
- {volume: client-ca, secret: {{ . }}, items: {ca.crt: {{ $.Values.tls.clientCAKey }}}}
{{- end }}
{{- with .Values.admin.existingSecret }}
- {volume: admin, secret: {{ . }}, items: {token: {{ $.Values.admin.tokenKey }}, webhook-token: {{ $.Values.admin.webhookTokenKey | quote }}}}
{{- end }}
{{- $keys := dict "password" "password" "docker-config" ".dockerconfigjson" "google" "key.json" }}
{{- range $name, $login := .Values.credentials }}
{{- $type := default "password" $login.type }}
{{- $key := default (get $keys $type) (ternary $login.passwordKey $login.key (eq $type "password")) }}
- {volume: {{ include "cacheproxy.upstreamVolume" $name }}, secret: {{ $login.secretName }}, items: {login: {{ $key }}}}
{{- end }}
{{- end -}}

{{- define "cacheproxy.mounts" -}}
- {name: config, mountPath: /etc/cacheproxy, readOnly: true}
- {name: cache, mountPath: {{ .Values.config.cache.directory }}}
- {name: tmp, mountPath: /tmp}
{{- range include "cacheproxy.secrets" . | fromYamlArray }}
- {name: {{ .volume }}, mountPath: {{ include "cacheproxy.secretsDirectory" $ }}/{{ .volume }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "cacheproxy.volumes" -}}
- {name: config, configMap: {name: {{ include "cacheproxy.fullname" . }}}}
- {name: tmp, emptyDir: {sizeLimit: 256Mi}}
{{- $volume := include "cacheproxy.volume" . }}
{{- if eq $volume "hostPath" }}
- {name: cache, hostPath: {path: {{ .Values.persistence.hostPath }}, type: {{ ternary "DirectoryOrCreate" "Directory" .Values.persistence.prepareHostPath }}}}
{{- else if eq $volume "emptyDir" }}
- {name: cache, emptyDir: {sizeLimit: {{ .Values.persistence.size }}}}
{{- end }}
{{- range include "cacheproxy.secrets" . | fromYamlArray }}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      {{- range $path, $key := .items }}
      {{- if $key }}
      - {key: {{ $key }}, path: {{ $path }}}
      {{- end }}
      {{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
