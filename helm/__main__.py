"""`python -m helm`: write the chart's values.schema.json, and the table in its README, anew."""

from helm.generated import CHART, files

for name, content in files().items():
    (CHART / name).write_text(content, encoding="utf-8")
