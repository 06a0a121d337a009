"""The documentation says what the code does, as far as that can be compared."""

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import click
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from cacheproxy.cli import commands
from cacheproxy.clients import CLIENTS
from cacheproxy.clients.setup import Served, Wish
from cacheproxy.domain.cache_status import CacheStatus, Outcome
from cacheproxy.domain.digest import Digest
from cacheproxy.domain.events import (
    Asked,
    Responded,
    Source,
)
from cacheproxy.domain.fill_state import _NEXT
from cacheproxy.edge.errors import RULES
from cacheproxy.ops.admin import Readiness
from cacheproxy.ops.logging import EventLog
from cacheproxy.settings import Problem, Settings, SettingsError, UpstreamSettings, load
from cacheproxy.settings.schema import walk
from tests.support.counted import whole_page

_ROOT = Path(__file__).parents[2]
_PAGES = sorted(
    [*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md"), *(_ROOT / "helm").rglob("*.md")]
)
_ARCHITECTURE = _ROOT / "ARCHITECTURE.md"
_OPERATIONS = _ROOT / "docs/operations.md"
_REQUESTS = _ROOT / "docs/requests.md"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")

every_page = pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)


@cache
def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", _text(page))


def _blocks(page: Path, language: str) -> list[str]:
    return [block for found, block in _FENCE.findall(_text(page)) if found == language]


def _code(page: Path) -> Iterator[str]:
    """Every line of code: in blocks, and within sentences."""
    for _, block in _FENCE.findall(_text(page)):
        yield from block.splitlines()
    yield from _SPAN.findall(_prose(page))


def _rows(page: Path, first: str) -> list[list[str]]:
    """The rows of the one table whose header begins with the cell `first`."""
    tables = re.findall(
        rf"^\| {re.escape(first)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", _text(page), re.MULTILINE
    )
    assert len(tables) == 1, f"{page.name} has {len(tables)} tables that begin with {first!r}"
    return [[cell.strip() for cell in _CELL.split(row)[1:-1]] for row in tables[0].splitlines()]


def _spans(cell: str) -> list[str]:
    return _SPAN.findall(cell)


# -- links -----------------------------------------------------------------------------


@cache
def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    anchors: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        free = (name for n in range(99) if (name := f"{slug}-{n}" if n else slug) not in anchors)
        anchors.add(next(free))
    return anchors


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link leads to a file that exists, and its anchor to a heading."""
    for target in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name}: {target}"


def test_every_page_is_linked() -> None:
    """Each page can be reached from README.md."""
    reached, waiting = set[Path](), [_ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        paths = (target.partition("#")[0] for target in _LINK.findall(_prose(page)))
        files = ((page.parent / path).resolve() for path in paths if path)
        waiting.extend(file for file in files if file in _PAGES)
    assert sorted(reached) == _PAGES


# -- commands and configuration --------------------------------------------------------


@every_page
def test_commands_exist(page: Path) -> None:
    """Each `cacheproxy …` that is named is a command, and its options are that command's."""
    for line in _code(page):
        for name, rest in re.findall(r"(?<![\w.-])cacheproxy ([a-z][a-z-]*)([^|#`]*)", line):
            command = commands.get_command(click.Context(commands), name)
            assert command is not None, f"{page.name}: {line}"
            known = {option for parameter in command.params for option in parameter.opts}
            used = set(re.findall(r"(?<=\s)--[a-z-]+", rest))
            assert used <= known | {"--help"}, f"{page.name}: {line}"


def test_all_commands_are_documented() -> None:
    """Each command of the program stands on some page."""
    lines = [line for page in _PAGES for line in _code(page)]
    for name in commands.list_commands(click.Context(commands)):
        assert any(f"cacheproxy {name}" in line for line in lines), name


@every_page
def test_make_targets_exist(page: Path) -> None:
    """Each `make …` that is named is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):.*## ", _text(_ROOT / "Makefile"), re.MULTILINE))
    for line in _code(page):
        for target in re.findall(r"^(?:\$ )?make ([a-z]+)", line):
            assert target in targets, f"{page.name}: {line}"


def _problems(file: Path) -> tuple[Problem, ...]:
    try:
        load(file, {})
    except SettingsError as error:
        return tuple(error.problems)
    return ()


@every_page
def test_configurations_load(page: Path, tmp_path: Path) -> None:
    """Each YAML block loads, but for files with secrets, unless it says that it is another's."""
    for number, block in enumerate(_blocks(page, "yaml")):
        file = re.match(r"# (\S+)\.yaml\b", block)
        if file is not None and not file[1].endswith("cacheproxy"):
            continue
        written = tmp_path / f"{number}.yaml"
        written.write_text(block, encoding="utf-8")
        wrong = [problem for problem in _problems(written) if not problem.path.endswith("_file")]
        assert not wrong, page.name


