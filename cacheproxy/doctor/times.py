"""This machine's clock, by what upstreams say of the time."""

import statistics
from collections.abc import Mapping

from cacheproxy.doctor.findings import Finding

_NAME = "clock"
_OFF = 60.0  # seconds
# Requests to AWS are refused from here on, and certificates and tokens begin to be.
_FAR_OFF = 300.0


def check_clock(skews: Mapping[str, float]) -> Finding:
    """Compare.

    Args:
        skews: seconds that each upstream's clock is ahead of ours; one alone may be wrong
            itself, so the one in the middle counts.
    """
    if not skews:
        return Finding(_NAME, "skipped", "no upstream has said what time it is")
    middle = statistics.median(skews.values())
    by = ", ".join(skews) if len(skews) <= 2 else f"{len(skews)} upstreams"
    if abs(middle) <= _OFF:
        return Finding(_NAME, "ok", f"within a minute of {by}")
    way = "behind" if middle > 0 else "ahead of"
    said = f"it is {abs(middle):,.0f} seconds {way} {by}"
    advice = "set it: run chronyd or systemd-timesyncd (timedatectl set-ntp true)"
    return Finding(_NAME, "failed" if abs(middle) > _FAR_OFF else "warning", said, advice)
