"""Reading the whole store again: is each blob still what its name says?

It works beside a running server. Nothing is held while a blob is read; only what turns out
wrong is locked, for as long as a rename takes.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from stat import S_ISREG
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.pace import Pace
from cacheproxy.storage.quarantine import quarantine
from cacheproxy.storage.seal import doubt, is_sealed, seal

Problem = Literal["damaged", "unreadable", "missing"]
Outcome = Literal["quarantined", "struck out", "in use", "refused"]

_STEP = 1024 * 1024
_SMALLEST_STEP = 4096
# Damaged blobs that somebody reads are tried again at the end, so often, so many seconds apart.
_TRIES = 100
_PAUSE = 0.1
# Struck out within one transaction, for which running servers wait.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Hashed:
    """So many bytes more were read."""

    count: int


@dataclass(frozen=True, slots=True)
class Checked:
    """A blob was read to its end; what was wrong with it is another step."""

    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Waited:
    """A pause between two tries to move damaged blobs that somebody reads."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong. A later finding of the same digest replaces it.

    Attributes:
        digest: whose name it has.
        problem: `missing` is what only the ledger has.
        outcome: what was done about it; `in use` and `refused` are not mended.
        detail: a few words for a person.
    """

    digest: Digest
    problem: Problem
    outcome: Outcome
    detail: str

    @property
    def is_mended(self) -> bool:
        """Whether the store is right again."""
        return self.outcome in ("quarantined", "struck out")


Step = Hashed | Checked | Finding | Waited
Strike = Callable[[Iterable[Digest]], list[Digest]]


class Scrub:
    """One pass over a store."""

    def __init__(self, layout: Layout, strike: Strike, pace: Pace) -> None:
        """Prepare it.

        Args:
            layout: of the store.
            strike: strikes those of some digests out of the ledger that have no file;
                returns which were in it.
            pace: at which blobs are read.
        """
        self._layout = layout
        self._strike = strike
        self._pace = pace
        self._step = max(_SMALLEST_STEP, min(_STEP, pace.rate // 8))
        self._in_use: list[tuple[Finding, os.stat_result]] = []

    def run(
        self, blobs: Iterable[Digest], known: Iterable[Digest] = ()
    ) -> Generator[Step, None, None]:
        """Check blobs one after another, then what the ledger knows, step by step.

        It can be left after any step: what was found until then is mended, and nothing is
        half done.
        """
        for digest in blobs:
            yield from self._check(digest)
        yield from self._try_again()
        missing = [digest for digest in known if not self._layout.holds(digest)]
        for start in range(0, len(missing), _BATCH):
            for digest in self._strike(missing[start : start + _BATCH]):
                yield Finding(digest, "missing", "struck out", "the file was gone")

    def _check(self, digest: Digest) -> Iterator[Step]:
        try:
            file = OpenFile.read_only(self._layout.blob(digest))
        except FileNotFoundError:
            return  # evicted since it was listed
        except OSError as error:
            yield Finding(digest, "unreadable", "refused", _said(error))
            return
        with file:
            status = file.status()
            if S_ISREG(status.st_mode):
                yield from self._read(digest, file, status)

    def _read(self, digest: Digest, file: OpenFile, status: os.stat_result) -> Iterator[Step]:
        hasher, offset = digest.hasher(), 0
        # No reading ahead: it would put into memory what was not there before.
        file.expect_random_reads()
        try:
            while chunk := file.read_uncached(offset, self._length(status, offset)):
                hasher.update(chunk)
                offset += len(chunk)
                yield Hashed(len(chunk))
                self._pace.spend(len(chunk))
        except OSError as error:
            yield self._condemn(Finding(digest, "unreadable", "in use", _said(error)), file)
        else:
            if hasher.hexdigest() != digest.encoded:
                said = f"its {offset} bytes are {digest.algorithm}:{hasher.hexdigest()}"
                yield self._condemn(Finding(digest, "damaged", "in use", said), file)
            elif not is_sealed(digest, status):
                seal(digest, file, status)
        yield Checked(digest, offset)

    def _length(self, status: os.stat_result, offset: int) -> int:
        """Never beyond the end, but for a byte that should not be there."""
        return max(1, min(self._step, status.st_size - offset))

    def _condemn(self, found: Finding, file: OpenFile) -> Finding:
        """Take a blob out of the store; one that stays for now is served to nobody else."""
        status = file.status()
        finding = self._mended(found, status)
        if not finding.is_mended:
            # Those who read it read on. Everybody else has it read again first, or fetched.
            doubt(file)
        if finding.outcome == "in use":
            self._in_use.append((finding, status))
        return finding

    def _mended(self, finding: Finding, status: os.stat_result) -> Finding:
        try:
            taken = quarantine(self._layout, finding.digest, status)
        except OSError as error:
            detail = f"{finding.detail}; it cannot be moved: {_said(error)}"
            return Finding(finding.digest, finding.problem, "refused", detail)
        if taken == "in use":
            return finding
        # Also where somebody else has removed it meanwhile.
        self._strike([finding.digest])
        outcome: Outcome = "quarantined" if taken == "quarantined" else "struck out"
        return Finding(finding.digest, finding.problem, outcome, finding.detail)

    def _try_again(self) -> Iterator[Finding | Waited]:
        for _ in range(_TRIES):
            tried = [(self._mended(*condemned), condemned) for condemned in self._in_use]
            yield from (mended for mended, _ in tried if mended.outcome != "in use")
            self._in_use = [each for mended, each in tried if mended.outcome == "in use"]
            if not self._in_use:
                return
            self._pace.wait(_PAUSE)
            yield Waited()  # whose pace only notes its pauses makes them now


def _said(error: OSError) -> str:
    return error.strerror or str(error)
