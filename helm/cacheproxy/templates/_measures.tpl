{{/* What values come to, in numbers. */}}

{{/* The port of an address such as 0.0.0.0:5000. */}}
{{- define "cacheproxy.port" -}}
{{- regexFind "[0-9]+$" (toString .) -}}
{{- end -}}

{{- define "cacheproxy.pullPort" -}}
{{- include "cacheproxy.port" (dig "server" "listen" "0.0.0.0:5000" .Values.config) -}}
{{- end -}}

{{- define "cacheproxy.adminPort" -}}
{{- include "cacheproxy.port" (dig "admin" "listen" "127.0.0.1:5001" .Values.config) -}}
{{- end -}}

{{/* A duration of the configuration (1h30m, 250ms) in whole seconds, rounded up. */}}
{{- define "cacheproxy.seconds" -}}
{{- $factors := dict "d" 86400.0 "h" 3600.0 "m" 60.0 "s" 1.0 "ms" 0.001 -}}
{{- $sum := 0.0 -}}
{{- range $part := regexFindAll "[0-9.]+(ms|[dhms])" (toString .) -1 -}}
{{- $unit := regexFind "[a-z]+" $part -}}
{{- $sum = addf $sum (mulf (float64 (trimSuffix $unit $part)) (get $factors $unit)) -}}
{{- end -}}
{{- ceil $sum | int64 -}}
{{- end -}}

{{/*
Bytes of a size, of the configuration (50GiB, 170MB) or of Kubernetes (100Gi). A share is of `on`
bytes. Called with (dict "size" SIZE "on" BYTES).
*/}}
{{- define "cacheproxy.bytes" -}}
{{- $size := toString .size | nospace -}}
{{- $number := float64 (regexFind "^[0-9.]+" $size) -}}
{{- if hasSuffix "%" $size -}}
{{- divf (mulf $number (float64 .on)) 100.0 | floor | int64 -}}
{{- else -}}
{{- $unit := regexFind "[A-Za-z]*$" $size | lower | trimSuffix "b" -}}
{{- $base := ternary 1024.0 1000.0 (hasSuffix "i" $unit) -}}
{{- range $_ := until (index (dict "" 0 "k" 1 "m" 2 "g" 3 "t" 4 "p" 5) (trimSuffix "i" $unit)) -}}
{{- $number = mulf $number $base -}}
{{- end -}}
{{- floor $number | int64 -}}
{{- end -}}
{{- end -}}

{{- define "cacheproxy.volumeBytes" -}}
{{- include "cacheproxy.bytes" (dict "size" .Values.persistence.size "on" 0) -}}
{{- end -}}

{{/* Where the cache is: `claim`, `hostPath` or `emptyDir`. */}}
{{- define "cacheproxy.volume" -}}
{{- if eq .Values.mode "daemonset" -}}
{{- ternary "hostPath" "emptyDir" (not (empty .Values.persistence.hostPath)) -}}
{{- else -}}
{{- ternary "claim" "emptyDir" .Values.persistence.enabled -}}
{{- end -}}
{{- end -}}

{{/* What a size of `config.cache` is on the volume. Called with (list $ KEY DEFAULT). */}}
{{- define "cacheproxy.cacheBytes" -}}
{{- $ := index . 0 -}}
{{- $size := dig "cache" (index . 1) (index . 2) $.Values.config -}}
{{- include "cacheproxy.bytes" (dict "size" $size "on" (include "cacheproxy.volumeBytes" $)) -}}
{{- end -}}

{{/* What is needed from the signal to end a pod until it has ended, but for a margin. */}}
{{- define "cacheproxy.drainSeconds" -}}
{{- $delay := dig "server" "drain_delay" "0s" .Values.config -}}
{{- $drain := dig "server" "drain_timeout" "30s" .Values.config -}}
{{- add .Values.drain.preStopSeconds (include "cacheproxy.seconds" $delay) (include "cacheproxy.seconds" $drain) -}}
{{- end -}}

{{- define "cacheproxy.graceSeconds" -}}
{{- default (add 15 (include "cacheproxy.drainSeconds" .)) .Values.drain.terminationGracePeriodSeconds -}}
{{- end -}}

{{/* Where metadata is: `inside`, `external`, `config` (a Redis that `config` names) or `embedded`. */}}
{{- define "cacheproxy.store" -}}
{{- $own := default dict .Values.config.metadata -}}
{{- if .Values.redis.enabled -}}
inside
{{- else if .Values.externalRedis.url -}}
external
{{- else if or $own.url_file (contains "://" (default "" $own.url)) -}}
config
{{- else -}}
embedded
{{- end -}}
{{- end -}}

{{/* Not empty where replicas are one cache: they find each other in a Redis. */}}
{{- define "cacheproxy.isCluster" -}}
{{- if and .Values.cluster.enabled (ne (include "cacheproxy.store" .) "embedded") }}yes{{ end -}}
{{- end -}}

{{/* Not empty where the chart makes the secret of the cluster, or mounts the user's. */}}
{{- define "cacheproxy.mountsClusterSecret" -}}
{{- if and (include "cacheproxy.isCluster" .) (not (dig "cluster" "secret_file" "" .Values.config)) }}yes{{ end -}}
{{- end -}}
