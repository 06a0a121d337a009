"""The connection to Redis: ways in, deadlines, what is said when it fails, and messages."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trustme
from redis.asyncio import Redis

from cacheproxy.domain.events import SharedStoreCalled, SharedStoreFound
from cacheproxy.metadata.redis_clients import LIMIT, Client, RedisLogin
from cacheproxy.metadata.redis_cluster import Cluster
from cacheproxy.metadata.redis_connection import RedisFailed
from cacheproxy.metadata.redis_messages import Message, listen, write_message
from cacheproxy.metadata.redis_purge_log import read_purges, record_purge
from cacheproxy.metadata.redis_scripts import ADD_LINKS
from tests.integration.fills import until
from tests.integration.watched import get, soon, watched
from tests.support.parts.process import free_port
from tests.support.parts.redis import (
    Engine,
    RedisServer,
    on_each_engine,
    redis_cluster,
    redis_sentinel,
)

_ACL = re.search(
    r"^(ACL SETUSER .*)$",
    (Path(__file__).parents[2] / "docs/redis.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


async def _set(client: Client) -> object:
    return await client.set("cacheproxy:x", b"1")


async def _set_at(key: str, client: Client) -> object:
    return await client.set(key, b"1")


# -- ways in -----------------------------------------------------------------------------


@on_each_engine
async def test_a_password_lets_in(redis: RedisServer) -> None:
    """The URL's password lets in, and so does one that is given beside it."""
    with redis.client() as client:
        client.config_set("requirepass", "p@ss")
    async with watched(f"redis://:p%40ss@{redis.address}", seconds=10.0) as by_url:
        await by_url.connection.call(_set)
    async with watched(redis.url, RedisLogin("p@ss"), seconds=10.0) as beside:
        assert await beside.connection.call(get) == b"1"


@on_each_engine
async def test_a_password_file_may_change(redis: RedisServer, tmp_path: Path) -> None:
    """A password that is changed on both sides is taken up without a restart."""
    file = tmp_path / "password"
    file.write_text("old\n")
    with redis.client() as client:
        client.config_set("requirepass", "old")
    async with watched(redis.url, RedisLogin("old", file)) as it:
        await it.connection.call(_set)
        with redis.client(password="old") as client:
            client.config_set("requirepass", "new")
        with redis.client(password="new") as client:
            client.client_kill_filter(_type="normal", skipme=True)
        file.write_text("new\n")
        await soon(lambda: it.connection.call(get))


@on_each_engine
async def test_the_documented_user_may_do_all_that_is_done(redis: RedisServer) -> None:
    """An ACL user as docs/redis.md has it can do what replicas do, and nothing with other keys."""
    assert _ACL is not None
    with redis.client() as client:
        client.execute_command(*_ACL[1].split())
    url = f"redis://puller:PASSWORD@{redis.address}?namespace=prod"
    async with watched(url) as it:
        await it.found()
        await it.connection.call(lambda client: client.set("prod:x", b"1"))
        await it.connection.call(lambda client: client.publish("prod:1:changes", b"1"))
        await it.connection.call(lambda client: client.scan(0))
        await record_purge(it.connection, Message("a", "docker.io/a ", is_purge=True))
        assert len(await read_purges(it.connection, 0.0)) == 1
        for work in (_set, lambda client: client.publish("x", b"1"), lambda c: c.flushall()):
            with pytest.raises(RedisFailed, match="ermission"):
                await it.connection.call(work)
        assert it.lost() == []


@on_each_engine
async def test_tls_is_verified(redis: RedisServer, tmp_path: Path) -> None:
    """Over TLS a server with a certificate of ours is asked, and no other one."""
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    paths = {name: tmp_path / name for name in ("ca", "other", "cert", "key")}
    authority.cert_pem.write_to_path(paths["ca"])
    stranger.cert_pem.write_to_path(paths["other"])
    certificate.cert_chain_pems[0].write_to_path(paths["cert"])
    certificate.private_key_pem.write_to_path(paths["key"])
    port = free_port()
    with redis.client() as client:
        client.config_set("tls-cert-file", str(paths["cert"]))
        client.config_set("tls-key-file", str(paths["key"]))
        client.config_set("tls-ca-cert-file", str(paths["ca"]))
        client.config_set("tls-port", port)
    own = f"certificate={paths['cert']}&key={paths['key']}"
    base = f"rediss://127.0.0.1:{port}"
    async with watched(f"{base}?ca_file={paths['ca']}&{own}", seconds=30.0) as it:
        await it.connection.call(_set)
    async with watched(f"{base}?ca_file={paths['other']}&{own}", seconds=30.0) as it:
        with pytest.raises(RedisFailed, match=r"(?i)certificate"):
            await it.connection.call(_set)