@every_page
def test_json_is_json(page: Path) -> None:
    """Each JSON block is a document, or one on each line."""
    for block in _blocks(page, "json"):
        try:
            json.loads(block)
        except ValueError:
            for line in block.splitlines():
                json.loads(line)


@every_page
def test_configuration_keys_exist(page: Path) -> None:
    """Each key that is named in full is one of the model's."""
    keys = {".".join(location).removeprefix("upstreams.*.") for location, _ in walk(Settings)}
    sections = "server|admin|cache|metadata|warm|logging|tags|credentials|client_certificate"
    for span in _SPAN.findall(_prose(page)):
        match = re.fullmatch(rf"((?:{sections})\.[a-z_.]+)(: .*)?", span)
        if match and not match[1].endswith((".db", ".py", ".md")):
            assert {match[1], match[1].removesuffix("_file")} & keys, f"{page.name}: {span}"


@pytest.mark.parametrize("client", CLIENTS)
def test_the_files_of_clients_are_those_that_are_printed(client: str) -> None:
    """docs/clients.md shows each file as `client-config` prints it for docker.io and quay.io."""
    settings = replace(load(None, {}), upstreams=_upstreams("docker.io", "quay.io"))
    wish = Wish(
        url="http://cache.example.com:5000",
        served=tuple(Served(name, each.aliases) for name, each in settings.upstreams.items()),
        default=settings.default_upstream,
    )
    page = _ROOT / "docs/clients.md"
    shown = {re.sub(r"^# /.*\n", "", block) for _, block in _FENCE.findall(_text(page))}
    for file in CLIENTS[client](wish).files:
        assert file.content in shown, file.path


def _upstreams(*names: str) -> dict[str, UpstreamSettings]:
    return {name: load(None, {}).upstreams[name] for name in names}


# -- errors and Cache-Status -----------------------------------------------------------


def test_the_error_table_is_the_codes() -> None:
    """docs/requests.md has each error's status and code, and no error besides."""
    written = {
        (_spans(error)[0], int(status), _spans(code)[0])
        for error, status, code, _ in _rows(_REQUESTS, "error")
    }
    assert written == {(kind.__name__, rule.status, rule.code) for kind, rule in RULES.items()}


def test_each_error_is_explained_once() -> None:
    """No error has two rows, and none is without a word on when it comes."""
    rows = _rows(_REQUESTS, "error")
    assert len({row[0] for row in rows}) == len(rows)
    assert all(row[3] for row in rows)


def test_the_cache_status_table_is_the_codes() -> None:
    """docs/requests.md has each outcome, with an example that begins as the field does."""
    rows = _rows(_REQUESTS, "outcome")
    assert {_spans(row[0])[0] for row in rows} == set(get_args(Outcome))
    for outcome in get_args(Outcome):
        (example,) = [_spans(row[1])[0] for row in rows if _spans(row[0]) == [outcome]]
        assert example.startswith(CacheStatus(outcome).field("cacheproxy"))


def test_a_revalidated_tag_is_shown_as_it_is_sent() -> None:
    """docs/requests.md has what a tag's field is after upstream has confirmed it."""
    status = CacheStatus("hit", ttl=60.0, forward_status=200, is_revalidated=True)
    (row,) = [row for row in _rows(_REQUESTS, "outcome") if _spans(row[0]) == ["hit"]]
    assert status.field("cacheproxy") in _spans(row[2])


def test_the_words_of_readiness_are_documented() -> None:
    """docs/operations.md has each word that /readyz can say."""
    readiness, words = Readiness(), list[str]()
    for change in (readiness.begin, readiness.end, readiness.end):
        words.append(readiness.word)
        change()
    (row,) = [row for row in _rows(_OPERATIONS, "path") if _spans(row[0]) == ["/readyz"]]
    assert [word for cell in row[1:] for word in _spans(cell)] == [words[1], words[0], words[2]]


