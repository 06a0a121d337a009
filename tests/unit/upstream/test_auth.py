import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable

import pytest
from yarl import URL

from cacheproxy.domain.errors import CacheproxyError, Denied, UpstreamTimeout, UpstreamUnavailable
from cacheproxy.inprocess.tasks import Tasks
from cacheproxy.upstream.auth import Attempt, Authorizer
from cacheproxy.upstream.challenge import Basic, Bearer, Challenge
from cacheproxy.upstream.credentials.fixed import Fixed
from cacheproxy.upstream.credentials.login import Login
from cacheproxy.upstream.credentials.renewing import Renewing
from cacheproxy.upstream.tokens import LoginRefused
from tests.support.clock import FakeClock, time_the_loop
from tests.support.leaks import settle

_UPSTREAM = URL("https://registry.example.com")
_REALM = "https://auth.example.com/token"
_BEARER = Bearer(_REALM, "registry.example.com", "repository:from/challenge:pull")
_PING = URL("https://registry.example.com/v2/")
_SCOPE, _OTHER_SCOPE = "repository:a:pull", "repository:b:pull"
_LOGIN = Login("user", "pass:word")
_BASIC = "Basic dXNlcjpwYXNzOndvcmQ="


class FakeTokenServer:
    """A token server (`TokenServer`) that counts its tokens: `t1`, then `t2`."""

    def __init__(self) -> None:
        self.asked: list[tuple[URL, str | None]] = []
        self.seconds: float | None = 300
        self.token: str | None = None
        self.failure: CacheproxyError | None = None
        self.refused: set[str | None] = set()
        self.refuses: Callable[[URL], bool] = lambda _: False
        self.challenges: tuple[Challenge, ...] = ()
        self.pinged: list[URL] = []
        self.open = asyncio.Event()
        self.open.set()

    async def fetch_challenges(self, url: URL) -> tuple[Challenge, ...]:
        """The challenges of `/v2/`."""
        self.pinged.append(url)
        if self.failure is not None:
            raise self.failure
        return self.challenges

    async def fetch(self, url: URL, authorization: str | None) -> bytes:
        """The next token."""
        self.asked.append((url, authorization))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        if authorization in self.refused or self.refuses(url):
            raise LoginRefused("upstream answered 401 to a token request")
        answer: dict[str, object] = {"token": self.token or f"t{len(self.asked)}"}
        if self.seconds is not None:
            answer["expires_in"] = self.seconds
        return json.dumps(answer).encode()


Make = Callable[..., Authorizer]


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    made = FakeClock()
    time_the_loop(made, monkeypatch)
    return made


@pytest.fixture
async def server() -> FakeTokenServer:
    return FakeTokenServer()


@pytest.fixture
async def make(clock: FakeClock, server: FakeTokenServer) -> AsyncIterator[Make]:
    """Makes authorizers for the upstream."""
    tasks, made = Tasks(), list[Authorizer]()

    def make_one(login: Login | None = None, realms: frozenset[str] = frozenset()) -> Authorizer:
        sources = [Fixed(login)] if login else []
        credentials = [Renewing(source, "r's credentials", tasks, clock) for source in sources]
        made.append(Authorizer(_UPSTREAM, credentials, realms, server, tasks=tasks, clock=clock))
        return made[-1]

    yield make_one
    for authorizer in made:
        await authorizer.close()
    await tasks.close()


async def test_nothing_is_sent_before_it_is_asked_for(make: Make, server: FakeTokenServer) -> None:
    """Before the first challenge requests go out without credentials, whoever we are."""
    assert await make().current(_SCOPE) is None
    assert await make(_LOGIN).current(_SCOPE) is None
    assert server.asked == []


async def test_a_challenge_is_answered_with_a_token(make: Make, server: FakeTokenServer) -> None:
    """A token is for our scope and the challenge's own, by its service, and used from then on."""
    authorizer = make()
    assert await authorizer.answer([_BEARER], _SCOPE, None) == "Bearer t1"
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    ((url, authorization),) = server.asked
    assert authorization is None
    assert url.with_query(None) == URL(_REALM)
    assert url.query["service"] == "registry.example.com"
    assert url.query.getall("scope") == [_SCOPE, _BEARER.scope]


