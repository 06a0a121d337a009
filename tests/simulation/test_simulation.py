"""The simulation itself: it is deterministic, the core passes it, and planted faults do not."""

import os
import subprocess
import sys

import pytest

from tests.simulation.plants import CLUSTER_PLANTS, PLANTS

_SEEDS = os.environ.get("CACHEPROXY_SIMULATION_SEEDS", "100")


def _simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in a process of its own, since it replaces functions of the `os` module."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)


def test_the_core_keeps_its_promises() -> None:
    """Whatever the schedule, no promise is broken."""
    result = _simulate("--seeds", _SEEDS, "--seconds", "60")
    assert result.returncode == 0, result.stdout


def test_replicas_keep_their_promises() -> None:
    """Whatever becomes of the network, of Redis and of clocks, no promise is broken."""
    result = _simulate("--cluster", "--seeds", "30", "--seconds", "60")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("options", [(), ("--cluster",)], ids=["workers", "replicas"])
def test_a_seed_is_a_schedule(options: tuple[str, ...]) -> None:
    """The same seed leads to the same steps, down to each system call."""
    first, second = (_simulate(*options, "--seed", "12") for _ in range(2))
    assert first.returncode == 0, first.stdout
    assert len(first.stdout.splitlines()) > 10
    assert first.stdout == second.stdout


@pytest.mark.parametrize("fault", PLANTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    """A core with this fault breaks a promise within a few hundred seeds."""
    result = _simulate("--plant", fault, "--seeds", "3000", "--seconds", "100")
    assert result.returncode == 1, result.stdout
    assert "replay: python -m tests.simulation" in result.stdout


@pytest.mark.parametrize("fault", CLUSTER_PLANTS)
def test_a_planted_fault_of_replicas_is_found(fault: str) -> None:
    """Replicas with this fault break a promise within a few hundred seeds."""
    # The first twenty are known to show neither.
    result = _simulate("--cluster", "--plant", fault, "--first", "20", "--seconds", "100")
    assert result.returncode == 1, result.stdout
    assert "replay: python -m tests.simulation --cluster" in result.stdout
