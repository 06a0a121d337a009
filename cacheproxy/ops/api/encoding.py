"""The API's values as JSON."""

import msgspec


def _plain(value: object) -> str:
    """Digests and tags are texts; msgspec knows no kinds of text but `str`."""
    if isinstance(value, str):
        return str.__str__(value)
    raise NotImplementedError


encode = msgspec.json.Encoder(enc_hook=_plain).encode
"""Write one of the API's values."""
