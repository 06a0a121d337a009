"""What is made from the chart's values: `python -m helm` makes it, tests compare it."""
