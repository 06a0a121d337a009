"""What the chart renders is what Kubernetes takes, safe, and of one piece."""

import copy
import json
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cacheproxy.settings.model import ServerSettings
from cacheproxy.settings.schema import keys_of
from tests.chart import catalogue
from tests.chart.release import CHART, NAME, Object, Release, messages, release
from tests.support.parts.process import require

OLDEST = "1.25"
NEWEST = "1.37"

_CUSTOM = Path(__file__).with_name("custom_resources.yaml")

# What writes to directories of the node, which are root's; without capabilities, or with one.
_MAY_BE_ROOT = {"prepare", "node-config"}

matrix = pytest.mark.parametrize("values", catalogue.MATRIX.values(), ids=catalogue.MATRIX)


def _validate(found: Object, version: str) -> None:
    """Raise if it is not what that version of Kubernetes, or its own definition, has it be."""
    custom: dict[str, Any] = yaml.safe_load(_CUSTOM.read_text())
    own = custom.get(f"{found['kind']} {found['apiVersion']}")
    if own is not None:
        jsonschema.Draft7Validator(own).validate(found["spec"])
    else:
        assert kubernetes_validate.validate(found, version, strict=True) == version


# -- Kubernetes ------------------------------------------------------------------------


@matrix
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_it(values: catalogue.Values, version: str) -> None:
    """Each manifest is valid, unknown keys included, for the oldest and the newest Kubernetes."""
    found = release(values).objects
    assert len(found) > 5
    for each in found:
        _validate(each, version)


@matrix
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_helm_finds_nothing_to_say(values: catalogue.Values, version: str) -> None:
    """Helm's linter has neither errors nor warnings."""
    assert messages(values, version) == []


def test_the_versions_are_those_of_the_chart() -> None:
    """The oldest is what Chart.yaml asks for, the newest the last that has a schema."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert kubernetes_validate.latest_version().startswith(NEWEST)


def test_what_is_misspelt_is_found() -> None:
    """A key that a kind does not have fails, for each kind that the chart renders."""
    for found in release(catalogue.EVERYTHING).objects:
        spoilt = copy.deepcopy(found)
        (spoilt["spec"] if "spec" in found else spoilt)["misspelt"] = {}
        with pytest.raises(jsonschema.ValidationError, match="misspelt"):
            _validate(spoilt, NEWEST)


# -- names and labels ------------------------------------------------------------------


@matrix
def test_names_are_unique_and_labelled(values: catalogue.Values) -> None:
    """No two objects of a kind share a name, and each has Kubernetes' recommended labels."""
    found = release(values).objects
    names = Counter((each["kind"], each["metadata"]["name"]) for each in found)
    assert set(names.values()) == {1}
    for each in found:
        labels = each["metadata"]["labels"]
        assert each["metadata"]["namespace"] == "ns"
        assert labels["app.kubernetes.io/name"] == "cacheproxy"
        assert labels["app.kubernetes.io/instance"] == NAME
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/component"] in {"cache", "redis", "test", "node-config"}


@matrix
def test_selectors_select_what_they_mean(values: catalogue.Values) -> None:
    """Each selector is that of pods which there are, of its own component alone."""
    rendered = release(values)
    pods = {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"][
            "metadata"
        ]["labels"]
        for each in rendered.objects
        if each["kind"] in {"StatefulSet", "DaemonSet", "Deployment"}
    }
    for each in rendered.objects:
        component = each["metadata"]["labels"]["app.kubernetes.io/component"]
        spec = each.get("spec", {})
        for selector in (spec.get("selector"), spec.get("podSelector")):
            if selector is None:
                continue
            wanted = selector.get("matchLabels", selector)
            chosen = [who for who, labels in pods.items() if wanted.items() <= labels.items()]
            assert chosen == [component], each["metadata"]["name"]