async def test_the_realm_keeps_its_own_query(make: Make, server: FakeTokenServer) -> None:
    """A realm with a query of its own is asked with that, and a service that is none with none."""
    await make().answer([Bearer(_REALM + "?account=x", "", "")], _SCOPE, None)
    assert dict(server.asked[0][0].query) == {"account": "x", "scope": _SCOPE}


async def test_credentials_go_to_the_token_server(make: Make, server: FakeTokenServer) -> None:
    """With a login the token is fetched with it, and the registry gets the token alone."""
    assert await make(_LOGIN).answer([_BEARER], _SCOPE, None) == "Bearer t1"
    assert server.asked[0][1] == _BASIC


async def test_each_scope_has_its_own_token(make: Make, server: FakeTokenServer) -> None:
    """A token for one repository is not sent for another."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    assert await authorizer.current(_OTHER_SCOPE) == "Bearer t2"
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    assert [url.query["scope"] for url, _ in server.asked] == [_SCOPE, _OTHER_SCOPE]


async def test_fifty_who_wait_fetch_one_token(make: Make, server: FakeTokenServer) -> None:
    """However many requests are challenged at once, one token is fetched for all of them."""
    authorizer = make()
    server.open.clear()
    async with asyncio.TaskGroup() as group:
        waiters = [group.create_task(authorizer.answer([_BEARER], _SCOPE, None)) for _ in range(50)]
        await settle()
        assert len(server.asked) == 1
        server.open.set()
    assert {waiter.result() for waiter in waiters} == {"Bearer t1"}


async def test_a_failure_is_one_for_all_who_wait(make: Make, server: FakeTokenServer) -> None:
    """A token server that fails is asked once by fifty, and again by the next one."""
    authorizer = make()
    server.failure = UpstreamTimeout("slow")
    server.open.clear()
    joins = (authorizer.answer([_BEARER], _SCOPE, None) for _ in range(50))
    waiting = asyncio.gather(*joins, return_exceptions=True)
    await settle()
    server.open.set()
    assert {type(outcome) for outcome in await waiting} == {UpstreamTimeout}
    assert len(server.asked) == 1
    server.failure = None
    assert await authorizer.current(_SCOPE) == "Bearer t2"


@pytest.mark.parametrize(
    ("seconds", "renewed_after"),
    [
        pytest.param(300, 240, id="five minutes"),
        pytest.param(60, 48, id="a minute"),
        pytest.param(None, 48, id="no word of it: a minute"),
        pytest.param(0, 48, id="no life: a minute"),
        pytest.param(10**9, 69_120, id="for ever: a day"),
    ],
)
async def test_a_token_is_renewed_before_it_ends(
    make: Make,
    server: FakeTokenServer,
    clock: FakeClock,
    seconds: float | None,
    renewed_after: float,
) -> None:
    """A token is used for four fifths of its life, and renewed then."""
    server.seconds = seconds
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    clock.advance(renewed_after - 0.5)
    await settle()
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    clock.advance(1.0)
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    await settle()
    assert await authorizer.current(_SCOPE) == "Bearer t2"
    assert await authorizer.current(_SCOPE) == "Bearer t2"
    assert len(server.asked) == 2


async def test_nobody_waits_for_a_renewal(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """While a token that is due is fetched anew, the old one is used, and fetched once."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    server.open.clear()
    clock.advance(241)
    async with asyncio.timeout(60):
        assert {await authorizer.current(_SCOPE) for _ in range(50)} == {"Bearer t1"}
    await settle()
    assert len(server.asked) == 2
    server.open.set()
    await settle()
    assert await authorizer.current(_SCOPE) == "Bearer t2"


