"""The chart as Helm's own engine renders it, taken apart."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from tests.chart.engine import CHART, NAME, NAMESPACE, RefusedError, ask

__all__ = ["CHART", "NAME", "NAMESPACE", "Object", "Release", "messages", "refusal", "release"]

SECRETS = "/run/secrets/cacheproxy"

Object = dict[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Release:
    """What an installation would bring.

    Attributes:
        objects: all of them, those of `helm test` too.
        notes: what Helm says at the end.
    """

    objects: list[Object]
    notes: str

    def all(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """The object of a kind that is named as the release, and a suffix."""
        name = f"{NAME}-cacheproxy{suffix}"
        (found,) = [found for found in self.all(kind) if found["metadata"]["name"] == name]
        return found

    @property
    def workload(self) -> Object:
        """The proxy's own."""
        both = [*self.all("StatefulSet"), *self.all("DaemonSet")]
        (found,) = [each for each in both if each["metadata"]["name"] == f"{NAME}-cacheproxy"]
        return found

    @property
    def pod(self) -> Object:
        """The specification of the proxy's pods."""
        spec: Object = self.workload["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Object:
        """The proxy's."""
        (found,) = self.pod["containers"]
        assert isinstance(found, dict)
        return found

    @property
    def env(self) -> dict[str, str]:
        """Its variables, as the pod `rel-cacheproxy-0` gets them; Secrets give `from-NAME`."""
        known = {"POD_NAME": f"{NAME}-cacheproxy-0", "POD_IP": "10.1.2.3"}
        for variable in self.container["env"]:
            if "value" in variable:
                value = variable["value"]
                known[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda m: known[m[1]], value)
            elif "secretKeyRef" in variable["valueFrom"]:
                known[variable["name"]] = f"from-{variable['valueFrom']['secretKeyRef']['name']}"
        return known

    @property
    def config(self) -> str:
        """The configuration's file."""
        text: str = self.one("ConfigMap")["data"]["cacheproxy.yaml"]
        return text

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Each pod's specification, by what makes it."""
        for found in self.objects:
            match found["kind"]:
                case "StatefulSet" | "DaemonSet" | "Deployment":
                    yield found["metadata"]["name"], found["spec"]["template"]["spec"]
                case "Pod":
                    yield found["metadata"]["name"], found["spec"]


def release(values: Values) -> Release:
    """Render the chart with values."""
    return _release(json.dumps(values))


def refusal(values: Values) -> str:
    """What Helm says instead of rendering the chart with values."""
    try:
        _render(json.dumps(values))
    except RefusedError as error:
        return str(error)
    raise AssertionError(f"it was rendered: {values}")


def messages(values: Values, version: str) -> list[str]:
    """What Helm's linter finds, warnings included, for a version of Kubernetes."""
    report = ask("lint", values=values, version=version)
    found = [(message["severity"], message["error"]) for message in report["messages"]]
    return [error for severity, error in found if severity > 1] + list(report["errors"])


@cache
def _render(values: str) -> dict[str, str]:
    rendered: dict[str, str] = ask("render", values=json.loads(values))
    return rendered


@cache
def _release(values: str) -> Release:
    texts = dict(_render(values))
    notes = texts.pop("cacheproxy/templates/NOTES.txt")
    documents = [
        document
        for text in texts.values()
        for document in yaml.load_all(text, Loader=yaml.CSafeLoader)
        if document
    ]
    return Release(documents, notes)
