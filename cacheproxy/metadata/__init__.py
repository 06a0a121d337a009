"""Adapters of the `TagStore` and `Directory` ports: what is remembered besides bytes."""