def test_long_names_are_cut() -> None:
    """A release with the longest name that Helm allows has names that Kubernetes takes."""
    rendered = release({"fullnameOverride": "n" * 53, "redis": {"enabled": True}, "replicas": 2})
    for each in rendered.objects:
        assert len(each["metadata"]["name"]) <= 63
        # a pod's label has a hash of 10 characters behind the StatefulSet's name
        assert each["kind"] != "StatefulSet" or len(each["metadata"]["name"]) <= 52


def _ports(spec: Object) -> set[str]:
    return {port["name"] for container in spec["containers"] for port in container.get("ports", ())}


@matrix
def test_services_lead_to_ports_that_there_are(values: catalogue.Values) -> None:
    """Each target of a Service, a probe and a NetworkPolicy is a port of its pods."""
    rendered = release(values)
    pods = dict(rendered.pods())
    for service in rendered.all("Service"):
        name = service["metadata"]["name"]
        spec = pods[name.removesuffix("-replicas")]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= _ports(spec)
    for policy in rendered.all("NetworkPolicy"):
        named = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert named <= _ports(pods[policy["metadata"]["name"]])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert rendered.container[probe]["httpGet"]["port"] in _ports(rendered.pod)


# -- security --------------------------------------------------------------------------


def _containers(rendered: Release) -> list[tuple[str, Object, Object]]:
    return [
        (name, spec, container)
        for name, spec in rendered.pods()
        for container in [*spec["containers"], *spec.get("initContainers", ())]
    ]


@matrix
def test_every_container_is_confined(values: catalogue.Values) -> None:
    """Every container has no privileges, a read-only root, no capabilities, and seccomp."""
    for name, spec, container in _containers(release(values)):
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["capabilities"]["drop"] == ["ALL"], name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        if container["name"] not in _MAY_BE_ROOT:
            assert spec["securityContext"]["runAsNonRoot"] is True, name
            assert spec["securityContext"]["runAsUser"] > 0, name
            assert "runAsUser" not in own
            assert "add" not in own["capabilities"], name


def test_only_who_asks_for_it_has_a_container_that_is_root() -> None:
    """A directory of the node can be prepared, by root with one capability; else nothing is."""
    (prepare,) = release(catalogue.DAEMONSET).pod["initContainers"]
    assert prepare["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN"]}
    assert "os.chown('/cache', 65532, 65532)" in prepare["command"][-1]
    for values in catalogue.MATRIX.values():
        if values is not catalogue.DAEMONSET:
            assert "initContainers" not in release(values).pod


@matrix
def test_what_is_written_has_a_volume(values: catalogue.Values) -> None:
    """With a root that is read-only, /tmp and the cache's directory can be written: volumes."""
    rendered = release(values)
    writable = {
        mount["mountPath"]
        for mount in rendered.container["volumeMounts"]
        if not mount.get("readOnly")
    }
    assert {"/tmp", "/var/lib/cacheproxy"} <= writable
    assert rendered.env["HOME"] == "/tmp"


@matrix
def test_each_mount_has_its_volume(values: catalogue.Values) -> None:
    """Mounts name volumes that there are, each volume is mounted, and no path is taken twice."""
    rendered = release(values)
    claims = rendered.workload["spec"].get("volumeClaimTemplates", [])
    for name, spec in rendered.pods():
        volumes = [volume["name"] for volume in spec.get("volumes", [])]
        if spec is rendered.pod:
            volumes += [claim["metadata"]["name"] for claim in claims]
        containers = [*spec["containers"], *spec.get("initContainers", ())]
        mounts = [mount for container in containers for mount in container["volumeMounts"]]
        assert sorted(volumes) == sorted({mount["name"] for mount in mounts}), name
        for container in containers:
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert len(set(paths)) == len(paths), name


