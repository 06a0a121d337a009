"""Names by the OCI distribution spec ("Pulling manifests"): repositories, tags, references."""

import re
from dataclasses import dataclass
from typing import Self

from cacheproxy.domain.digest import Digest
from cacheproxy.domain.errors import NameInvalid, TagInvalid

# <name> MUST match:
#   [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
# The separators never overlap with what they separate, so matching is linear in Python too
# (a port that writes the run of dashes as `[-]*` is exponential).
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")

# <reference> as a tag MUST be at most 128 characters and match:
#   [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

# The spec sets no limit; many clients limit the registry and the name together to this.
_NAME_LIMIT = 255


class Name(str):
    """A repository's name within its registry, such as `library/nginx`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the name that `text` spells.

        Raises:
            NameInvalid: it does not match the grammar, or is longer than 255 characters.
        """
        if len(text) > _NAME_LIMIT:
            raise NameInvalid(f"a repository name has at most {_NAME_LIMIT} characters")
        if _NAME.fullmatch(text) is None:
            raise NameInvalid(f"{text!a} is not a repository name")
        return cls(text)


class Tag(str):
    """A tag, such as `latest`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tag that `text` spells.

        Raises:
            TagInvalid: it does not match the grammar.
        """
        if _TAG.fullmatch(text) is None:
            raise TagInvalid(f"{text[:140]!a} is not a tag")
        return cls(text)

    @classmethod
    def of_referrers(cls, digest: Digest) -> Self:
        """The fallback tag under which referrers of `digest` are listed.

        Source: distribution spec, "Referrers Tag Schema": algorithm cut to 32 characters, a
        dash, the encoded part cut to 64.
        """
        return cls(f"{digest.algorithm[:32]}-{digest.encoded[:64]}")


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """Return the tag or the digest that `text` spells: a tag cannot contain a colon.

    Raises:
        DigestInvalid: it has a colon, but is no digest.
        TagInvalid: it has none, and is no tag.
    """
    return Digest.parse(text) if ":" in text else Tag.parse(text)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of an upstream.

    Attributes:
        registry: the upstream's canonical name, such as `docker.io`; a configured one.
        name: within the registry.
    """

    registry: str
    name: Name

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"