# -- metrics ---------------------------------------------------------------------------

_DIGEST = Digest.of(b"")
_RESPONDED = Responded(
    Asked("GET", "/v2/", "::1", "", "blob", "docker.io"), "hit", 200, 1, "store", 0.1, 0.2, "late"
)


def _metrics() -> dict[str, tuple[str, frozenset[str]]]:
    """Each metric's type and labels, as the page shows them."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(whole_page().render().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        samples = [frozenset(sample.labels) - {"le"} for sample in family.samples]
        assert samples, f"tests/support/counted.py has no {name}"
        found[name] = family.type, samples[0]
    return found


def test_the_metric_table_has_every_metric_and_no_other() -> None:
    """Each metric has one row in docs/operations.md, and each row is a metric."""
    assert sorted(_spans(row[0])[0] for row in _rows(_OPERATIONS, "metric")) == sorted(_metrics())


@pytest.mark.parametrize("name", sorted(_metrics()))
def test_the_metric_table_has_type_and_labels(name: str) -> None:
    """A metric's row gives the type and the labels that it has."""
    kind, labels = _metrics()[name]
    (row,) = [row for row in _rows(_OPERATIONS, "metric") if _spans(row[0]) == [name]]
    assert row[1] == kind
    assert set(_spans(row[2])) == labels


def test_metrics_that_are_named_exist() -> None:
    """What any page calls a metric is one."""
    known = set(_metrics())
    for page in _PAGES:
        # What rules record has a colon before that.
        for name in re.findall(r"(?<!:)\bcacheproxy_[a-z_]+[a-z]\b", _text(page)):
            # The README greps for the beginnings of two names.
            assert any(metric.startswith(name) for metric in known), f"{page.name}: {name}"


@pytest.mark.parametrize(
    ("label", "values"), [("outcome", Outcome), ("source", Source)], ids=["outcome", "source"]
)
def test_label_values_are_the_codes(label: str, values: object) -> None:
    """The table of labels has each outcome and each source."""
    (row,) = [row for row in _rows(_OPERATIONS, "label") if _spans(row[0]) == [label]]
    assert set(_spans(row[1])) == set(get_args(values))


def test_the_guide_names_each_alert() -> None:
    """docs/guide.md says of each alert whether it can wait, by a link to what to do."""
    alerts = re.findall(r"- alert: (\w+)", _text(_ROOT / "helm/cacheproxy/files/rules.yaml"))
    linked = re.findall(r"operations\.md#alert-(\w+)\)", _text(_ROOT / "docs/guide.md"))
    assert {alert.lower() for alert in alerts} <= set(linked)


# -- logs ------------------------------------------------------------------------------


def test_the_log_table_has_every_line_and_no_other() -> None:
    """Each line that the code can log has a row with its level, and each row is such a line."""
    logged = {
        (event, level)
        for file in (_ROOT / "cacheproxy").rglob("*.py")
        for level, event in re.findall(
            r"(?:\b|_)log\.(debug|info|warning|error)\(\s*\"([^\"]+)\"", _text(file)
        )
    }
    rows = _rows(_OPERATIONS, "event")
    assert {(_spans(row[0])[0], row[1]) for row in rows} == logged


def test_the_fields_of_a_request_line_are_documented() -> None:
    """The table of fields has those of the line that is logged, and no other."""
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        EventLog().observe(_RESPONDED)
    documented = [name for row in _rows(_OPERATIONS, "field") for name in _spans(row[0])]
    assert sorted(documented) == sorted(lines[0].keys() - {"event", "log_level"})


def _examples() -> list[str]:
    pages = (_OPERATIONS, _ROOT / "README.md")
    blocks = (block for page in pages for block in _blocks(page, "json"))
    return [line for block in blocks for line in block.splitlines() if '"event"' in line]


def test_log_examples_have_the_fields_of_today() -> None:
    """Lines that are shown as examples have the fields of the table."""
    examples = [json.loads(line) for line in _examples()]
    documented = {name for row in _rows(_OPERATIONS, "field") for name in _spans(row[0])}
    requests = [line for line in examples if line["event"] == "request"]
    assert requests
    for line in requests:
        assert line.keys() - {"event", "level", "timestamp"} == documented - {"error"}


