"""The Grafana dashboard, made: `python -m dashboards` writes it where the chart has it.

The file in the tree is what Grafana reads. It is made here, for nobody reviews JSON.
"""
