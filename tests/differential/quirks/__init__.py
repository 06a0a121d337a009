"""All quirks, by name."""

from collections.abc import Mapping

from tests.differential.quirk import Quirk
from tests.differential.quirks.blobs import BLOBS
from tests.differential.quirks.lists import LISTS
from tests.differential.quirks.logins import LOGINS
from tests.differential.quirks.manifests import MANIFESTS

KINDS: Mapping[str, tuple[Quirk, ...]] = {
    "Logins": LOGINS,
    "Manifests": MANIFESTS,
    "Blobs": BLOBS,
    "Lists": LISTS,
}
QUIRKS: Mapping[str, Quirk] = {quirk.name: quirk for kind in KINDS.values() for quirk in kind}

NOT_YET: frozenset[str] = frozenset()
"""Quirks with which something that works directly does not yet work through the proxy."""
