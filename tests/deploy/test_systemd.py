"""deploy/systemd/cacheproxy.service: systemd takes it, and it fits what the program does."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cacheproxy.settings.model import ServerSettings
from tests.support.parts.process import require

_UNIT = Path(__file__).parents[2] / "deploy/systemd/cacheproxy.service"
_INSTALLED = "/opt/cacheproxy/.venv/bin/cacheproxy"
_WORST_EXPOSURE = 20  # tenths, of 100; what systemd calls OK begins at 45


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the program where it is here."""
    here = Path(sys.executable).with_name("cacheproxy")
    made = tmp_path / _UNIT.name
    made.write_text(_UNIT.read_text().replace(_INSTALLED, str(here)))
    return made


def _service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys have capitals
    parser.read_string(_UNIT.read_text())
    return parser["Service"]


def test_systemd_takes_it(unit: Path) -> None:
    """Nothing is wrong with the unit, and nothing in it is unknown to systemd."""
    program = require("systemd-analyze", "systemd")
    done = subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_systemd_calls_it_hardened(unit: Path) -> None:
    """By systemd's own measure the service can do little harm."""
    program = require("systemd-analyze", "systemd")
    measure = ["security", "--offline=true", f"--threshold={_WORST_EXPOSURE}", str(unit)]
    done = subprocess.run([program, *measure], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:] + done.stderr


def test_there_is_time_to_drain() -> None:
    """It waits for longer than a drain takes by default, and tells the supervisor alone."""
    server = ServerSettings()
    service = _service()
    assert float(service["TimeoutStopSec"]) > server.drain_delay + server.drain_timeout + 5
    assert service["KillMode"] == "mixed"


def test_a_wrong_configuration_is_not_tried_again() -> None:
    """The exit code for that ends it for good; the commands are those of the program."""
    service = _service()
    assert service["RestartPreventExitStatus"] == "2"
    assert re.fullmatch(rf"{_INSTALLED} serve --config /etc/\S+", service["ExecStart"])
