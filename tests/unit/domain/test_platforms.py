import pytest

from cacheproxy.domain.platforms import Platform, Platforms


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("Linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("windows/amd64", Platform("windows", "amd64")),
    ],
)
def test_platforms_are_read(text: str, platform: Platform) -> None:
    """A platform is read, also by the name that uname gives its architecture."""
    assert Platform.parse(text) == platform


@pytest.mark.parametrize(
    "text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "a b/c", "all"]
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    """What is no platform is refused, and the message says what one looks like."""
    with pytest.raises(ValueError, match="write one such as linux/amd64"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("wanted", "offered", "covers"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm/v7", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm", "linux/arm/v6", True),
    ],
)
def test_what_may_run_where(wanted: str, offered: str, covers: bool) -> None:
    """Variants tell apart only where both sides name one."""
    assert Platform.parse(wanted).covers(Platform.parse(offered)) is covers


@pytest.mark.parametrize(
    ("wanted", "offered", "accepted"),
    [
        (["linux/amd64"], Platform("linux", "amd64"), True),
        (["linux/amd64"], Platform("linux", "arm64"), False),
        (["linux/arm64", "linux/amd64"], Platform("linux", "amd64"), True),
        (["linux/amd64"], None, True),
        (["linux/amd64"], Platform("unknown", "unknown"), False),
        (["all"], Platform("unknown", "unknown"), True),
        (["linux/amd64", "all"], Platform("linux", "s390x"), True),
    ],
)
def test_what_is_wanted(wanted: list[str], offered: Platform | None, accepted: bool) -> None:
    """Attestations go with all platforms only; what does not say what it is for, always."""
    assert Platforms.parse(wanted).accept(offered) is accepted


def test_no_platform_is_not_all() -> None:
    """An empty list is a mistake, and not everything."""
    with pytest.raises(ValueError, match="no platform is named"):
        Platforms.parse([])


def test_platforms_are_written_as_they_are_read() -> None:
    """What is shown of them can be read again."""
    assert str(Platforms.parse(["linux/arm64/v8", "linux/amd64"])) == "linux/arm64/v8, linux/amd64"
    assert str(Platforms.parse(["all"])) == "all"
