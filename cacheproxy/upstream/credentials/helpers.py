"""Programs that print a login: our own kind (`exec`), and Docker's credential helpers."""

from collections.abc import Sequence

import msgspec

from cacheproxy.upstream.credentials.login import Login, NoLoginError
from cacheproxy.upstream.credentials.processes import output_of


class _Answer(msgspec.Struct):
    """Either spelling: ours, and that of Docker's helpers."""

    username: str | None = None
    password: str | None = None
    expires_in: float | None = None
    docker_username: str | None = msgspec.field(default=None, name="Username")
    docker_secret: str | None = msgspec.field(default=None, name="Secret")


class Exec:
    """A login that a command prints as JSON (`Source`)."""

    def __init__(self, command: Sequence[str], seconds: float) -> None:
        self._command = tuple(command)
        self._seconds = seconds

    def changed(self) -> bool:
        """Only the command knows, and it is not asked."""
        return False

    async def fetch(self) -> tuple[Login, float | None]:
        """What the command prints now.

        Raises:
            NoLoginError: it fails, or prints no login.
        """
        code, printed = await output_of(self._command, b"", self._seconds)
        if code != 0:
            raise NoLoginError(f"the command failed ({_ending(code)}); run it by hand to see why")
        return parse_answer(printed)


async def ask_docker_helper(
    program: str, server: str, seconds: float
) -> tuple[Login, float | None] | None:
    """What a `docker-credential-…` program has for a server; None if it has nothing.

    Raises:
        NoLoginError: it fails otherwise.
    """
    code, printed = await output_of([program, "get"], server.encode(), seconds)
    if code == 0:
        return parse_answer(printed)
    if b"not found" in printed:  # the protocol's one error that is an answer
        return None
    raise NoLoginError(f"{program} failed ({_ending(code)}); run it by hand to see why")


def parse_answer(printed: bytes) -> tuple[Login, float | None]:
    """The login that a helper printed, and its lifetime in seconds if it says one.

    Raises:
        NoLoginError: it printed something else; that is not repeated, it may be a secret.
    """
    try:
        answer = msgspec.json.decode(printed, type=_Answer)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise NoLoginError(
            'the helper does not print JSON such as {"username", "password"}'
        ) from None
    username = answer.username or answer.docker_username or ""
    password = answer.password or answer.docker_secret or ""
    if not username or not password:
        raise NoLoginError("the helper prints no username or no password")
    if ":" in username:
        raise NoLoginError("the helper prints a username with a colon")
    seconds = answer.expires_in
    return Login(username, password), None if seconds is None else max(seconds, 0.0)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
