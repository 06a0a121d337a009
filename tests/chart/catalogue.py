"""The values with which the chart is rendered: what users want of it, and the two extremes."""

from typing import Any

Values = dict[str, Any]

DEFAULT: Values = {}
DAEMONSET: Values = {
    "mode": "daemonset",
    "persistence": {"hostPath": "/var/lib/cacheproxy", "prepareHostPath": True},
    "tolerations": [{"operator": "Exists"}],
}
SCRATCH: Values = {"mode": "daemonset", "hostIP": "", "redis": {"enabled": True}}
EXTERNAL_REDIS: Values = {
    "replicas": 3,
    "externalRedis": {
        "url": "rediss://puller@redis.example.com:6379/0?namespace=prod",
        "existingSecret": "redis",
        "tls": {
            "existingSecret": "redis-tls",
            "certificateKey": "tls.crt",
            "keyKey": "tls.key",
        },
    },
    "cluster": {"existingSecret": "cluster"},
}
SENTINELS: Values = {
    "replicas": 2,
    "externalRedis": {
        "url": "redis+sentinel://puller@redis-a,redis-b/main",
        "existingSecret": "redis",
        "sentinel": {"username": "asker", "existingSecret": "sentinel", "passwordKey": "word"},
    },
}
EVERYTHING: Values = {
    "replicas": 3,
    "image": {
        "repository": "registry.example.com/cacheproxy",
        "digest": f"sha256:{'0' * 64}",
        "pullSecrets": [{"name": "registry"}],
    },
    "commonLabels": {"team": "images"},
    "config": {
        "server": {"workers": "auto", "drain_timeout": "1m30s"},
        "cache": {"max_size": "70GiB", "min_free": "2GB", "access_log": 0, "idle_for": "90d"},
        "upstreams": {
            "docker.io": {"tags": {"fresh_for": "5m", "rules": {"v*": {"fresh_for": "1d"}}}},
            "quay.io": {},
            "registry.example.com:8443": {"allow": ["team/**"], "insecure": True},
            "europe-docker.pkg.dev": {"offline": "auto"},
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com": {"credentials": {"provider": "ecr"}},
            "acme.azurecr.io": {"credentials": {"provider": "acr"}},
        },
    },
    "credentials": {
        "docker.io": {"secretName": "docker-hub"},
        "quay.io": {"secretName": "quay", "type": "docker-config"},
        "registry.example.com:8443": {
            "secretName": "example",
            "username": "robot",
            "passwordKey": "token",
        },
        "europe-docker.pkg.dev": {"secretName": "google", "type": "google"},
    },
    "serviceAccount": {
        "awsRoleArn": "arn:aws:iam::123456789012:role/ecr-reader",
        "googleServiceAccount": "puller@project.iam.gserviceaccount.com",
        "azureClientId": "01234567-89ab-cdef-0123-456789abcdef",
        "annotations": {"example.com/owner": "images"},
    },
    "admin": {"existingSecret": "admin", "webhookTokenKey": "hook"},
    "nodeConfig": {"enabled": True},
    "extraEnv": [{"name": "CACHEPROXY__LOGGING__LEVEL", "value": "debug"}],
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities"}],
    "redis": {"enabled": True},
    "persistence": {"storageClass": "fast", "annotations": {"example.com/backup": "no"}},
    "service": {
        "type": "LoadBalancer",
        "nodePort": 30500,
        "clusterIP": "10.96.0.50",
        "annotations": {"example.com/internal": "true"},
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8"],
    },
    "tls": {
        "enabled": True,
        "certManager": {
            "enabled": True,
            "issuerRef": {"name": "internal"},
            "duration": "2160h",
            "renewBefore": "720h",
            "dnsNames": ["cache.example.com"],
            "ipAddresses": ["10.96.0.50"],
        },
    },
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["cache.example.com"],
        "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
        "tls": [{"secretName": "cache-tls", "hosts": ["cache.example.com"]}],
    },
    "gateway": {
        "enabled": True,
        "parentRefs": [{"name": "outer", "namespace": "gateways"}],
        "hostnames": ["cache.example.com"],
        "annotations": {"example.com/note": "yes"},
    },
    "networkPolicy": {
        "enabled": True,
        "clients": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "autoscaling": {"enabled": True},
    "antiAffinity": "hard",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "images", "operator": "Exists"}],
    "priorityClassName": "system-cluster-critical",
    "podAnnotations": {"example.com/scan": "no"},
    "podLabels": {"example.com/tier": "infrastructure"},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboard": {"enabled": True, "annotations": {"grafana_folder": "images"}},
}
NOTHING: Values = {
    "image": {"tag": "edge"},
    "serviceAccount": {"create": False},
    "persistence": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "antiAffinity": "none",
    "topologySpreadConstraints": [],
    "drain": {"preStopSeconds": 0},
    "cluster": {"enabled": False},
    "resources": {"requests": None, "limits": None},
}
CLIENT_CERTIFICATES: Values = {
    "tls": {"enabled": True, "existingSecret": "certificate", "clientCASecret": "clients"},
    "service": {"type": "NodePort"},
}
# A Redis that the user's own configuration names.
OWN_REDIS: Values = {
    "replicas": 2,
    "config": {
        "metadata": {"url": "redis+sentinel://redis-a,redis-b/main"},
        "upstreams": {"ghcr.io": None},
        "default_upstream": None,
    },
}

MATRIX: dict[str, Values] = {
    "default": DEFAULT,
    "DaemonSet": DAEMONSET,
    "DaemonSet without a directory": SCRATCH,
    "external Redis with TLS": EXTERNAL_REDIS,
    "Sentinels": SENTINELS,
    "everything on": EVERYTHING,
    "everything off": NOTHING,
    "client certificates": CLIENT_CERTIFICATES,
    "a Redis of the user's": OWN_REDIS,
}
