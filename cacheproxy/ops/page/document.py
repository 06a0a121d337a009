"""The whole page, and the form to sign in with."""

from cacheproxy.ops.api.figures import Figures, Missing
from cacheproxy.ops.api.model import Status
from cacheproxy.ops.page import saved, words
from cacheproxy.ops.page.chart import chart
from cacheproxy.ops.page.kept import by_fetched, by_saved, next_to_go
from cacheproxy.ops.page.markup import Content, Markup, element, joined
from cacheproxy.ops.page.now import disk, fills, replicas, upstreams
from cacheproxy.ops.page.view import Theme, View

_API = "api/v1"  # from where the page is: in front may stand a proxy with a path
_THEMES: tuple[Theme, ...] = ("system", "light", "dark")


def render(status: Status | Missing, figures: Figures, view: View, now: float) -> str:
    """The page.

    Args:
        status: what goes on now.
        figures: what was counted.
        view: how its reader wants it.
        now: seconds since the epoch.
    """
    main = element(
        "main",
        saved.saved(figures.savings, view),
        chart(figures.savings, view),
        element("div", fills(status), replicas(status), class_="pair wide"),
        upstreams(status),
        by_saved(figures.by_saved),
        by_fetched(figures.by_fetched),
        element("div", disk(status), next_to_go(figures.eviction, now), class_="pair"),
        id="main",
        tabindex=-1,
    )
    address = view.query()
    return _document(
        saved.title(figures.savings),
        (_header(view, now), main, _footer(view)),
        view.theme,
        folder="dashboard",
        data_figures=f"{_API}/figures?{address}",
        data_now=f"{_API}/status",
    )


def render_figures(figures: Figures, view: View, now: float) -> Markup:
    """All parts of the page that are counted, each with an id of its own."""
    return joined(
        (
            saved.saved(figures.savings, view),
            chart(figures.savings, view),
            by_saved(figures.by_saved),
            by_fetched(figures.by_fetched),
            next_to_go(figures.eviction, now),
        )
    )


def render_sign_in(token_file: str | None, problem: str | None = None) -> str:
    """The form to sign in with.

    Args:
        token_file: where the token is, where the server made it.
        problem: why an attempt failed.
    """
    place = (
        ("It is in the file ", element("code", token_file), " on the machine that runs cacheproxy.")
        if token_file is not None
        else "It is the one that the configuration has, under admin.token."
    )
    form = element(
        "form",
        element("h1", "cacheproxy"),
        element(
            "p", "This page shows what is pulled here, so it asks for the admin token. ", place
        ),
        # Nobody sees it: keepers of passwords want a name to keep the token under.
        element(
            "input",
            name="username",
            value="admin",
            autocomplete="username",
            hidden=True,
            readonly=True,
        ),
        element("label", "Admin token", for_="token"),
        element(
            "input",
            id="token",
            name="token",
            type="password",
            autocomplete="current-password",
            required=True,
            autofocus=True,
            spellcheck="false",
            aria_describedby="problem" if problem else None,
            aria_invalid="true" if problem else None,
        ),
        element("p", problem, id="problem", class_="error", role="alert") if problem else None,
        element("button", "Sign in", type="submit"),
        method="post",
        action="session",
        class_="panel sign-in",
    )
    main = element("main", form, id="main", class_="alone")
    return _document("Sign in · cacheproxy", (main,), "system", folder=".")


def _header(view: View, now: float) -> Markup:
    return element(
        "header",
        element("h1", _mark(), "cacheproxy"),
        element(
            "p",
            element("span", class_="light", aria_hidden="true"),
            element("span", "Not live: reload for newer figures.", id="word", role="status"),
            element(
                "span",
                " as of ",
                element("time", words.clock(now), datetime=words.machine(now), id="as-of"),
                element("span", id="age"),
                class_="quiet",
            ),
            id="connection",
        ),
        element(
            "form",
            element("button", "Sign out", type="submit", class_="plain"),
            method="post",
            action="dashboard/session/end",
        )
        if view.may_sign_out
        else None,
    )


def _footer(view: View) -> Markup:
    links = (
        element(
            "a",
            theme.capitalize(),
            href=f"?{view.query(theme=theme)}",
            aria_current="true" if theme == view.theme else None,
        )
        for theme in _THEMES
    )
    return element(
        "footer",
        element("nav", links, class_="choice", aria_label="Colours"),
        element("p", "All of this is in the admin API too. Times are UTC; days begin at midnight."),
    )


def _mark() -> Markup:
    """The mark of the program: what is stored, and an arrow that does not go further."""
    return element(
        "svg",
        element("rect", x="2", y="3", width="20", height="5", rx="1.5"),
        element("rect", x="2", y="10", width="20", height="5", rx="1.5"),
        element("rect", x="2", y="17", width="11", height="5", rx="1.5"),
        viewBox="0 0 24 25",
        class_="mark",
        aria_hidden="true",
    )


def _document(title: str, content: Content, theme: Theme, *, folder: str, **addresses: str) -> str:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("link", rel="icon", href=f"{folder}/static/icon.svg", type="image/svg+xml"),
        element("link", rel="stylesheet", href=f"{folder}/static/dashboard.css"),
        element("script", src=f"{folder}/static/dashboard.js", defer=True) if addresses else None,
    )
    body = element(
        "body",
        element("a", "Skip to the figures", href="#main", class_="skip"),
        content,
        **addresses,
    )
    html = element("html", head, body, lang="en", data_theme=theme)
    return f"<!DOCTYPE html>\n{html}\n"
