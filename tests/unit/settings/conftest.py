from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from cacheproxy.settings import Settings, SettingsError, load

Load = Callable[..., Settings]
Problems = Callable[..., list[str]]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as the file `c.yaml` of the current directory."""
    monkeypatch.chdir(tmp_path)

    def load_it(text: str | bytes, environ: Mapping[str, str] | None = None) -> Settings:
        file = Path("c.yaml")
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, environ or {})

    return load_it


@pytest.fixture
def problems(load_text: Load) -> Problems:
    """The lines that loading a text as `c.yaml` complains with."""

    def complain(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load_text(text, environ)
        assert len(caught.value.problems) == len(str(caught.value).splitlines())
        return str(caught.value).splitlines()

    return complain
