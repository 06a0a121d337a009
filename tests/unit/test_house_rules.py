"""What the house asks of its code, where no other tool looks."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import cacheproxy

_PACKAGE = Path(cacheproxy.__file__).parent
_TESTS = Path(__file__).parents[1]
_MODULES = sorted(_PACKAGE.rglob("*.py"))
_LONGEST = 400
# What reads the environment, and how.
_MAY_READ_ENVIRONMENT = ("settings", "cli")
_ENVIRONMENT = {"environ", "environb", "getenv", "getenvb"}

# Owners of descriptors: files, and the pipes of helpers. Commands that write one file, and wait
# for nothing else.
_MAY_HANDLE_DESCRIPTORS = (
    *("storage/open_file.py", "upstream/credentials/processes.py"),
    *("cli/placing.py", "doctor/directory.py"),
)
_DESCRIPTOR_CALLS = {
    *("open", "close", "dup", "dup2", "fdopen", "read", "write", "pread", "preadv", "pwrite"),
    *("ftruncate", "fsync", "fstat", "fchmod", "sendfile", "posix_fadvise"),
}
# Manifests refer to manifests, to a depth that is bounded (`domain.manifest.deeper`).
_MAY_RECUR = ("pullthrough/manifests.py", "pullthrough/warming.py")
# The only module that opens databases, and what a database's path looks like in code.
_DATABASES = _PACKAGE / "inprocess" / "databases.py"
_OF_DATABASE = re.compile(r"\bledger\b|\btraffic\b|\.db\b")
_CONNECTORS = {"connect", "Connection"}
_OPENERS = {"open", "fdopen", "touch", "read_bytes", "write_bytes", "copy", "copyfile", "copy2"}

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _shown(path: Path, nodes: Iterable[ast.AST]) -> list[str]:
    return [f"{path}:{getattr(node, 'lineno', 1)}" for node in nodes]


def _public(body: Iterable[ast.stmt]) -> Iterator[_Definition]:
    """Public classes and functions, and those within public classes; not what functions hide.

    The signatures of an overloaded function are described by its implementation.
    """
    for node in body:
        if isinstance(node, _Definition) and not (node.name.startswith("_") or _is_overload(node)):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def _is_overload(node: _Definition) -> bool:
    names = [name for name in node.decorator_list if isinstance(name, ast.Name)]
    return any(name.id == "overload" for name in names)


def _tests(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            yield node


def _reads_environment(tree: ast.Module) -> Iterator[ast.AST]:
    """Everything that reads it; to set a variable for a library that wants one is no reading."""
    nodes = list(ast.walk(tree))
    written = {
        id(node.value)
        for node in nodes
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
    }
    for node in nodes:
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _ENVIRONMENT:
                if id(node) not in written:
                    yield node
            case ast.ImportFrom(module="os", names=names):
                if _ENVIRONMENT & {alias.name for alias in names}:
                    yield node


def _opens_database(tree: ast.Module) -> Iterator[ast.AST]:
    """Each `sqlite3.connect`, and each call that opens a file with a database's path."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="sqlite3"), attr=name)):
                if name in _CONNECTORS:
                    yield node
            case ast.ImportFrom(module="sqlite3", names=names):
                if _CONNECTORS & {alias.name for alias in names}:
                    yield node
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in _OPENERS:
                if _OF_DATABASE.search(ast.unparse(node)):
                    yield node


@pytest.fixture(params=_MODULES, ids=lambda path: str(path.relative_to(_PACKAGE.parent)))
def module(request: pytest.FixtureRequest) -> Path:
    """Each module of the package."""
    assert isinstance(request.param, Path)
    return request.param


def test_there_is_something_to_look_at() -> None:
    """The package and its tests are found."""
    assert len(_MODULES) > 40
    assert (_PACKAGE / "domain" / "digest.py") in _MODULES
    assert Path(__file__) in _TESTS.rglob("test_*.py")


def test_the_domain_waits_for_nothing() -> None:
    """Decisions are synchronous: there is no `async def` in the domain, and no `await`."""
    waits = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    for path in (_PACKAGE / "domain").glob("*.py"):
        found = [node for node in ast.walk(_tree(path)) if isinstance(node, waits)]
        assert not _shown(path, found)


def test_what_is_public_says_what_it_is(module: Path) -> None:
    """Every module, public class and public function has a docstring."""
    tree = _tree(module)
    assert ast.get_docstring(tree), f"{module}:1"
    silent = [node for node in _public(tree.body) if not ast.get_docstring(node)]
    assert not _shown(module, silent)


