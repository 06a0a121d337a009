"""Adapters of the `Upstream` port: registries, and how they are asked."""