@matrix
def test_secrets_are_in_secrets_alone(values: catalogue.Values) -> None:
    """No generated secret stands in a ConfigMap or in a variable, and none in what Helm prints."""
    rendered = release(values)
    secrets = [value for secret in rendered.all("Secret") for value in secret["data"].values()]
    open_ones = [each for each in rendered.objects if each["kind"] != "Secret"]
    for secret in secrets:
        assert len(secret) > 40
        assert secret not in json.dumps(open_ones)
        assert secret not in rendered.notes
    for config in rendered.all("ConfigMap"):
        assert not re.search(r"(password|secret|token): ", json.dumps(config["data"]))


@pytest.mark.parametrize("values", [catalogue.EVERYTHING, catalogue.EXTERNAL_REDIS])
def test_each_file_that_is_named_is_mounted(values: catalogue.Values) -> None:
    """Where a variable names a file with a secret, an item of a Secret's volume is that file."""
    rendered = release(values)
    mounts = {m["name"]: m["mountPath"] for m in rendered.container["volumeMounts"]}
    there = {
        f"{mounts[volume['name']]}/{item['path']}"
        for volume in rendered.pod["volumes"]
        for item in volume.get("secret", {}).get("items", ())
    }
    env = [value for name, value in rendered.env.items() if name.startswith("CACHEPROXY__")]
    named = {path for value in env for path in re.findall(r"/run/secrets/[\w./-]+", value)}
    assert named == there
    assert len(named) > 3


# -- what there is, and when -----------------------------------------------------------

_ALWAYS = {"ConfigMap", "Service", "Pod"}


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        (catalogue.NOTHING, {"StatefulSet"}),
        (catalogue.DEFAULT, {"StatefulSet", "ServiceAccount", "PodDisruptionBudget"}),
        (catalogue.DAEMONSET, {"DaemonSet", "ServiceAccount"}),
        (catalogue.SCRATCH, {"DaemonSet", "ServiceAccount", "Deployment", "Secret"}),
        (
            catalogue.EVERYTHING,
            {
                "StatefulSet",
                "DaemonSet",
                "ServiceAccount",
                "PodDisruptionBudget",
                "Deployment",
                "Secret",
                "Certificate",
                "Ingress",
                "HTTPRoute",
                "NetworkPolicy",
                "HorizontalPodAutoscaler",
                "ServiceMonitor",
                "PrometheusRule",
            },
        ),
    ],
    ids=["everything off", "default", "DaemonSet", "DaemonSet with Redis", "everything on"],
)
def test_the_kinds_that_there_are(values: catalogue.Values, kinds: set[str]) -> None:
    """What is off is not there, and what is on is."""
    assert {each["kind"] for each in release(values).objects} == kinds | _ALWAYS