def test_no_module_is_long(module: Path) -> None:
    """No module has more lines than one can keep in mind."""
    assert len(module.read_text(encoding="utf-8").splitlines()) <= _LONGEST


def _handles_descriptors(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls that make, use or close a descriptor number."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in _DESCRIPTOR_CALLS:
                yield node
            case ast.Attribute(value=ast.Name(id="fcntl")):
                yield node
            case ast.ImportFrom(module="os", names=names):
                if _DESCRIPTOR_CALLS & {alias.name for alias in names}:
                    yield node


def _recursions_over_awaits(tree: ast.Module) -> Iterator[ast.AST]:
    """Coroutines that await themselves: loops without a bound, that end in a RecursionError."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            match node:
                case ast.Await(value=ast.Call(func=ast.Name(id=name))) if name == function.name:
                    yield node
                case ast.Await(
                    value=ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name))
                ) if name == function.name:
                    yield node


def test_descriptors_have_one_owner(module: Path) -> None:
    """Descriptor numbers are handled by the objects that own them, and nowhere else.

    A number that is passed on, above all across an `await`, may be another file's by then.
    """
    if str(module.relative_to(_PACKAGE)) not in _MAY_HANDLE_DESCRIPTORS:
        assert not _shown(module, _handles_descriptors(_tree(module)))


def test_no_coroutine_awaits_itself(module: Path) -> None:
    """What is tried again is a loop with a bound; only trees of a known depth are walked so."""
    if str(module.relative_to(_PACKAGE)) not in _MAY_RECUR:
        assert not _shown(module, _recursions_over_awaits(_tree(module)))


def test_one_place_reads_the_environment(module: Path) -> None:
    """The environment is read by the settings and by the command line, and nowhere else."""
    if module.relative_to(_PACKAGE).parts[0] not in _MAY_READ_ENVIRONMENT:
        assert not _shown(module, _reads_environment(_tree(module)))


def test_one_place_opens_databases(module: Path) -> None:
    """Only SQLite opens a database, and only `inprocess/databases.py` has it do so.

    Use `make_database` or `open_database`: a descriptor that anything else opens and closes drops
    the locks of every connection of the process.
    """
    if module != _DATABASES:
        assert not _shown(module, _opens_database(_tree(module)))


@pytest.mark.parametrize(
    "path",
    sorted(_TESTS.rglob("test_*.py")),
    ids=lambda path: str(path.relative_to(_TESTS)),
)
def test_each_test_says_which_behaviour_it_is_of(path: Path) -> None:
    """Every test has a docstring, which is the sentence that fails when it does."""
    silent = [node for node in _tests(_tree(path)) if not ast.get_docstring(node)]
    assert not _shown(path, silent)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import os\nos.environ['A']", 1),
        ("import os\nos.getenv('A')", 1),
        ("from os import path, environ", 1),
        ("from os import path\nenviron = {}\nself.environ", 0),
        ("import os\nos.environ['A'] = 'b'\ndel os.environ['A']", 0),
        ("import os\nos.environ['A'] = os.environ['B']", 1),
    ],
)
def test_readers_of_the_environment_are_found(source: str, count: int) -> None:
    """The rule sees the environment read in whichever way."""
    assert len(list(_reads_environment(ast.parse(source)))) == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import sqlite3\nsqlite3.connect('x')", 1),
        ("from sqlite3 import connect", 1),
        ("import sqlite3\nsqlite3.Connection('x')", 1),
        ("import sqlite3\ndef f(db: sqlite3.Connection) -> sqlite3.Error: ...", 0),
        ("import os\nos.close(os.open(layout.ledger, os.O_RDWR))", 1),
        ("layout.traffic.open('rb')", 1),
        ("open(root / 'ledger.db')", 1),
        ("open(root / 'ledgers')", 0),
        ("open_database(layout.ledger, 1.0)", 0),
    ],
)
def test_openers_of_databases_are_found(source: str, count: int) -> None:
    """The rule sees a database opened in whichever way."""
    assert len(list(_opens_database(ast.parse(source)))) == count


def test_silent_definitions_are_found() -> None:
    """The rules see what is public at any depth, and every test."""
    source = (
        "class A:\n  class B:\n    def c(self): ...\n  def _d(self): ...\nasync def test_e(): ..."
    )
    tree = ast.parse(source)
    assert [node.name for node in _public(tree.body)] == ["A", "B", "c", "test_e"]
    assert [node.name for node in _tests(tree)] == ["test_e"]
