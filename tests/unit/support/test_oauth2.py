"""Tokens by POST, as OAuth2 has it."""

from aiohttp import ClientSession

from tests.support.scripted_registry import Bearer, ScriptedRegistry

_FORM = {
    "grant_type": "password",
    "username": "ada",
    "password": "s3cret",
    "service": "registry.test",
    "scope": "repository:team/app:pull",
}
_USERS = {"ada": "s3cret"}


async def test_token_by_form() -> None:
    """A form with user and password gets a token that is good for its scope."""
    auth = Bearer(_USERS, anonymous=False)
    async with ScriptedRegistry(auth=auth) as registry, ClientSession() as session:
        registry.add_blob("team/app", b"")
        async with session.post(registry.tokens.url + "/token", data=_FORM) as answer:
            token = (await answer.json())["access_token"]
        tags = f"{registry.url}/v2/team/app/tags/list"
        async with session.get(tags, headers={"Authorization": f"Bearer {token}"}) as answer:
            assert answer.status == 200


async def test_wrong_password_in_the_form() -> None:
    """A form with a wrong password is refused."""
    auth = Bearer(_USERS)
    async with ScriptedRegistry(auth=auth) as registry, ClientSession() as session:
        form = _FORM | {"password": "wrong"}
        async with session.post(registry.tokens.url + "/token", data=form) as answer:
            assert answer.status == 401


async def test_no_oauth2() -> None:
    """A token server without OAuth2 answers 405 to the form, as older ones do."""
    auth = Bearer(_USERS, oauth2=False)
    async with (
        ScriptedRegistry(auth=auth) as registry,
        ClientSession() as session,
        session.post(registry.tokens.url + "/token", data=_FORM) as answer,
    ):
        assert answer.status == 405
