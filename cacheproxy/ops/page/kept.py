"""Which repositories the cache is worth most for, and what would go next."""

from collections.abc import Callable, Iterator

from cacheproxy.domain.savings import Numbers, Repositories, RepositorySavings
from cacheproxy.ops.api.figures import Missing
from cacheproxy.ops.api.model import Candidate, Eviction
from cacheproxy.ops.page import words
from cacheproxy.ops.page.markup import Markup, element
from cacheproxy.ops.page.parts import badge, bar, missing, panel, path, table
from cacheproxy.ops.page.saved import NAMES

Amount = Callable[[Numbers], int]


def by_saved(found: Repositories | Missing) -> Markup:
    """The repositories with the most bytes saved."""
    return _repositories(
        "by-saved", "Most saved", found, ("Saved", lambda numbers: numbers.saved_bytes)
    )


def by_fetched(found: Repositories | Missing) -> Markup:
    """The repositories with the most bytes fetched: those that miss."""
    return _repositories(
        "by-fetched", "Most fetched", found, ("Fetched", lambda numbers: numbers.fetched_bytes)
    )


def _repositories(
    name: str, title: str, found: Repositories | Missing, of: tuple[str, Amount]
) -> Markup:
    if isinstance(found, Missing):
        return panel(name, title, missing(found))
    word, amount = of
    listed = [one for one in found.repositories if amount(one.numbers) > 0]
    if not listed:
        nothing = element("p", "No repository, in this time.", class_="quiet")
        return panel(name, title, nothing, beside=badge(NAMES[found.period]))
    most = amount(listed[0].numbers)
    rows = (_repository(one, amount(one.numbers), most) for one in listed)
    caption = f"Repositories with the most bytes {word.lower()}, {NAMES[found.period]}"
    return panel(
        name,
        title,
        table(caption, ("Repository", word, "Of served"), rows),
        beside=badge(NAMES[found.period]),
    )


def _repository(one: RepositorySavings, amount: int, most: int) -> Markup:
    name = one.repository or "(all others)"
    return element(
        "tr",
        element(
            "th",
            element("span", path(name), class_="name", title=name),
            element("span", one.upstream, class_="quiet"),
            scope="row",
        ),
        element("td", words.size(amount), bar(amount / most, "amount"), class_="number"),
        element("td", words.share(amount, one.numbers.served_bytes), class_="number"),
        data_key=f"{one.upstream}/{one.repository}",
    )


def next_to_go(eviction: Eviction | Missing, now: float) -> Markup:
    """What would be removed next, if room were needed."""
    title = "Would go next"
    if isinstance(eviction, Missing):
        return panel("next", title, missing(eviction))
    if not eviction.entries:
        nothing = element("p", "Nothing that may go is stored.", class_="quiet")
        return panel("next", title, nothing, beside=badge(eviction.policy))
    rows = (_candidate(one, now) for one in eviction.entries)
    return panel(
        "next",
        title,
        table(
            "What would be removed next, if room were needed, the first first",
            ("Content", "Size", "Last used"),
            rows,
        ),
        beside=badge(eviction.policy),
    )


def _candidate(one: Candidate, now: float) -> Markup:
    return element(
        "tr",
        element(
            "th",
            element("span", path(_name(one)), class_="name", title=one.digest),
            element("span", " · ".join(_said_of(one)), class_="quiet"),
            scope="row",
        ),
        element("td", words.size(one.size), class_="number"),
        element("td", words.ago(one.last_used, now), class_="number"),
        data_key=one.digest,
    )


def _name(one: Candidate) -> str:
    return one.tags[0] if one.tags else f"{one.kind} {words.short(one.digest)}"


def _said_of(one: Candidate) -> Iterator[str]:
    if one.tags:
        yield f"{one.kind} {words.short(one.digest)}"
    if len(one.tags) > 1:
        yield f"and {words.counted(len(one.tags) - 1, 'more tag')}"
    if one.upstream and not one.tags:
        yield one.upstream
