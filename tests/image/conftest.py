"""The tests of a container image: only where one is named, since building takes its time."""

import os

# `make image-test` sets it.
collect_ignore_glob = [] if os.environ.get("CACHEPROXY_TEST_IMAGE") else ["test_*.py"]