# -- architecture ----------------------------------------------------------------------


def _files_named(page: Path) -> Iterator[str]:
    for span in _SPAN.findall(_prose(page)):
        path = span.partition("::")[0]
        if re.fullmatch(r"[\w./-]+(\.py|/)", path) and not path.startswith(("/", ".")):
            yield path


@every_page
def test_files_that_are_named_exist(page: Path) -> None:
    """Each module and folder that a page names is there, from the root or from the package."""
    for path in _files_named(page):
        places = (_ROOT / path, _ROOT / "cacheproxy" / path)
        assert any(place.exists() for place in places), f"{page.name}: {path}"


def test_the_code_map_has_every_package() -> None:
    """Each package has one row in the code map."""
    packages = {path.parent.name for path in (_ROOT / "cacheproxy").glob("*/__init__.py")}
    rows = [_spans(row[0])[0] for row in _rows(_ARCHITECTURE, "package")]
    assert sorted(rows) == sorted(
        ["cacheproxy/ports.py", "cacheproxy/cluster_ports.py"]
        + [f"cacheproxy/{p}/" for p in packages]
    )


@every_page
def test_tests_that_are_named_exist(page: Path) -> None:
    """Each test that a page names as what keeps a promise is there."""
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", _text(page)):
        assert re.search(rf"^(async )?def {name}\(", _text(_ROOT / path), re.MULTILINE), name


def test_each_invariant_names_what_keeps_it() -> None:
    """Each sentence with “never” among the invariants names a test or a lint."""
    (section,) = re.findall(
        r"^## Invariants\n(.*?)^\*\*What is absent", _text(_ARCHITECTURE), re.MULTILINE | re.DOTALL
    )
    lines = [line for line in section.splitlines() if line.startswith("- ")]
    assert lines
    for line in lines:
        assert re.search(r"\b(never|ever)\b", line), line
        assert re.search(r"`tests/|`make ", line), line


def test_the_drawing_of_a_fill_is_the_table() -> None:
    """The state diagram has the steps of the transition table, and no other."""
    (diagram,) = [block for block in _blocks(_ARCHITECTURE, "mermaid") if "stateDiagram" in block]
    drawn = set(re.findall(r"([A-Z]+) --> ([A-Z]+)", diagram))
    steps = {(phase.name, following.name) for phase, all_ in _NEXT.items() for following in all_}
    assert drawn - {("STREAMING", "STREAMING")} == steps


def test_the_layers_are_those_of_the_lint() -> None:
    """The drawing of the layers is the contract that import-linter keeps."""
    contract = re.search(
        r"^layers = \[\n(.*?)^\]", _text(_ROOT / "pyproject.toml"), re.MULTILINE | re.DOTALL
    )
    assert contract is not None
    layers = [line.replace("cacheproxy.", "") for line in re.findall(r'"(.+)"', contract[1])]
    assert "\n".join(layers) + "\n" in _blocks(_ARCHITECTURE, "")


def test_modules_that_are_named_import() -> None:
    """Each dotted name of a module on a page is one."""
    for page in _PAGES:
        for span in _SPAN.findall(_prose(page)):
            if re.fullmatch(r"cacheproxy(\.[a-z_]+)+", span) and not span.endswith(".yaml"):
                importlib.import_module(span)


# -- what must not be there ------------------------------------------------------------


@every_page
def test_pages_are_plain(page: Path) -> None:
    """Pages have no tabs, no trailing spaces, no raw HTML, and one title."""
    text = _text(page)
    assert "\t" not in text
    assert not re.search(r"[ \t]+$", text, re.MULTILINE)
    assert len(re.findall(r"^# ", _prose(page), re.MULTILINE)) == 1
    assert not re.search(r"<(?!https?:)[a-z]+[ >]", re.sub(r"`[^`]*`", "", _prose(page)))


def _decisions() -> list[Path]:
    return sorted((_ROOT / "docs/decisions").glob("*.md"))


@pytest.mark.parametrize("page", _decisions(), ids=lambda page: page.name)
def test_decisions_are_short(page: Path) -> None:
    """A decision is numbered as its file is, and stays below 40 lines."""
    assert _text(page).startswith(f"# {page.name[:4]}: ")
    assert len(_text(page).splitlines()) < 40
