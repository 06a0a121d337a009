"""One engine for all tests of the chart, which need Helm's, and Kubernetes' schemas."""

from collections.abc import Iterator

import pytest

from tests.chart import engine
from tests.support.parts.process import require_module


@pytest.fixture(scope="session", autouse=True)
def helm() -> Iterator[None]:
    """Helm, running."""
    require_module("helm_python", "helm-python-sdk")
    require_module("kubernetes_validate", "kubernetes-validate")
    with engine.started():
        yield
