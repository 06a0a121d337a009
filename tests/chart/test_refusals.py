"""What cannot work is refused before anything is installed, by a message that says what to do."""

import pytest

from tests.chart import catalogue
from tests.chart.release import refusal, release


def _upstream(**keys: object) -> catalogue.Values:
    return {"config": {"upstreams": {"docker.io": keys}}}


@pytest.mark.parametrize(
    ("values", "where", "why"),
    [
        ({"replica": 3}, "''", "additional properties 'replica' not allowed"),
        ({"replicas": "three"}, "/replicas", "got string, want integer"),
        ({"mode": "deployment"}, "/mode", "must be one of 'statefulset', 'daemonset'"),
        ({"config": {"cach": {}}}, "/config", "'cach' not allowed"),
        ({"config": {"cache": {"max_sizee": "1GiB"}}}, "/config/cache", "'max_sizee' not allowed"),
        ({"config": {"cache": {"max_size": "50Gi"}}}, "/config/cache/max_size", None),
        ({"config": {"cache": {"max_size": 5e10}}}, "/config/cache/max_size", "want string"),
        (
            {"config": {"server": {"drain_timeout": 30}}},
            "/config/server/drain_timeout",
            "got number, want string",
        ),
        ({"config": {"server": {"listen": 5000}}}, "/config/server/listen", "want string"),
        ({"config": {"server": {"workers": 0}}}, "/config/server/workers", "minimum"),
        ({"config": {"logging": {"level": "loud"}}}, "/config/logging/level", "must be one of"),
        (_upstream(insecure="no"), "/docker.io/insecure", "got string, want boolean"),
        (_upstream(allow="**"), "/docker.io/allow", "got string, want array"),
        (_upstream(tags={"rules": {"v*": {"fresh": "1d"}}}), "/v*", "'fresh' not allowed"),
        (_upstream(url="registry.example.com"), "/docker.io/url", None),
        ({"nodeSelector": ["a"]}, "/nodeSelector", "got array, want object"),
        ({"service": {"type": "Clusterip"}}, "/service/type", "must be one of"),
        ({"credentials": {"docker.io": {"secret": "a"}}}, "/credentials/docker.io", "'secretName'"),
        ({"persistence": {"size": "100GB"}}, "/persistence/size", None),
    ],
)
def test_a_wrong_key_or_type(values: catalogue.Values, where: str, why: str | None) -> None:
    """A key that does not exist and a value of another kind are named, with what is wrong."""
    message = refusal(values)
    assert where in message
    assert (why or "does not match pattern") in message


