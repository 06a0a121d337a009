"""What was saved: the figure that the page is for."""

from collections.abc import Iterator, Mapping

from cacheproxy.domain.savings import Numbers, Period, Savings
from cacheproxy.ops.api.figures import Missing
from cacheproxy.ops.page import words
from cacheproxy.ops.page.markup import Markup, element
from cacheproxy.ops.page.parts import bar, missing, panel
from cacheproxy.ops.page.view import View

_HUB = "docker.io"
NAMES: Mapping[Period, str] = {
    "today": "Today",
    "week": "7 days",
    "month": "35 days",
    "all": "All time",
}

AllSavings = Mapping[Period, Savings]


def is_empty(savings: AllSavings | Missing) -> bool:
    """Whether nobody has pulled anything yet."""
    return not isinstance(savings, Missing) and not savings["all"].all.requests


def title(savings: AllSavings | Missing) -> str:
    """Of the page, for the tab of a browser."""
    if isinstance(savings, Missing) or is_empty(savings):
        return "cacheproxy"
    return f"{words.size(savings['all'].all.saved_bytes)} saved · cacheproxy"


def saved(savings: AllSavings | Missing, view: View) -> Markup:
    """Bytes saved in all, today, this week; pulls; money."""
    if isinstance(savings, Missing):
        return panel("saved", "Saved", missing(savings), data_title=title(savings))
    if is_empty(savings):
        return _how_to_begin(view, savings)
    overall = savings["all"]
    figure, unit = words.size_parts(overall.all.saved_bytes)
    return panel(
        "saved",
        "Saved in all",
        element(
            "p",
            element(
                "data",  # for whoever wants it to the byte
                element("strong", figure, class_="figure"),
                element("span", f" {unit}", class_="unit"),
                value=overall.all.saved_bytes,
            ),
            class_="hero",
        ),
        element("p", _in_a_sentence(overall.all), class_="lead"),
        bar(_ratio(overall.all), "ratio"),
        element(
            "ul",
            (_period(savings[name], NAMES[name]) for name in ("today", "week", "month")),
            class_="periods",
        ),
        element("dl", _beside(savings), class_="beside"),
        data_title=title(savings),
    )


def _in_a_sentence(numbers: Numbers) -> str:
    served, fetched = words.size(numbers.served_bytes), words.size(numbers.fetched_bytes)
    if numbers.saved_bytes < 0:
        return (
            f"Clients got {served}, and {fetched} crossed the upstream link: more than was asked "
            "for, as when downloads break off or images are warmed that nobody has pulled yet."
        )
    share = words.share(numbers.saved_bytes, numbers.served_bytes)
    return f"{share} of {served} that clients got did not cross the upstream link; {fetched} did."


def _period(savings: Savings, name: str) -> Markup:
    numbers = savings.all
    figure, unit = words.size_parts(numbers.saved_bytes)
    return element(
        "li",
        element("span", name, class_="label"),
        element(
            "data",
            element("strong", figure, class_="figure"),
            element("span", f" {unit}", class_="unit"),
            value=numbers.saved_bytes,
            class_="reading",
        ),
        element(
            "span",
            f"{words.share(numbers.saved_bytes, numbers.served_bytes)} "
            f"of {words.size(numbers.served_bytes)}",
            class_="quiet",
        ),
        data_key=savings.period,
    )


def _beside(savings: AllSavings) -> Iterator[Markup]:
    """Pulls that upstream did not see, and money, where there is any."""
    overall, week = savings["all"], savings["week"]
    is_hub = _HUB in overall.upstreams
    what = "Docker Hub pulls avoided" if is_hub else "Pulls avoided"
    in_all = overall.upstreams[_HUB] if is_hub else overall.all
    of_week = week.upstreams.get(_HUB) if is_hub else week.all
    avoided = of_week.pulls_avoided if of_week else 0
    yield _pair(
        "pulls", what, words.number(in_all.pulls_avoided), f"{words.number(avoided)} in 7 days"
    )
    cost, currency = overall.all.cost_saved, overall.currency
    if cost is not None and currency is not None:
        lately = week.all.cost_saved or 0.0
        yield _pair(
            "money",
            "Money saved",
            words.money(cost, currency),
            f"{words.money(lately, currency)} in 7 days",
        )


def _pair(key: str, name: str, value: str, more: str) -> Markup:
    return element(
        "div",
        element("dt", name),
        element("dd", element("strong", value), element("span", more, class_="quiet")),
        data_key=key,
    )


def _ratio(numbers: Numbers) -> float:
    return numbers.saved_bytes / numbers.served_bytes if numbers.served_bytes else 0.0


def _how_to_begin(view: View, savings: AllSavings) -> Markup:
    host = f"[{view.host}]" if ":" in view.host else view.host
    image = f"{host}:{view.pull_port}/docker.io/library/alpine:3"
    return panel(
        "saved",
        "Nothing pulled yet",
        element(
            "p",
            "Pull an image through this cache, then pull it again: the second time nothing "
            "crosses the upstream link, and what was saved is counted here.",
            class_="lead",
        ),
        element("p", "With Docker, on the machine that runs cacheproxy:"),
        element("pre", element("code", f"docker pull {image}"), tabindex=0),
        element("p", "With skopeo, from anywhere:"),
        element(
            "pre",
            element("code", f"skopeo copy --src-tls-verify=false docker://{image} dir:alpine"),
            tabindex=0,
        ),
        element(
            "p",
            "In the place of docker.io stands any upstream that is configured. How containerd, "
            "podman and others are told to pull from here is in docs/clients.md.",
            class_="quiet",
        ),
        data_title=title(savings),
        data_begin=True,
    )
