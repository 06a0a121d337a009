"""`python -m dashboards`: see the package's description."""

from dashboards.overview import FILE, written

FILE.write_text(written(), encoding="utf-8")