# -- when it fails -----------------------------------------------------------------------


@on_each_engine
async def test_a_wrong_password_is_said_and_not_shown(redis: RedisServer) -> None:
    """A wrong password is one line that says so, without the password."""
    with redis.client() as client:
        client.config_set("requirepass", "right")
    async with watched(f"redis://u:hunter2@{redis.address}") as it:
        await until(it.lost)
        with pytest.raises(RedisFailed) as caught:
            await it.connection.call(get)
        assert len(it.lost()) == 1
        assert "invalid username-password pair" in it.lost()[0]
        assert "hunter2" not in f"{it.events.all} {caught.value} {caught.value.__cause__}"


@on_each_engine
async def test_a_missing_password_is_said(redis: RedisServer) -> None:
    """A server that wants a password, and gets none, is not used, and that is said."""
    with redis.client() as client:
        client.config_set("requirepass", "right")
    async with watched(redis.url) as it:
        await until(it.lost)
        assert "Authentication required" in it.lost()[0]


@on_each_engine
async def test_a_wrong_database_is_said(redis: RedisServer) -> None:
    """A database that is not there is said, and not used."""
    async with watched(f"redis://{redis.address}/99") as it:
        await until(it.lost)
        assert "DB index is out of range" in it.lost()[0]


async def test_nobody_there_is_said_and_found_later(redis: RedisServer) -> None:
    """A server that is not there at first is looked for until it is."""
    redis.kill()
    async with watched(redis.url) as it:
        await until(it.lost)
        redis.start()
        await it.found()
        await it.connection.call(_set)


async def test_a_name_that_does_not_resolve_is_said() -> None:
    """A host without an address is one line, too."""
    async with watched("redis://redis.invalid") as it:
        await until(it.lost)
        assert "redis.invalid" in it.lost()[0]


@asynccontextmanager
async def _server_of_version(version: str, **answers: bytes) -> AsyncIterator[str]:
    """A server that knows as much of the protocol as a look at it needs."""
    info = f"# Server\r\nredis_version:{version}\r\n".encode()
    known = {
        b"TIME": b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n",
        b"INFO": b"$%d\r\n%s\r\n" % (len(info), info),
        **{name.encode(): answer for name, answer in answers.items()},
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                writer.write(known.get(words[0], b"+OK\r\n"))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("version", "says"),
    [("5.0.14", "its version is 5.0"), ("6.0.16", "6.2"), ("6.2.0", None), ("10.1.0", None)],
)
async def test_an_old_server_is_said(version: str, says: str | None) -> None:
    """A server that is too old is not used, and the reason is said; others are."""
    async with _server_of_version(version) as url, watched(url) as it:
        await until(lambda: bool(it.lost()) or bool(it.events.of(SharedStoreFound)))
        assert (says is None) == (it.lost() == [])
        assert says is None or says in it.lost()[0]
        assert it.connection.is_resting == (says is not None)


@pytest.mark.alone
async def test_calls_have_a_deadline(redis: RedisServer) -> None:
    """A silent server is waited for once, by all who ask at that moment, and then by nobody."""
    async with watched(redis.url) as it:
        await it.found()
        redis.pause()
        before = time.monotonic()
        calls = [it.connection.call(get) for _ in range(100)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, RedisFailed) for outcome in outcomes)
        # One after another they would wait for a hundred deadlines.
        assert time.monotonic() - before < 15.0
        with pytest.raises(RedisFailed, match="is not asked for a moment"):
            await it.connection.call(get)
        assert it.events.of(SharedStoreCalled)[-1].outcome == "skipped"
        redis.go_on()
        await it.found(2)
        assert await it.connection.call(get) is None


