"""What is made from the settings: `python -m docs` makes it, tests compare it."""