def test_a_volume_for_each_replica() -> None:
    """The StatefulSet has a claim for each pod, of the size and class that was asked for."""
    (claim,) = release(catalogue.EVERYTHING).workload["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "100Gi"
    assert claim["spec"]["storageClassName"] == "fast"


def test_a_cache_on_each_node() -> None:
    """The DaemonSet has the node's directory and port, and is asked by its own node only."""
    rendered = release(catalogue.DAEMONSET)
    volumes = {volume["name"]: volume for volume in rendered.pod["volumes"]}
    assert volumes["cache"]["hostPath"]["path"] == "/var/lib/cacheproxy"
    (pull, _) = rendered.container["ports"]
    assert (pull["hostIP"], pull["hostPort"]) == ("127.0.0.1", 5000)
    assert rendered.one("Service")["spec"]["internalTrafficPolicy"] == "Local"


def test_replicas_keep_apart() -> None:
    """They avoid each other's nodes, softly or strictly, and spread over zones."""
    soft, hard = release(catalogue.DEFAULT), release(catalogue.EVERYTHING)
    own = soft.workload["spec"]["selector"]
    (term,) = soft.pod["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == own
    (term,) = hard.pod["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    (spread,) = soft.pod["topologySpreadConstraints"]
    assert spread["labelSelector"] == own
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert not {"affinity", "topologySpreadConstraints"} & release(catalogue.NOTHING).pod.keys()


def test_the_autoscaler_counts_replicas_alone() -> None:
    """With an autoscaler the StatefulSet has no number, which upgrades would go back to."""
    rendered = release(catalogue.EVERYTHING)
    assert "replicas" not in rendered.workload["spec"]
    target = rendered.one("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", "rel-cacheproxy")
    assert release(catalogue.EXTERNAL_REDIS).workload["spec"]["replicas"] == 3


@pytest.mark.parametrize(
    ("drain", "seconds", "grace"),
    [("30s", 10, 55), ("1m30s", 10, 115), ("250ms", 0, 16), ("1h", 5, 3620), (0, 0, 15)],
)
def test_the_grace_follows_the_drain(drain: str | int, seconds: int, grace: int) -> None:
    """A pod may take as long to end as it waits, and then drains, and a margin."""
    values = {
        "config": {"server": {"drain_timeout": drain}},
        "drain": {"preStopSeconds": seconds},
    }
    rendered = release(values)
    assert rendered.pod["terminationGracePeriodSeconds"] == grace
    hook = rendered.container.get("lifecycle", {})
    assert (f"time.sleep({seconds})" in str(hook)) == (seconds > 0)


def test_every_part_of_the_drain_counts() -> None:
    """Whatever the server does after the signal, the pod has as much more time for it."""
    own = [name for name in keys_of(ServerSettings) if name.startswith("drain_")]
    assert "drain_timeout" in own
    for name in own:
        grace = [
            release({"config": {"server": {name: length}}}).pod["terminationGracePeriodSeconds"]
            for length in ("100s", "250s")
        ]
        assert grace[1] - grace[0] == 150, name


def test_who_may_connect() -> None:
    """Clients and `helm test` may pull; replicas reach each other, and Redis only they."""
    rendered = release(catalogue.EVERYTHING)
    allowed = {
        rule["ports"][0]["port"]: rule["from"]
        for rule in rendered.one("NetworkPolicy")["spec"]["ingress"]
    }
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in allowed["pull"]
    test = rendered.one("Pod", "-test")["metadata"]["labels"]
    assert any(
        "podSelector" in peer and peer["podSelector"]["matchLabels"].items() <= test.items()
        for peer in allowed["pull"]
    )
    (peers,) = allowed["peers"]
    assert peers["podSelector"] == rendered.workload["spec"]["selector"]
    (redis,) = rendered.one("NetworkPolicy", "-redis")["spec"]["ingress"]
    assert redis["from"] == [peers]


def test_a_renamed_port_is_followed() -> None:
    """The ports of pod and Services are those of the configuration's addresses."""
    config = {"server": {"listen": "[::]:8080"}, "admin": {"listen": ":9090"}}
    rendered = release({"config": config})
    ports = {port["name"]: port["containerPort"] for port in rendered.container["ports"]}
    assert ports == {"pull": 8080, "admin": 9090}
    (admin,) = rendered.one("Service", "-replicas")["spec"]["ports"]
    assert admin["port"] == 9090


def test_a_changed_configuration_makes_new_pods() -> None:
    """The pods have the configuration's hash, so that a change of it restarts them."""
    hashes = {
        release({"config": {"logging": {"level": level}}}).workload["spec"]["template"]["metadata"][
            "annotations"
        ]["checksum/config"]
        for level in ("info", "debug", "info")
    }
    assert len(hashes) == 2
    left = release({"restartOnChange": False}).workload["spec"]["template"]["metadata"]
    assert "annotations" not in left


def test_clouds_know_who_the_pods_are() -> None:
    """The service account has the annotations of each cloud, and the user's; pods Azure's label."""
    everything = release(catalogue.EVERYTHING)
    annotations = everything.one("ServiceAccount")["metadata"]["annotations"]
    assert annotations == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/ecr-reader",
        "iam.gke.io/gcp-service-account": "puller@project.iam.gserviceaccount.com",
        "azure.workload.identity/client-id": "01234567-89ab-cdef-0123-456789abcdef",
        "example.com/owner": "images",
    }
    labels = everything.workload["spec"]["template"]["metadata"]["labels"]
    assert labels["azure.workload.identity/use"] == "true"
    assert labels["example.com/tier"] == "infrastructure"
    plain = release({}).workload["spec"]["template"]["metadata"]["labels"]
    assert "azure.workload.identity/use" not in plain


def test_the_token_of_the_admin_api() -> None:
    """A Secret with it is mounted and named when there is one, and else nothing is said of it."""
    own = {"existingSecret": "admin", "tokenKey": "bearer"}
    rendered = release({"admin": own})
    path = "/run/secrets/cacheproxy/admin"
    assert rendered.env["CACHEPROXY__ADMIN__TOKEN_FILE"] == f"{path}/token"
    (volume,) = [each for each in rendered.pod["volumes"] if each["name"] == "admin"]
    assert volume["secret"]["items"] == [{"key": "bearer", "path": "token"}]
    rendered = release({"admin": own | {"webhookTokenKey": "hook"}})
    assert rendered.env["CACHEPROXY__ADMIN__WEBHOOK_TOKEN_FILE"] == f"{path}/webhook-token"
    (volume,) = [each for each in rendered.pod["volumes"] if each["name"] == "admin"]
    assert {"key": "hook", "path": "webhook-token"} in volume["secret"]["items"]
    assert "CACHEPROXY__ADMIN__TOKEN_FILE" not in release(catalogue.DEFAULT).env


# -- Prometheus and Grafana ------------------------------------------------------------


def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """The rendered rules are valid for promtool, and nothing of them was taken for a template."""
    promtool = require("promtool", "prometheus")
    spec = release(catalogue.EVERYTHING).one("PrometheusRule")["spec"]
    assert spec == yaml.safe_load((CHART / "files/rules.yaml").read_text())
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(spec))
    checked = subprocess.run([promtool, "check", "rules", rules], capture_output=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_gets_the_dashboard() -> None:
    """The dashboard is in a ConfigMap that Grafana's sidecar finds, as it is in the chart."""
    found = release(catalogue.EVERYTHING).one("ConfigMap", "-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    shown = json.loads(found["data"]["cacheproxy.json"])
    assert shown == json.loads((CHART / "files/dashboard.json").read_text())


def test_prometheus_finds_each_replica_once() -> None:
    """Of the Services that the monitor selects, one alone has the port of the metrics."""
    rendered = release(catalogue.EVERYTHING)
    spec = rendered.one("ServiceMonitor")["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    (endpoint,) = spec["endpoints"]
    having = [
        service["metadata"]["name"]
        for service in rendered.all("Service")
        if wanted <= service["metadata"]["labels"].items()
        and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    ]
    assert having == ["rel-cacheproxy-replicas"]


# -- NOTES -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "{.spec.clusterIP}"),
        ({"service": {"clusterIP": "10.96.0.50"}}, '[host."http://10.96.0.50:5000"]'),
        ({"service": {"type": "NodePort"}}, '[host."http://127.0.0.1:PORT"]'),
        ({"service": {"type": "NodePort", "nodePort": 30500}}, '[host."http://127.0.0.1:30500"]'),
        ({"service": {"type": "LoadBalancer"}}, "{.status.loadBalancer.ingress[0]}"),
        ({"mode": "daemonset"}, '[host."http://127.0.0.1:5000"]'),
        (catalogue.CLIENT_CERTIFICATES, '[host."https://127.0.0.1:PORT"]'),
        (catalogue.EVERYTHING, "one cache by Redis"),
    ],
)
def test_the_notes_tell_nodes_where_it_is(values: catalogue.Values, said: str) -> None:
    """What Helm prints at the end says what to write on nodes, for each kind of Service."""
    notes = release(values).notes
    assert said in notes
    assert 'capabilities = ["pull", "resolve"]' in notes
    assert "must be there for nodes without cacheproxy" in notes
