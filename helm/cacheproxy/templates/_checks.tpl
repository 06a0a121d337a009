{{/* What cannot work, said before anything is installed. Each message says what to do. */}}

{{- define "cacheproxy.checks" -}}
{{- include "cacheproxy.checkReplicas" . -}}
{{- include "cacheproxy.checkRedis" . -}}
{{- include "cacheproxy.checkDrain" . -}}
{{- include "cacheproxy.checkVolume" . -}}
{{- include "cacheproxy.checkAddresses" . -}}
{{- include "cacheproxy.checkCredentials" . -}}
{{- include "cacheproxy.checkTls" . -}}
{{- include "cacheproxy.checkRoutes" . -}}
{{- end -}}

{{- define "cacheproxy.checkReplicas" -}}
{{- $several := or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- if and .Values.autoscaling.enabled (eq .Values.mode "daemonset") -}}
{{- fail "autoscaling.enabled: a DaemonSet has a pod on each node and cannot be scaled; set mode=statefulset, or leave autoscaling off" -}}
{{- end -}}
{{- if and (eq .Values.mode "statefulset") $several (eq (include "cacheproxy.store" .) "embedded") -}}
{{- fail (printf "%s: several replicas need a Redis, or each would be a cache of its own behind one Service; set redis.enabled=true (for trying) or externalRedis.url, or replicas=1 without autoscaling, or mode=daemonset" (ternary "autoscaling.enabled" (printf "replicas: %v" .Values.replicas) .Values.autoscaling.enabled)) -}}
{{- end -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling: minReplicas (%v) is more than maxReplicas (%v)" .Values.autoscaling.minReplicas .Values.autoscaling.maxReplicas) -}}
{{- end -}}
{{- if and .Values.config.cluster (not (include "cacheproxy.isCluster" .)) -}}
{{- fail "config.cluster: these replicas are no cluster, for which there must be a Redis (redis.enabled, externalRedis.url or config.metadata.url) and cluster.enabled" -}}
{{- end -}}
{{- if dig "cluster" "advertise" "" .Values.config -}}
{{- fail "config.cluster.advertise would be the same for every replica; remove it: the chart gives each its own (cluster.advertise, if that is to be another)" -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkRedis" -}}
{{- $own := default dict .Values.config.metadata -}}
{{- if and .Values.redis.enabled .Values.externalRedis.url -}}
{{- fail "redis.enabled and externalRedis.url: there can be only one Redis; remove one of them" -}}
{{- end -}}
{{- if and (or .Values.redis.enabled .Values.externalRedis.url) (or $own.url $own.url_file) -}}
{{- fail "config.metadata.url: redis.enabled or externalRedis.url says already where metadata is; remove one of them" -}}
{{- end -}}
{{- if and .Values.externalRedis.tls.existingSecret (not (regexMatch "^(rediss|valkeys)" .Values.externalRedis.url)) -}}
{{- fail "externalRedis.tls: is of use with TLS only; let externalRedis.url begin with rediss://" -}}
{{- end -}}
{{- with .Values.externalRedis.sentinel -}}
{{- if and (or .existingSecret .username) (not (regexMatch "^rediss?\\+sentinel:" $.Values.externalRedis.url)) -}}
{{- fail "externalRedis.sentinel: is for Sentinels only; let externalRedis.url begin with redis+sentinel://" -}}
{{- end -}}
{{- if and .username (not .existingSecret) -}}
{{- fail "externalRedis.sentinel: username is of use with a password only; set existingSecret" -}}
{{- end -}}
{{- end -}}
{{- with .Values.externalRedis.tls -}}
{{- if ne (empty .certificateKey) (empty .keyKey) -}}
{{- fail "externalRedis.tls: certificateKey and keyKey need each other; set both or neither" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkDrain" -}}
{{- $least := add 5 (include "cacheproxy.drainSeconds" .) -}}
{{- if lt (int64 (include "cacheproxy.graceSeconds" .)) $least -}}
{{- fail (printf "drain.terminationGracePeriodSeconds: %v is too short, pulls would be cut; write %v or more (drain.preStopSeconds, config.server.drain_timeout and 5 seconds), or leave it out" .Values.drain.terminationGracePeriodSeconds $least) -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkVolume" -}}
{{- $volume := int64 (include "cacheproxy.volumeBytes" .) -}}
{{- $most := int64 (include "cacheproxy.cacheBytes" (list . "max_size" "50GiB")) -}}
{{- $free := int64 (include "cacheproxy.cacheBytes" (list . "min_free" "1GiB")) -}}
{{- if gt (add $most $free) $volume -}}
{{- fail (printf "config.cache: max_size (%v) and min_free (%v) are more than persistence.size (%s) together; make them smaller, such as 80%% and 5%%, or the volume larger" (dig "cache" "max_size" "50GiB" .Values.config) (dig "cache" "min_free" "1GiB" .Values.config) .Values.persistence.size) -}}
{{- end -}}
{{- if not (hasPrefix "/" (dig "cache" "directory" "" .Values.config)) -}}
{{- fail "config.cache.directory: the volume is mounted there; write an absolute path" -}}
{{- end -}}
{{- if and .Values.persistence.hostPath (ne .Values.mode "daemonset") -}}
{{- fail "persistence.hostPath: is of a DaemonSet, since pods of a StatefulSet would share it; set mode=daemonset, or remove it" -}}
{{- end -}}
{{- if and .Values.persistence.prepareHostPath (not .Values.persistence.hostPath) -}}
{{- fail "persistence.prepareHostPath: there is no persistence.hostPath to prepare" -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkAddresses" -}}
{{- range $key, $port := dict "server" "5000" "admin" "5001" -}}
{{- $address := dig $key "listen" (printf "127.0.0.1:%s" $port) $.Values.config -}}
{{- if regexMatch "^(127\\.|localhost:|\\[::1\\])" $address -}}
{{- fail (printf "config.%s.listen: nothing outside of the pod reaches %s, probes and Services included; write 0.0.0.0:%s" $key $address $port) -}}
{{- end -}}
{{- end -}}
{{- $ports := list (include "cacheproxy.pullPort" .) (include "cacheproxy.adminPort" .) (toString .Values.cluster.port) -}}
{{- if ne (len (uniq $ports)) 3 -}}
{{- fail (printf "config.server.listen, config.admin.listen and cluster.port need ports of their own; they are %s" (join ", " $ports)) -}}
{{- end -}}
{{- if dig "cluster" "listen" "" .Values.config -}}
{{- fail "config.cluster.listen: remove it, and set cluster.port" -}}
{{- end -}}
{{- end -}}

{{/* The upstreams that are served when the configuration names none. */}}
{{- define "cacheproxy.defaultUpstreams" -}}
docker.io quay.io gcr.io ghcr.io registry.k8s.io
{{- end -}}

{{- define "cacheproxy.checkCredentials" -}}
{{- $upstreams := default dict .Values.config.upstreams -}}
{{- $names := ternary (splitList " " (include "cacheproxy.defaultUpstreams" .)) (keys $upstreams | sortAlpha) (empty $upstreams) -}}
{{- range $name, $_ := .Values.credentials -}}
{{- if not (has $name $names) -}}
{{- fail (printf "credentials: %s is not among config.upstreams (%s); add it there, or remove it here" $name (join ", " $names)) -}}
{{- end -}}
{{- if dig "credentials" "" (default dict (get $upstreams $name)) -}}
{{- fail (printf "credentials: config.upstreams has credentials for %s as well; remove one of them" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkTls" -}}
{{- with .Values.tls -}}
{{- if and .enabled (eq .certManager.enabled (not (empty .existingSecret))) -}}
{{- fail "tls.enabled: name a Secret (tls.existingSecret) or have cert-manager make one (tls.certManager.enabled), one of the two" -}}
{{- end -}}
{{- if and .enabled .certManager.enabled (not .certManager.issuerRef.name) -}}
{{- fail "tls.certManager: has no issuer; set tls.certManager.issuerRef.name" -}}
{{- end -}}
{{- if and (not .enabled) (or .existingSecret .certManager.enabled .clientCASecret) -}}
{{- fail "tls: has a certificate, and is not enabled; set tls.enabled=true" -}}
{{- end -}}
{{- if and .enabled (dig "server" "tls" nil $.Values.config) -}}
{{- fail "config.server.tls: tls.enabled says already which certificate there is; remove one of them" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.checkRoutes" -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.enabled: set ingress.hosts to the names by which it is reached" -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.enabled: set gateway.parentRefs to the Gateway that it attaches to" -}}
{{- end -}}
{{- end -}}
