"""The built-in page of the admin port: what the cache saves, holds and is about."""