@pytest.mark.parametrize("failure", [Denied("no"), UpstreamTimeout("slow")])
async def test_a_renewal_that_fails_fails_nobody(
    make: Make, server: FakeTokenServer, clock: FakeClock, failure: CacheproxyError
) -> None:
    """A token server that is broken is asked again now and then, until the token is over."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    server.failure = failure
    clock.advance(241)
    for seconds in (0, 0, 1, 3):
        clock.advance(seconds)
        assert await authorizer.current(_SCOPE) == "Bearer t1"
        await settle()
    assert len(server.asked) == 2
    clock.advance(2)
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    await settle()
    assert len(server.asked) == 3
    clock.advance(60)
    await settle()
    with pytest.raises(type(failure)):
        await authorizer.current(_SCOPE)
    server.failure = None
    assert await authorizer.current(_SCOPE) == "Bearer t5"


def _jwt(**claims: float) -> str:
    parts = [b"{}", json.dumps(claims).encode(), b"signature"]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


async def test_a_jwt_says_when_it_ends(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """Where the answer names no lifetime, the token's own is taken."""
    server.seconds = None
    server.token = _jwt(exp=clock.now() + 4500)
    authorizer = make()
    first = await authorizer.answer([_BEARER], _SCOPE, None)
    clock.advance(3599)
    await settle()
    assert await authorizer.current(_SCOPE) == first
    await settle()
    assert len(server.asked) == 1
    clock.advance(2)
    await authorizer.current(_SCOPE)
    await settle()
    assert len(server.asked) == 2


@pytest.mark.parametrize("failure", [Denied("no"), UpstreamTimeout("slow")])
async def test_a_failure_on_the_way_to_a_token_is_forgotten(
    make: Make, server: FakeTokenServer, failure: CacheproxyError
) -> None:
    """After a token could not be had, upstream is asked without one, and answered as it asks."""
    authorizer = make()
    server.failure = failure
    with pytest.raises(type(failure)):
        await authorizer.go_on([_BEARER], _SCOPE, Attempt())
    assert await authorizer.begin(_SCOPE) == Attempt()
    server.failure = None
    assert await authorizer.go_on([_BEARER], _SCOPE, Attempt()) == Attempt("Bearer t2")