@pytest.mark.parametrize(
    "values",
    [
        _upstream(credentials={"username": "a", "password": "hunter2"}),
        _upstream(credentials=[{"username": "a", "password": "hunter2"}]),
        _upstream(proxy_url="http://user:hunter2@proxy.example.com:3128"),
        {"config": {"metadata": {"password": "hunter2"}}},
        {"config": {"metadata": {"sentinel_password": "hunter2"}}},
        {"config": {"metadata": {"url": "redis://user:hunter2@redis.example.com"}}},
        {"config": {"cluster": {"secret": "hunter2"}}},
        {"externalRedis": {"url": "redis://:hunter2@redis.example.com"}},
    ],
)
def test_a_secret_in_the_configuration(values: catalogue.Values) -> None:
    """A secret that would stand in a ConfigMap is refused, wherever one could be."""
    assert "values don't meet the specifications of the schema" in refusal(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 2}, "replicas: 2: several replicas need a Redis"),
        (
            {"replicas": 2, "config": {"metadata": {"url": "memory:"}}},
            "set redis.enabled=true (for trying) or externalRedis.url",
        ),
        ({"autoscaling": {"enabled": True}}, "autoscaling.enabled: several replicas need a Redis"),
        (
            {"mode": "daemonset", "autoscaling": {"enabled": True}},
            "a DaemonSet has a pod on each node and cannot be scaled",
        ),
        (
            {"redis": {"enabled": True}, "autoscaling": {"enabled": True, "minReplicas": 9}},
            "minReplicas (9) is more than maxReplicas (6)",
        ),
        (
            {"drain": {"terminationGracePeriodSeconds": 44}},
            "44 is too short, pulls would be cut; write 45 or more",
        ),
        (
            {
                "drain": {"terminationGracePeriodSeconds": 60},
                "config": {"server": {"drain_timeout": "5m"}},
            },
            "60 is too short, pulls would be cut; write 315 or more",
        ),
        (
            {"config": {"cache": {"max_size": "99GiB", "min_free": "2GiB"}}},
            "max_size (99GiB) and min_free (2GiB) are more than persistence.size (100Gi) together",
        ),
        ({"config": {"cache": {"max_size": "99%"}}}, "max_size (99%) and min_free (5%)"),
        (
            {"persistence": {"size": "4Gi"}, "config": {"cache": {"min_free": "1GiB"}}},
            "max_size (80%) and min_free (1GiB) are more than persistence.size (4Gi) together",
        ),
        ({"config": {"cache": {"directory": "var/cache"}}}, "write an absolute path"),
        ({"config": {"cache": None}}, "write an absolute path"),
        ({"persistence": {"hostPath": "/srv"}}, "set mode=daemonset, or remove it"),
        (
            {"mode": "daemonset", "persistence": {"prepareHostPath": True}},
            "there is no persistence.hostPath to prepare",
        ),
        (
            {"config": {"admin": {"listen": "127.0.0.1:5001"}}},
            "config.admin.listen: nothing outside of the pod reaches 127.0.0.1:5001",
        ),
        ({"config": {"admin": None}}, "config.admin.listen: nothing outside"),
        ({"config": {"server": {"listen": "[::1]:5000"}}}, "config.server.listen: nothing outside"),
        (
            {"config": {"admin": {"listen": "0.0.0.0:5000"}}},
            "need ports of their own; they are 5000, 5000, 5002",
        ),
        (
            {
                "redis": {"enabled": True},
                "config": {"cluster": {"advertise": "10.0.0.5:5002"}},
            },
            "config.cluster.advertise would be the same for every replica",
        ),
        (
            {"redis": {"enabled": True}, "config": {"cluster": {"listen": ":5003"}}},
            "remove it, and set cluster.port",
        ),
        ({"config": {"cluster": {"copies": 2}}}, "config.cluster: these replicas are no cluster"),
        (
            {
                "redis": {"enabled": True},
                "cluster": {"enabled": False},
                "config": {"cluster": {"copies": 2}},
            },
            "config.cluster: these replicas are no cluster",
        ),
        (
            {"redis": {"enabled": True}, "externalRedis": {"url": "redis://redis.example.com"}},
            "there can be only one Redis",
        ),
        (
            {
                "redis": {"enabled": True},
                "config": {"metadata": {"url": "redis://redis.example.com"}},
            },
            "says already where metadata is",
        ),
        (
            {
                "externalRedis": {
                    "url": "redis://redis.example.com",
                    "tls": {"existingSecret": "redis"},
                }
            },
            "let externalRedis.url begin with rediss://",
        ),
        (
            {
                "externalRedis": {
                    "url": "redis+cluster://redis.example.com",
                    "sentinel": {"existingSecret": "sentinel"},
                }
            },
            "let externalRedis.url begin with redis+sentinel://",
        ),
        (
            {
                "externalRedis": {
                    "url": "rediss+sentinel://redis.example.com/main",
                    "sentinel": {"username": "asker"},
                }
            },
            "username is of use with a password only; set existingSecret",
        ),
        (
            {
                "externalRedis": {
                    "url": "rediss://redis.example.com",
                    "tls": {"existingSecret": "redis", "certificateKey": "tls.crt"},
                }
            },
            "certificateKey and keyKey need each other",
        ),
        (
            {"credentials": {"ghcr.example.com": {"secretName": "a"}}},
            "ghcr.example.com is not among config.upstreams (docker.io, quay.io, gcr.io,",
        ),
        (
            {
                "credentials": {"quay.io": {"secretName": "a"}},
                "config": {"upstreams": {"docker.io": {}}},
            },
            "quay.io is not among config.upstreams (docker.io)",
        ),
        (
            {
                "credentials": {"quay.io": {"secretName": "a"}},
                "config": {"upstreams": {"quay.io": {"credentials": {"provider": "ecr"}}}},
            },
            "config.upstreams has credentials for quay.io as well",
        ),
        ({"tls": {"enabled": True}}, "tls.enabled: name a Secret (tls.existingSecret)"),
        (
            {"tls": {"enabled": True, "existingSecret": "a", "certManager": {"enabled": True}}},
            "one of the two",
        ),
        (
            {"tls": {"enabled": True, "certManager": {"enabled": True}}},
            "set tls.certManager.issuerRef.name",
        ),
        ({"tls": {"existingSecret": "a"}}, "is not enabled; set tls.enabled=true"),
        (
            {
                "tls": {"enabled": True, "existingSecret": "a"},
                "config": {"server": {"tls": {"certificate": "/a", "key": "/b"}}},
            },
            "tls.enabled says already which certificate there is",
        ),
        ({"ingress": {"enabled": True}}, "set ingress.hosts"),
        ({"gateway": {"enabled": True}}, "set gateway.parentRefs"),
    ],
)
def test_what_cannot_work(values: catalogue.Values, said: str) -> None:
    """Values that are right by themselves, and together make no cache, are refused."""
    assert said in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 0},
        {"redis": {"enabled": True}, "config": {"cluster": {"copies": 2}}},
        {"mode": "daemonset", "replicas": 3},
        {"drain": {"terminationGracePeriodSeconds": 45}},
        {"config": {"cache": {"max_size": "95%"}}},
        {"persistence": {"size": "1Gi"}},
        {"replicas": 2, "config": {"metadata": {"url_file": "/run/secrets/redis"}}},
        {"credentials": {"ghcr.io": {"secretName": "a"}}},
        {"global": {"imageRegistry": "registry.example.com"}},
    ],
)
def test_what_is_just_right(values: catalogue.Values) -> None:
    """What is next to a refusal is taken."""
    assert release(values).container["name"] == "cacheproxy"
