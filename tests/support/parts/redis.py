"""Redis, Valkey, or the model of them: one, one behind Sentinels, or a Cluster; none is on disk."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.retry import Retry
from typing_extensions import override

from tests.support.parts.process import Daemon, free_port, require, wait_until
from tests.support.parts.scratch import scratch

_START = 90.0  # seconds
_ROOT = Path(__file__).parents[3]
_SERVICE = "cache"

Engine = Literal["redis", "valkey", "model"]
"""Whose program it is: two real ones with the same options, and the model of the simulation."""

ENGINES: tuple[Engine, ...] = tuple(one for one in get_args(Engine) if one != "model")

on_each_engine = pytest.mark.parametrize("engine", ENGINES)
"""Has a test of tests/integration run with each; without it the fixture `engine` is Redis."""

on_each_engine_and_model = pytest.mark.parametrize("engine", get_args(Engine))
"""Likewise, and with the model, which is to answer as the real ones do."""


class RedisServer:
    """A server that can be stopped, killed, and started again on its port."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        host: str = "127.0.0.1",
        engine: Engine = "redis",
    ) -> None:
        self._is_model = engine == "model"
        self._program = (
            sys.executable if self._is_model else require(f"{engine}-server", f"{engine}-server")
        )
        self._directory = directory
        self._options = options
        self._daemon: Daemon | None = None
        self.host = host
        self.port = free_port()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def start(self) -> None:
        """Starts it, empty."""
        if self._is_model:
            self._run(["-m", "tests.simulation.redis_server", str(self.port)])
            return
        self._run(
            [
                *("--port", str(self.port), "--bind", self.host, "--dir", str(self._directory)),
                *("--protected-mode", "no"),  # where it is bound, only the test's own parts are
                *("--save", "", "--appendonly", "no", "--enable-debug-command", "yes"),
                *self._options,
            ]
        )

    def _run(self, arguments: Sequence[str]) -> None:
        env = {"PYTHONPATH": str(_ROOT)} if self._is_model else None
        self._daemon = Daemon([self._program, *arguments], self._directory, env=env)
        try:
            self._daemon.ready(self.answers, _START)
        except BaseException:
            self.stop()
            raise

    def answers(self) -> bool:
        """Whether it does; one that wants a password does too."""
        try:
            with self.client() as client:
                client.ping()
        except RedisError as error:
            return isinstance(error, AuthenticationError) or "NOAUTH" in str(error)
        return True

    def client(self, **options: Any) -> "Redis":
        """A client of its own, to look into it and to spoil it."""
        return Redis(
            **{
                "host": self.host,
                "port": self.port,
                "socket_timeout": 10,
                "retry": Retry(NoBackoff(), 0),
                **({"protocol": 2} if self._is_model else {}),
                **options,
            }
        )

    def kill(self) -> None:
        """SIGKILL."""
        assert self._daemon is not None
        self._daemon.signal(signal.SIGKILL)
        self._daemon.exit_code(10)

    def pause(self) -> None:
        """SIGSTOP: connections stay open, and nothing is answered."""
        assert self._daemon is not None
        self._daemon.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        assert self._daemon is not None
        self._daemon.signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stops it, whatever state it is in."""
        if self._daemon is not None:
            self._daemon.signal(signal.SIGCONT)
            self._daemon.stop()

    def commands(self) -> dict[str, int]:
        """How often each command was called, since the count was last reset."""
        with self.client() as client:
            told: dict[str, Any] = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): each["calls"] for name, each in told.items()}


@contextmanager
def redis_server(
    *options: str, host: str = "127.0.0.1", engine: Engine = "redis"
) -> Iterator[RedisServer]:
    """A running server, at an address of this machine."""
    with scratch() as directory:
        server = RedisServer(directory, *options, host=host, engine=engine)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def redis_cluster(
    count: int = 3, engine: Engine = "redis", *options: str
) -> Iterator[list[RedisServer]]:
    """A Cluster of so many servers, which share all slots."""
    with ExitStack() as stack:
        servers = []
        for _ in range(count):
            directory = stack.enter_context(scratch())
            # Its bus would be on a port of its own, 10000 further on, which there may not be.
            server = RedisServer(
                directory,
                *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
                *("--cluster-node-timeout", "2000"),
                *options,
                engine=engine,
            )
            server.start()
            stack.callback(server.stop)
            servers.append(server)
        _join(servers)
        yield servers


def _join(servers: Sequence[RedisServer]) -> None:
    share = 16384 // len(servers) + 1
    for number, server in enumerate(servers):
        with server.client() as client:
            first, last = number * share, min(16384, (number + 1) * share) - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
            if number:
                before = servers[0]
                bus = before._options[before._options.index("--cluster-port") + 1]
                client.execute_command("CLUSTER MEET", "127.0.0.1", before.port, bus)

    def is_whole() -> bool:
        for server in servers:
            with server.client() as client:
                told = client.execute_command("CLUSTER INFO")
            if told["cluster_state"] != "ok" or int(told["cluster_size"]) != len(servers):
                return False
        return True

    wait_until(is_whole, _START, "the Cluster is whole")


@contextmanager
def redis_sentinel(
    host: str = "127.0.0.1", engine: Engine = "redis", count: int = 3, password: str = ""
) -> Iterator[tuple[list[RedisServer], list[RedisServer], str]]:
    """A server, its replica, and their Sentinels: servers, Sentinels, and the service's name.

    Args:
        host: where all of them are.
        engine: whose.
        count: of Sentinels; two are needed for a failover.
        password: that the Sentinels want; none where it is empty.
    """
    with ExitStack() as stack:
        # Each may be the one that the other copies; by itself it lets that wait for more to come.
        at_once = ("--repl-diskless-sync-delay", "0")
        first = stack.enter_context(redis_server(*at_once, host=host, engine=engine))
        second = stack.enter_context(
            redis_server(
                *("--replicaof", host, str(first.port), *at_once), host=host, engine=engine
            )
        )

        def is_replica() -> bool:
            with second.client() as client:
                return bool(client.info("replication").get("master_link_status") == "up")

        wait_until(is_replica, _START, "the replica follows")
        sentinels = []
        for _ in range(count):
            directory = stack.enter_context(scratch())
            config = directory / "sentinel.conf"
            config.write_text(
                f"sentinel monitor {_SERVICE} {host} {first.port} 2\n"
                f"sentinel down-after-milliseconds {_SERVICE} 500\n"
                f"sentinel failover-timeout {_SERVICE} 3000\n"
                + (f'requirepass "{password}"\n' if password else "")
            )
            sentinel = _Sentinel(directory, str(config), host=host, engine=engine)
            sentinel.password = password or None
            sentinel.start()
            stack.callback(sentinel.stop)
            sentinels.append(sentinel)

        def know_each_other() -> bool:
            for each in sentinels:
                with each.client() as client:
                    if len(client.sentinel_sentinels(_SERVICE)) < count - 1:
                        return False
                    if not client.sentinel_slaves(_SERVICE):
                        return False
            return True

        wait_until(know_each_other, _START, "the Sentinels know each other")
        yield [first, second], list(sentinels), _SERVICE


@contextmanager
def redis_sentinel_over_tls(
    certificate: Path, key: Path, authority: Path, password: str, engine: Engine = "redis"
) -> Iterator[tuple[RedisServer, int, str]]:
    """A server, the port at which its only Sentinel speaks TLS, and the name of the service.

    Args:
        certificate: that both show, and want of each other and of clients.
        key: of it.
        authority: that it is of.
        password: that both want, as a word.
        engine: whose.
    """
    tls = {"tls-cert-file": certificate, "tls-key-file": key, "tls-ca-cert-file": authority}
    own, port = free_port(), free_port()
    options = [part for name, path in tls.items() for part in (f"--{name}", str(path))]
    with ExitStack() as stack:
        server = stack.enter_context(redis_server("--tls-port", str(own), *options, engine=engine))
        with server.client() as client:
            client.config_set("requirepass", password)
        directory = stack.enter_context(scratch())
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {_SERVICE} 127.0.0.1 {own} 1\n"
            f"sentinel auth-pass {_SERVICE} {password}\n"
            f"requirepass {password}\ntls-port {port}\ntls-replication yes\n"
            + "".join(f"{name} {path}\n" for name, path in tls.items())
        )
        sentinel = _Sentinel(directory, str(config), engine=engine)
        sentinel.password = password
        sentinel.start()
        stack.callback(sentinel.stop)

        def is_up() -> bool:
            with sentinel.client() as client:
                known = client.sentinel_master(_SERVICE)
            return not known["is_disconnected"] and not known["is_sdown"]

        wait_until(is_up, _START, "the Sentinel reaches its server")
        yield server, port, _SERVICE


class _Sentinel(RedisServer):
    """A Sentinel is a server that is started with its own file."""

    password: str | None = None

    @override
    def client(self, **options: Any) -> "Redis":
        return super().client(**{"password": self.password, **options})

    def start(self) -> None:
        (config,) = self._options
        where = ["--port", str(self.port), "--bind", self.host, "--dir", str(self._directory)]
        self._run([config, "--sentinel", *where])