async def test_an_expired_token_that_cannot_be_renewed(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """Who cannot have a token asks without; the same challenge again is the same failure."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    clock.advance(301)
    server.failure = UpstreamTimeout("slow")
    tried = await authorizer.begin(_SCOPE)
    assert (tried.field, tried.failure) == (None, server.failure)
    with pytest.raises(UpstreamTimeout, match="slow"):
        await authorizer.go_on([_BEARER], _SCOPE, tried)
    assert len(server.asked) == 2
    server.failure = None
    other = Bearer("https://other.example.com/token", "s", "")
    assert await authorizer.go_on([other], _SCOPE, tried) == Attempt("Bearer t3")


async def test_a_refused_token_with_a_challenge_of_no_use(make: Make) -> None:
    """Where an old token brings a challenge that cannot be answered, none is sent once more."""
    authorizer = make()
    old = await authorizer.go_on([_BEARER], _SCOPE, Attempt())
    strange = Bearer("https://127.0.0.1/token", "s", "")
    bare = await authorizer.go_on([strange], _SCOPE, old)
    assert bare.field is None
    assert isinstance(bare.failure, UpstreamUnavailable)
    with pytest.raises(UpstreamUnavailable, match="where we do not go"):
        await authorizer.go_on([strange], _SCOPE, bare)
    assert (await authorizer.go_on([_BEARER], _SCOPE, bare)).field == "Bearer t1"


async def test_a_bare_401_to_a_token_is_answered_by_the_last_challenge(
    make: Make, server: FakeTokenServer
) -> None:
    """A token that is refused without a challenge is fetched anew by the one that is known."""
    authorizer = make()
    old = await authorizer.go_on([_BEARER], _SCOPE, Attempt())
    assert await authorizer.go_on([], _SCOPE, old) == Attempt("Bearer t2")


async def test_the_ping_is_learnt_once(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """`/v2/` is asked for its challenge once in five minutes, however many want to know it."""
    authorizer = make(_LOGIN)
    server.challenges = (Basic(),)
    for _ in range(2):
        learnt = await asyncio.gather(*(authorizer.learn() for _ in range(10)))
        assert set(learnt) == {(Basic(),)}
    assert server.pinged == [_PING]
    clock.advance(301)
    await authorizer.learn()
    assert server.pinged == [_PING] * 2


async def test_a_ping_whose_challenge_is_of_no_use_is_asked_again_soon(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """Whoever asks for what its token server refuses has `/v2/` asked once in five seconds."""
    authorizer = make()
    server.challenges = (_BEARER,)
    server.refuses = lambda _: True
    for _ in range(3):
        challenges = await authorizer.learn()
        with pytest.raises(LoginRefused):
            await authorizer.go_on(challenges, _SCOPE, Attempt())
    assert len(server.pinged) == 1
    clock.advance(6)
    await authorizer.learn()
    assert len(server.pinged) == 2


async def test_a_ping_that_fails_is_asked_again_soon(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """A `/v2/` that fails has no challenges for five seconds."""
    authorizer = make(_LOGIN)
    server.failure = UpstreamTimeout("slow")
    assert await authorizer.learn() == ()
    server.failure, server.challenges = None, (_BEARER,)
    assert await authorizer.learn() == ()
    clock.advance(6)
    assert await authorizer.learn() == (_BEARER,)


async def test_the_time_of_day_has_no_say(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """A clock that is set back neither keeps a token beyond its life nor ends it early."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    clock.set_back(1_000_000)
    assert await authorizer.current(_SCOPE) == "Bearer t1"
    clock.advance(301)
    assert await authorizer.current(_SCOPE) == "Bearer t2"


async def test_a_refused_token_is_dropped_once(make: Make, server: FakeTokenServer) -> None:
    """Of many whose token is refused at once the first has it fetched anew, and all get that."""
    authorizer = make()
    old = await authorizer.answer([_BEARER], _SCOPE, None)
    renewed = [await authorizer.answer([_BEARER], _SCOPE, old) for _ in range(10)]
    assert renewed == ["Bearer t2"] * 10
    assert len(server.asked) == 2
    server.open.clear()
    async with asyncio.TaskGroup() as group:
        waiters = [
            group.create_task(authorizer.answer([_BEARER], _SCOPE, "Bearer t2")) for _ in range(50)
        ]
        await settle()
        server.open.set()
    assert {waiter.result() for waiter in waiters} == {"Bearer t3"}
    assert len(server.asked) == 3


async def test_a_token_server_that_gives_the_same_again(
    make: Make, server: FakeTokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who gets the very token that was refused gives up, and does not try for ever."""

    async def fetch(url: URL, authorization: str | None) -> bytes:
        server.asked.append((url, authorization))
        return b'{"token":"same"}'

    monkeypatch.setattr(server, "fetch", fetch)
    authorizer = make()
    same = await authorizer.answer([_BEARER], _SCOPE, None)
    with pytest.raises(Denied, match="refuses our credentials"):
        await authorizer.answer([_BEARER], _SCOPE, same)
    assert len(server.asked) == 2


async def test_basic_is_answered_with_the_login(make: Make, server: FakeTokenServer) -> None:
    """A Basic challenge is answered with the login, which is tried once where nothing is named."""
    authorizer = make(_LOGIN)
    assert await authorizer.answer([Basic()], _SCOPE, None) == _BASIC
    assert await authorizer.current(_OTHER_SCOPE) == _BASIC
    assert server.asked == [(_PING, _BASIC)]


@pytest.mark.parametrize("failure", [Denied("404"), UpstreamTimeout("slow")])
async def test_a_registry_that_does_not_check_logins(
    make: Make, server: FakeTokenServer, failure: CacheproxyError
) -> None:
    """Where it cannot be said whether a login is right, it is used, and that is not asked again."""
    server.failure = failure
    authorizer = make(_LOGIN)
    assert await authorizer.answer([Basic()], _SCOPE, None) == _BASIC
    assert await authorizer.current(_OTHER_SCOPE) == _BASIC
    assert len(server.asked) == 1
    for _ in range(2):
        await authorizer.refused(_BASIC)
    with pytest.raises(Denied, match="2 times in a row"):
        await authorizer.current(_SCOPE)


async def test_what_a_login_may_not_read_is_not_the_logins_fault(
    make: Make, server: FakeTokenServer
) -> None:
    """A login that is refused is tried where nothing is named; good there, it goes on in use."""
    authorizer = make(_LOGIN)
    await authorizer.answer([Basic()], _SCOPE, None)
    for _ in range(5):
        with pytest.raises(Denied, match="refuses our credentials"):
            await authorizer.answer([Basic()], _SCOPE, _BASIC)
    assert await authorizer.current(_OTHER_SCOPE) == _BASIC
    assert server.asked == [(_PING, _BASIC)] * 6


async def test_a_repository_that_is_refused_says_nothing_of_the_login(
    make: Make, server: FakeTokenServer
) -> None:
    """Token servers that refuse what does not exist leave the login in use for the rest."""
    authorizer = make(_LOGIN)
    server.refuses = lambda url: url.query.get("scope") == _SCOPE
    for _ in range(5):
        with pytest.raises(Denied, match="answered 401 to a token request"):
            await authorizer.answer([_BEARER], _SCOPE, None)
    assert await authorizer.answer([_BEARER], _OTHER_SCOPE, None) == "Bearer t11"
    assert [url.query.get("scope") for url, _ in server.asked[:2]] == [_SCOPE, None]


@pytest.mark.parametrize("challenge", [Basic(), _BEARER], ids=["Basic", "Bearer"])
async def test_a_wrong_login_is_shown_twice(
    make: Make, server: FakeTokenServer, clock: FakeClock, challenge: Basic | Bearer
) -> None:
    """A login that is refused twice is not shown any more; the error says which, and until when."""
    authorizer = make(_LOGIN)
    server.refused = {_BASIC}
    with pytest.raises(Denied, match="2 times in a row"):
        await authorizer.answer([challenge], _SCOPE, None)
    assert len(server.asked) == 2
    for scope in (_SCOPE, _OTHER_SCOPE):
        with pytest.raises(Denied, match=r"refused r's credentials 2 times.* before 00:01:00 UTC"):
            await authorizer.current(scope)
    assert len(server.asked) == 2
    clock.advance(61)
    server.refused = set()
    assert await authorizer.current(_SCOPE) in (_BASIC, "Bearer t3")


@pytest.mark.parametrize("challenge", [Basic(), _BEARER], ids=["Basic", "Bearer"])
async def test_fifty_with_a_wrong_login_show_it_twice(
    make: Make, server: FakeTokenServer, challenge: Basic | Bearer
) -> None:
    """However many want to show a wrong login, and whatever for, upstream sees it twice."""
    authorizer = make(_LOGIN)
    server.refused = {_BASIC}
    server.open.clear()
    scopes = [f"repository:{number}:pull" for number in range(50)]
    answers = (authorizer.answer([challenge], scope, None) for scope in scopes)
    asking = asyncio.gather(*answers, return_exceptions=True)
    await settle()
    server.open.set()
    assert {type(outcome) for outcome in await asking} == {Denied}
    assert len(server.asked) == 2


async def test_after_a_rest_a_revoked_login_is_shown_once(
    make: Make, server: FakeTokenServer, clock: FakeClock
) -> None:
    """That a login was good once is no reason to let fifty try it after it has rested."""
    authorizer = make(_LOGIN)
    await authorizer.answer([_BEARER], _SCOPE, None)
    server.refused = {_BASIC}
    with pytest.raises(Denied):
        await authorizer.current(_OTHER_SCOPE)
    assert len(server.asked) == 3
    clock.advance(61)
    scopes = [f"repository:{number}:pull" for number in range(50)]
    asking = (authorizer.current(scope) for scope in scopes)
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Denied}
    assert len(server.asked) == 4


async def test_who_waits_for_a_first_showing_goes_on_after_it(
    make: Make, server: FakeTokenServer
) -> None:
    """Fifty who want tokens for different scopes wait for the first of them, and get their own."""
    authorizer = make(_LOGIN)
    server.open.clear()
    scopes = [f"repository:{number}:pull" for number in range(50)]
    asking = asyncio.gather(*(authorizer.answer([_BEARER], scope, None) for scope in scopes))
    await settle()
    assert len(server.asked) == 1
    server.open.set()
    assert len(set(await asking)) == 50
    assert [url.query["scope"] for url, _ in server.asked] == scopes


@pytest.mark.parametrize("failure", [UpstreamTimeout("slow"), UpstreamUnavailable("down")])
async def test_a_first_showing_that_fails_is_the_firsts_failure(
    make: Make, server: FakeTokenServer, failure: CacheproxyError
) -> None:
    """A token server that fails for the first is asked by the others for themselves, at once."""
    authorizer = make(_LOGIN)
    server.failure = failure
    server.open.clear()
    scopes = [f"repository:{number}:pull" for number in range(5)]
    answers = (authorizer.answer([_BEARER], scope, None) for scope in scopes)
    asking = asyncio.gather(*answers, return_exceptions=True)
    await settle()
    server.open.set()
    await settle()
    assert {type(outcome) for outcome in await asking} == {type(failure)}
    assert [url.query["scope"] for url, _ in server.asked] == scopes


async def test_each_account_has_its_own_tokens(
    server: FakeTokenServer, clock: FakeClock, make: Make
) -> None:
    """An account's token is fetched with its login, and is not another account's."""
    tasks = Tasks()
    logins = [Login("a", "1"), Login("b", "2")]
    accounts = [Renewing(Fixed(login), "r's credentials", tasks, clock) for login in logins]
    authorizer = Authorizer(_UPSTREAM, accounts, frozenset(), server, tasks=tasks, clock=clock)
    assert (authorizer.accounts, make().accounts, make(_LOGIN).accounts) == (2, 1, 1)
    assert await authorizer.answer([_BEARER], _SCOPE, None, 1) == "Bearer t1"
    assert await authorizer.current(_SCOPE, 0) == "Bearer t2"
    assert await authorizer.current(_SCOPE, 1) == "Bearer t1"
    assert [authorization for _, authorization in server.asked] == [
        logins[1].basic,
        logins[0].basic,
    ]
    await authorizer.close()
    await tasks.close()


@pytest.mark.parametrize(
    "challenges", [pytest.param([], id="none"), pytest.param([Basic()], id="basic")]
)
async def test_without_a_login_there_is_nothing_to_say(make: Make, challenges: list[Basic]) -> None:
    """Who has no login is denied where one is wanted, in a sentence that says so."""
    authorizer = make()
    with pytest.raises(Denied, match="none are configured"):
        await authorizer.answer(challenges, _SCOPE, None)
    assert await authorizer.current(_SCOPE) is None


async def test_a_login_without_a_challenge_stays_here(make: Make) -> None:
    """A 401 that challenges to nothing is not answered with the login."""
    with pytest.raises(Denied):
        await make(_LOGIN).answer([], _SCOPE, None)


@pytest.mark.parametrize("order", [[Basic(), _BEARER], [_BEARER, Basic()]])
async def test_a_token_is_preferred(make: Make, order: list[Basic | Bearer]) -> None:
    """Of both kinds of challenges the one for a token is answered."""
    assert await make(_LOGIN).answer(order, _SCOPE, None) == "Bearer t1"


async def test_an_upstream_may_change_its_mind(make: Make, server: FakeTokenServer) -> None:
    """A challenge of another kind or realm than before is answered as it now stands."""
    authorizer = make(_LOGIN)
    assert await authorizer.answer([Basic()], _SCOPE, None) == _BASIC
    assert await authorizer.answer([_BEARER], _SCOPE, _BASIC) == "Bearer t2"
    other = Bearer("https://other.example.com/token", "s", "")
    assert await authorizer.answer([other], _SCOPE, "Bearer t2") == "Bearer t3"
    hosts = [url.host for url, _ in server.asked]
    assert hosts == ["registry.example.com", "auth.example.com", "other.example.com"]


@pytest.mark.parametrize(
    "realm",
    [
        pytest.param("https://evil.example/token", id="another domain"),
        pytest.param("https://auth.example.com.evil.example/token", id="a longer name"),
        pytest.param("https://1.1.1.1/token", id="a public address"),
    ],
)
async def test_credentials_go_to_no_strange_realm(
    make: Make, server: FakeTokenServer, realm: str
) -> None:
    """A realm that is not upstream's is not asked at all, and the error names it and the remedy."""
    with pytest.raises(UpstreamUnavailable, match="token_realms") as caught:
        await make(_LOGIN).answer([Bearer(realm, "s", "")], _SCOPE, None)
    assert server.asked == []
    assert str(URL(realm).host) in str(caught.value)
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    "realm",
    [
        pytest.param("http://auth.example.com/token", id="http"),
        pytest.param("https://x@auth.example.com/token", id="a user"),
        pytest.param("https://auth.example.com/token#x", id="a fragment"),
        pytest.param("https://169.254.169.254/token", id="the metadata service"),
        pytest.param("https://metadata.google.internal./token", id="Google's, and a dot"),
        pytest.param("https://127.0.0.1:5001/admin", id="this machine"),
        pytest.param("https://localhost/token", id="this machine by name"),
        pytest.param("https://127.1/token", id="this machine in short"),
        pytest.param("https://2130706433/token", id="this machine as a number"),
        pytest.param("https://[::1]/token", id="this machine by IPv6"),
        pytest.param("https://10.0.0.1/token", id="this network"),
    ],
)
@pytest.mark.parametrize("login", [None, _LOGIN], ids=["anonymous", "with a login"])
async def test_a_realm_that_no_redirect_may_lead_to_is_not_asked(
    make: Make, server: FakeTokenServer, login: Login | None, realm: str
) -> None:
    """Upstream sends nobody to this network for a token, with credentials or without."""
    authorizer = make(login)
    for _ in range(2):
        with pytest.raises(UpstreamUnavailable, match="where we do not go") as caught:
            await authorizer.answer([Bearer(realm, "s", "")], _SCOPE, None)
        assert str(URL(realm).host) in str(caught.value)
        assert "pass" not in str(caught.value)
    assert server.asked == []


async def test_a_public_realm_is_asked_without_credentials(
    make: Make, server: FakeTokenServer
) -> None:
    """Who has no login may be sent for a token anywhere in public."""
    bearer = Bearer("https://elsewhere.example/token", "s", "")
    assert await make().answer([bearer], _SCOPE, None) == "Bearer t1"
    assert server.asked[0][1] is None


async def test_an_allowed_realm_is_asked(make: Make, server: FakeTokenServer) -> None:
    """A realm that the operator allows by name gets the credentials."""
    authorizer = make(_LOGIN, frozenset({"authn.other.example"}))
    await authorizer.answer([Bearer("https://authn.other.example/t", "s", "")], _SCOPE, None)
    assert server.asked[0][1] == _BASIC


@pytest.mark.parametrize(
    "realm",
    [
        "",
        "token",
        "/token",
        "//auth.example.com/t",
        "ftp://auth.example.com/t",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "https://auth.example.com:port/t",
        "https://auth.example.com:99999/t",
        "https://auth.example.com\\@127.0.0.1/t",
        "https://\udcff/t",
        "\u2603",
    ],
)
async def test_a_realm_that_is_no_url(make: Make, server: FakeTokenServer, realm: str) -> None:
    """A realm that nobody can be asked at is upstream's failure."""
    with pytest.raises(UpstreamUnavailable):
        await make().answer([Bearer(realm, "s", "")], _SCOPE, None)
    assert server.asked == []


@pytest.mark.parametrize(
    "failure", [Denied("no"), UpstreamTimeout("slow"), UpstreamUnavailable("down")]
)
async def test_what_the_token_server_says_is_passed_on(
    make: Make, server: FakeTokenServer, failure: CacheproxyError
) -> None:
    """The token server's refusal or failure is the request's."""
    server.failure = failure
    with pytest.raises(type(failure)):
        await make(_LOGIN).answer([_BEARER], _SCOPE, None)


async def test_nothing_is_kept_after_closing(make: Make, server: FakeTokenServer) -> None:
    """A closed authorizer has forgotten its tokens."""
    authorizer = make()
    await authorizer.answer([_BEARER], _SCOPE, None)
    await authorizer.close()
    assert await authorizer.current(_SCOPE) == "Bearer t2"


def test_a_login_is_not_shown() -> None:
    """Neither name nor password is in a login's representation; both are in its field."""
    for shown in (repr(_LOGIN), str(_LOGIN), f"{[_LOGIN]}"):
        assert "user" not in shown
        assert "word" not in shown
    assert _LOGIN.basic == _BASIC
    assert Login("\u00e9", "\u20ac").basic == "Basic w6k64oKs"
