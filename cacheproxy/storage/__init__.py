"""Adapters of the `BlobStore` port: where the bytes are."""
