"""Who is compared: each caches the same registry, and logs each request, as it does by default."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from bench.measured import processor_seconds
from tests.support.parts import wire
from tests.support.parts.process import Daemon, find, free_port
from tests.support.parts.proxy import proxy
from tests.support.parts.scratch import scratch
from tests.support.parts.swarm import Address

_START = 90.0  # seconds

_DISTRIBUTION = """\
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {directory}/storage}}}}
proxy: {{remoteurl: "{url}"}}
http: {{addr: "127.0.0.1:{port}", secret: bench}}
"""
# Tuned as far as it goes: followers wait for the first request as long as it takes, instead of
# asking upstream themselves after five seconds.
_NGINX = """\
{user}daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
worker_processes {workers};
events {{ worker_connections 4096; }}
http {{
  access_log {directory}/access.log;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {directory}/body;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  proxy_temp_path {directory}/proxy;
  proxy_cache_path {directory}/cache levels=1:2 keys_zone=all:10m max_size=20g use_temp_path=off;
  open_file_cache max=1000;
  server {{
    listen 127.0.0.1:{port} reuseport backlog=1024;
{tls}    location / {{
      proxy_pass {url};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_max_temp_file_size 0;
      proxy_buffers 16 64k;
      proxy_cache all;
      proxy_cache_key "$uri $http_accept";
      proxy_cache_valid 200 1d;
      proxy_cache_lock on;
      proxy_cache_lock_age 10m;
      proxy_cache_lock_timeout 10m;
    }}
  }}
}}
"""


_NGINX_TLS = """\
    listen 127.0.0.1:{port} ssl reuseport backlog=1024;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """For TLS: two files."""

    certificate: str
    key: str


@dataclass(frozen=True, slots=True)
class Subject:
    """A running cache.

    Attributes:
        name: for the table.
        address: where it serves.
        pid: of its main process.
        coalesces: whether many clients of a cold blob are not too much for it.
        secure: where it serves by TLS.
    """

    name: str
    address: Address
    pid: int
    coalesces: bool = True
    secure: Address | None = None

    def processor_seconds(self) -> float:
        """What it has used so far."""
        return processor_seconds(self.pid)


@contextmanager
def cacheproxy(url: str, workers: int, tls: Certificate | None = None) -> Iterator[Subject]:
    """What this project is."""
    name = f"cacheproxy, {workers} worker{'s' if workers > 1 else ''}"
    server: dict[str, object] = {"workers": workers}
    if tls is not None:
        server["tls"] = {"certificate": tls.certificate, "key": tls.key}
    with proxy({"docker.io": url}, settings={"server": server}) as running:
        at = "127.0.0.1", running.port
        yield Subject(name, at, running.pid, secure=None if tls is None else at)


@contextmanager
def distribution(url: str) -> Iterator[Subject]:
    """docker-registry in proxy mode."""
    with _program("docker-registry", _DISTRIBUTION, ["serve", "{config}"], url=url) as running:
        yield Subject("distribution", *running, coalesces=False)


@contextmanager
def nginx(url: str, workers: int, tls: Certificate | None = None) -> Iterator[Subject]:
    """A web server with a cache and its lock."""
    # Its workers would be nobody, who cannot read this directory.
    user = "user root;\n"
    arguments = ["-c", "{config}"]
    secure, listen = None, ""
    if tls is not None:
        secure = "127.0.0.1", free_port()
        listen = _NGINX_TLS.format(port=secure[1], certificate=tls.certificate, key=tls.key)
    with _program(
        "nginx", _NGINX, arguments, url=url, workers=workers, user=user, tls=listen
    ) as running:
        name = f"nginx, {workers} worker{'s' if workers > 1 else ''}"
        yield Subject(name, *running, secure=secure)


@contextmanager
def _program(
    command: str, config: str, arguments: list[str], **values: object
) -> Iterator[tuple[Address, int]]:
    program = find(command)
    if program is None:
        raise FileNotFoundError(f"{command} is not installed")
    with scratch() as directory:
        port = free_port()
        path = directory / "config"
        path.write_text(config.format(directory=directory, port=port, **values))
        argv = [program, *(argument.format(config=path) for argument in arguments)]
        daemon = Daemon(argv, directory)
        try:
            daemon.ready(partial(wire.answers, f"http://127.0.0.1:{port}/v2/"), _START)
            yield ("127.0.0.1", port), daemon.pid
        finally:
            daemon.stop()
