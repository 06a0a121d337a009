"""Two real registries for the session; for each test a new proxy, and new links to them."""

from collections.abc import Generator, Iterator

import pytest

from tests.clients import catalogue
from tests.clients.stage import Registries, Stage, staged, stocked


@pytest.fixture(scope="session")
def registries() -> Iterator[Registries]:
    """The registries behind docker.io and registry.example.com."""
    with stocked(catalogue.HUB, catalogue.EXAMPLE) as running:
        yield running


@pytest.fixture
def stage(registries: Registries) -> Iterator[Stage]:
    """A proxy with an empty cache before both registries."""
    with staged(registries) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows beside a failure what the proxy logged and what crossed the links."""
    report = yield
    stage = item.funcargs.get("stage")
    if report.failed and isinstance(stage, Stage):
        report.sections.append(("cacheproxy's log", stage.proxy.log()))
        crossings = [*stage.hub.crossings, *stage.example.crossings]
        report.sections.append(("upstream links", "\n".join(map(str, crossings))))
    return report
