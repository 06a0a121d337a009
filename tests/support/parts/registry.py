"""docker-registry (distribution): a real upstream, plain or behind a password."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts.process import Daemon, require
from tests.support.parts.scratch import scratch
from tests.support.parts.token_server import ISSUER, SERVICE, TokenServer

PACKAGE = "docker-registry"
USER = "puller"
PASSWORD = "pullpassword"
NEW_PASSWORD = "rotatedpassword"
# What moto's ECR says, and what the tests' own Google does.
AWS_PASSWORD = "123456789012-auth-token"
GOOGLE_PASSWORD = "access-token-1"
# bcrypt at a low cost; the registry reads no other kind.
_HASHES = {
    PASSWORD: "$2y$05$abcdefghijklmnopqrstuuPRd47wpd3kW8OP11j/88FV8tFfVwdze",
    NEW_PASSWORD: "$2y$05$abcdefghijklmnopqrstuu8X4GivHpzg1./yIsvevHfRwRMbAf2dq",
    AWS_PASSWORD: "$2y$05$abcdefghijklmnopqrstuu/4ofrUS75HrKu6f.iuRo0I/XlrmpqlC",
    GOOGLE_PASSWORD: "$2y$05$abcdefghijklmnopqrstuuTLzs7jYyrudoBpM9Ij93vo6ZHkbt/nu",
}
_ACCESS = re.compile(r'"(?P<method>[A-Z]+) (?P<target>\S+) [^"]*" (?P<status>\d+) (?P<size>\d+)')
_LISTENING = re.compile(r"listening on (?:\S*?)127\.0\.0\.1:(\d+)")
_START = 60.0  # seconds

_CONFIG = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {root}}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}", secret: tests}}
"""
_HTPASSWD = "auth: {{htpasswd: {{realm: tests, path: {path}}}}}\n"
_TOKEN = """\
auth:
  token: {{realm: "{realm}", service: "{service}", issuer: "{issuer}", rootcertbundle: "{bundle}"}}
"""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the registry's access log."""

    method: str
    target: str
    status: int
    body_bytes: int


class DockerRegistry:
    """A registry on loopback; what is stored in it outlives `stop` and `start`."""

    def __init__(
        self, directory: Path, login: str | None, tokens: TokenServer | None = None
    ) -> None:
        self._program = require("docker-registry", PACKAGE)
        self._directory = directory
        self._login = login
        self._tokens = tokens
        self.port = 0
        self._daemon: Daemon | None = None
        self.start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    @property
    def push_url(self) -> str:
        """The URL with user and password where the registry asks for them."""
        return f"http://{self._login}@{self.host}" if self._login else self.url

    def start(self) -> None:
        """Starts it, on the port that it had before, if any."""
        config = _CONFIG.format(root=self._directory / "storage", port=self.port)
        config += self._auth()
        path = self._directory / "config.yml"
        path.write_text(config)
        logged = len(self._daemon.stderr()) if self._daemon else 0
        self._daemon = daemon = Daemon([self._program, "serve", str(path)], self._directory)

        def listening() -> int | None:
            found = _LISTENING.search(daemon.stderr(), logged)
            return int(found[1]) if found else None

        try:
            self.port = daemon.ready(listening, _START)
        except BaseException:
            self.stop()
            raise

    def let_in(self, user: str, password: str) -> None:
        """Lets this user in with this password, and nobody else any more."""
        new = self._directory / "htpasswd.new"
        new.write_text(f"{user}:{_HASHES[password]}\n")
        new.replace(self._directory / "htpasswd")
        self._login = f"{user}:{password}"

    def _auth(self) -> str:
        if self._tokens is not None:
            bundle = self._directory / "bundle.pem"
            bundle.write_bytes(self._tokens.pem)
            realm = self._tokens.url
            return _TOKEN.format(realm=realm, service=SERVICE, issuer=ISSUER, bundle=bundle)
        if self._login is None:
            return ""
        self.let_in(*self._login.split(":"))
        return _HTPASSWD.format(path=self._directory / "htpasswd")

    def stop(self) -> None:
        """Stops it: connections to its port are refused from now on."""
        if self._daemon is not None:
            self._daemon.stop()

    def requests(self) -> list[Request]:
        """All requests that it has answered, oldest first."""
        assert self._daemon is not None
        found = _ACCESS.finditer(self._daemon.stdout())
        return [Request(m["method"], m["target"], int(m["status"]), int(m["size"])) for m in found]


@contextmanager
def docker_registry(
    *, password: bool = False, tokens: TokenServer | None = None
) -> Iterator[DockerRegistry]:
    """A running registry.

    Args:
        password: only USER with PASSWORD gets in.
        tokens: only who brings a token of this server gets in.
    """
    with scratch() as directory:
        login = f"{USER}:{PASSWORD}" if password else None
        registry = DockerRegistry(directory, login, tokens)
        try:
            yield registry
        finally:
            registry.stop()