@on_each_engine
async def test_what_one_command_may_not_is_no_outage(redis: RedisServer) -> None:
    """A command that is refused fails alone; the next one is sent."""
    async with watched(redis.url) as it:
        await it.found()
        await it.connection.call(_set)
        with pytest.raises(RedisFailed, match="wrong kind of value"):
            await it.connection.call(lambda client: client.lpush("cacheproxy:x", "1"))
        assert await it.connection.call(get) == b"1"
        assert it.lost() == []


@on_each_engine
async def test_a_server_that_became_a_replica_is_left(redis: RedisServer) -> None:
    """After a refused write the next call connects anew: another server may have the name now."""
    async with watched(redis.url) as it:
        await it.found()
        before = await it.connection.call(lambda client: client.client_id())
        with redis.client() as client:
            client.replicaof("127.0.0.1", "1")
        assert await it.connection.call(lambda client: client.client_id()) == before
        with pytest.raises(RedisFailed, match="read only"):
            await it.connection.call(_set)
        assert await it.connection.call(get) is None
        assert await it.connection.call(lambda client: client.client_id()) != before
        assert it.lost() == []


async def test_an_old_server_that_became_a_replica_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 6.2 says within a script's error that it may not write, and is left all the same."""
    refusal = (
        b"-ERR Error running script (call to f_0): @user_script:14: @user_script: 14: "
        b"-READONLY You can't write against a read only replica.\r\n"
    )
    async with _server_of_version("6.2.0", EVALSHA=refusal) as url, watched(url) as it:
        await it.found()
        client = it.connection.client
        assert isinstance(client, Redis)
        left = list[str]()

        async def leave(*, inuse_connections: bool = True) -> None:
            left.append("busy too" if inuse_connections else "idle")

        monkeypatch.setattr(client.connection_pool, "disconnect", leave)
        with pytest.raises(RedisFailed, match="READONLY"):
            await it.connection.call(lambda client: ADD_LINKS.run(client, ["key"], [1, "1,0,"]))
        assert left == ["idle"]
        monkeypatch.undo()


@pytest.mark.alone
async def test_many_at_once_wait_for_each_other(redis: RedisServer) -> None:
    """A thousand calls at once all get their answers, over a few connections."""
    async with watched(redis.url) as it:
        await it.found()
        await asyncio.gather(*(it.connection.call(_set) for _ in range(1000)))
        with redis.client() as client:
            assert client.info("clients")["connected_clients"] <= 35
        assert it.lost() == []


async def test_a_wait_for_our_own_turn_is_no_failure_of_the_server(redis: RedisServer) -> None:
    """A call that gets no turn in time fails alone: the server is still asked."""
    async with watched(redis.url) as it:
        await it.found()
        async with AsyncExitStack() as stack:
            for _ in range(LIMIT):
                await stack.enter_async_context(it.connection._turn())
            with pytest.raises(RedisFailed, match="too many calls are under way"):
                await it.connection.call(_set)
        await it.connection.call(_set)
        assert it.lost() == []


# -- messages ----------------------------------------------------------------------------


class Heard:
    """A listener (`Listener`) that remembers."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.gaps = 0
        self.is_deaf = True

    async def heard(self, message: Message) -> None:
        self.said.append(message)

    async def missed(self) -> None:
        self.gaps += 1
        self.is_deaf = False

    def deaf(self) -> None:
        self.is_deaf = True


@on_each_engine
async def test_messages_of_others_are_heard(redis: RedisServer) -> None:
    """What others say is heard, one's own word and what is no message are not."""
    async with watched(redis.url) as it:
        heard = Heard()
        it.tasks.keep_running(partial(listen, it.connection, heard), "listen")
        await until(lambda: heard.gaps == 1)
        own = Message(it.connection.replica, "docker.io/a ", "1")
        other = Message("other", "docker.io/a ", "1", is_purge=True)
        with redis.client() as client:
            for sent in (b"\xff", b"{}", b"[]", write_message(own), write_message(other)):
                client.publish("cacheproxy:1:changes", sent)
        await until(lambda: heard.said)
        assert heard.said == [other]


