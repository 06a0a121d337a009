"""Reading a file of the store again before it is served, since nobody vouches for it."""

from concurrent.futures import Executor
from stat import S_ISREG
from typing import Literal

from cacheproxy.domain.digest import Digest
from cacheproxy.storage.layout import Layout
from cacheproxy.storage.open_file import OpenFile
from cacheproxy.storage.quarantine import quarantine
from cacheproxy.storage.seal import Seals, doubt
from cacheproxy.storage.threads import run_to_end

Verdict = Literal["right", "quarantined", "in use", "none"]

# Long enough to make little of the thread's turns, short enough for a cancellation to be quick.
_STEP = 8 * 1024 * 1024


async def prove(layout: Layout, digest: Digest, seals: Seals, executor: Executor) -> Verdict:
    """Hash a stored file: right ones are sealed, wrong ones are taken out of the store.

    Args:
        layout: of the store.
        digest: whose file.
        seals: of the store.
        executor: of threads that may wait for the disk.

    Returns:
        What it is; `none` where there is no such file, or none that can be opened.
    """
    try:
        with OpenFile.read_only(layout.blob(digest)) as file:
            status = file.status()
            if not S_ISREG(status.st_mode):
                return "none"
            if await _is_right(file, digest, executor):
                seals.put(digest, file, status)
                return "right"
            taken = await run_to_end(executor, lambda: quarantine(layout, digest, status))
            if taken == "in use":
                doubt(file)  # those who read it read on, and nobody else
    except OSError:
        return "none"  # it can be neither read nor moved: what is fetched takes its place
    return "none" if taken == "gone" else taken


async def _is_right(file: OpenFile, digest: Digest, executor: Executor) -> bool:
    hasher, offset = digest.hasher(), 0

    def step() -> int:
        chunk = file.read(offset, _STEP)
        hasher.update(chunk)
        return len(chunk)

    try:
        while count := await run_to_end(executor, step):
            offset += count
    except OSError:
        return False  # unreadable is as bad as wrong
    return hasher.hexdigest() == digest.encoded