@on_each_engine
async def test_a_gap_is_noticed(redis: RedisServer) -> None:
    """After a connection broke all that may have been missed is said to be, once it is back."""
    async with watched(redis.url) as it:
        heard = Heard()
        it.tasks.keep_running(partial(listen, it.connection, heard), "listen")
        await until(lambda: heard.gaps == 1)
        redis.kill()
        await until(lambda: heard.is_deaf)
        redis.start()
        await until(lambda: heard.gaps == 2)
        with redis.client() as client:
            client.publish("cacheproxy:1:changes", write_message(Message("other", "docker.io/")))
        await until(lambda: heard.said)


# -- several servers ---------------------------------------------------------------------


@on_each_engine
async def test_a_failover_is_followed(engine: Engine) -> None:
    """When the master dies, the one that the Sentinels make its successor is asked, and heard."""
    with redis_sentinel(engine=engine) as (servers, sentinels, service):
        hosts = ",".join(sentinel.address for sentinel in sentinels)
        async with watched(f"redis+sentinel://{hosts}/{service}") as it:
            heard = Heard()
            it.tasks.keep_running(partial(listen, it.connection, heard), "listen")
            await until(lambda: heard.gaps == 1)
            await it.connection.call(_set)
            servers[0].kill()
            await soon(lambda: it.connection.call(_set), 20)
            await until(lambda: heard.gaps == 2, 20)
            await it.connection.call(
                lambda client: client.publish(
                    "cacheproxy:1:changes", write_message(Message("other", "docker.io/"))
                )
            )
            await until(lambda: heard.said)
            with servers[1].client() as client:
                assert client.get("cacheproxy:x") == b"1"


@on_each_engine
@pytest.mark.parametrize("failure", ["kill", "pause"])
async def test_a_server_of_a_cluster_fails_alone(engine: Engine, failure: str) -> None:
    """One call waits for a server that fails, the next ones do not, and other keys go on."""
    whatever_fails = ("--cluster-require-full-coverage", "no")
    with redis_cluster(3, engine, *whatever_fails) as servers:
        url = "redis+cluster://" + ",".join(server.address for server in servers)
        async with watched(url, seconds=10.0) as it:
            await it.found()
            keys = {_server_of(it.connection.client, f"cacheproxy:{n}"): n for n in range(100)}
            lost, *others = servers
            getattr(lost, failure)()

            async def ask(server: RedisServer) -> object:
                return await it.connection.call(partial(_set_at, f"cacheproxy:{keys[server.port]}"))

            for _ in range(20):
                with pytest.raises(RedisFailed):
                    await ask(lost)
                for other in others:
                    await ask(other)
            outcomes = [each.outcome for each in it.events.of(SharedStoreCalled)]
            assert outcomes.count("failed") == 1
            assert it.lost() == []
            lost.start() if failure == "kill" else lost.go_on()
            await soon(partial(ask, lost))


def _server_of(client: Client, key: str) -> int:
    assert isinstance(client, Cluster)
    node = client.get_node_from_key(key)
    assert node is not None
    return int(node.port)


@on_each_engine
async def test_a_cluster_is_asked_and_heard(engine: Engine) -> None:
    """In a Cluster what is said to one server is heard at any; some servers are enough to begin."""
    with redis_cluster(engine=engine) as servers:
        url = f"redis+cluster://127.0.0.1:1,{servers[2].address}"
        async with watched(url) as it:
            await it.found()
            heard = Heard()
            it.tasks.keep_running(partial(listen, it.connection, heard), "listen")
            await until(lambda: heard.gaps == 1)
            for server in servers:
                with server.client() as client:
                    said = write_message(Message(str(server.port), "docker.io/"))
                    client.publish("cacheproxy:1:changes", said)
            await until(lambda: len(heard.said) == len(servers))
            for number in range(20):
                await it.connection.call(partial(_set_at, f"cacheproxy:{number}"))
            for server in servers:
                with server.client() as client:
                    assert client.dbsize() > 0
            purge = Message("another", "docker.io/a ", is_purge=True)
            await record_purge(it.connection, purge)
            await until(lambda: heard.said[-1] == purge)
            assert [each for _, each in await read_purges(it.connection, 0.0)] == [purge]
