# The container image. It needs no feature of one builder: docker, podman and buildah build it.
#
#   BASE     where Python 3.11 or newer comes from; any image with sh, venv and authorities
#   EXTRAS   what upstreams' credentials need besides: any of "ecr google azure"
#
# Where the network has an authority of its own, mount it: --volume /etc/ssl/certs:/etc/ssl/certs:ro
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=""
# Of the files in the wheel; with it the same sources make the same image.
ARG SOURCE_DATE_EPOCH=315532800
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore
# One venv that has pip, for building; one without, which becomes the image's.
RUN python3 -m venv /build && python3 -m venv --without-pip /opt/cacheproxy
WORKDIR /src
COPY requirements/ requirements/
RUN set -eu; \
    set -- -r requirements/run.txt; \
    for extra in ${EXTRAS}; do set -- "$@" -r "requirements/${extra}.txt"; done; \
    /build/bin/pip install --quiet --require-hashes -r requirements/run.txt; \
    /build/bin/pip --python /opt/cacheproxy/bin/python3 install --quiet --require-hashes "$@"
COPY pyproject.toml README.md LICENSE ./
COPY cacheproxy/ cacheproxy/
# What only building needs goes again. Bytecode by hash, not by time: nobody can write it later,
# and it is the same in each build.
RUN set -eu; \
    /build/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir /wheel .; \
    pip="/build/bin/pip --python /opt/cacheproxy/bin/python3"; \
    $pip install --quiet --no-deps /wheel/*.whl; \
    $pip uninstall --quiet --yes editables hatchling packaging pathspec pluggy trove-classifiers; \
    $pip check; \
    rm -rf /opt/cacheproxy/lib/python3*/site-packages/*/tests /opt/cacheproxy/include; \
    find /opt/cacheproxy -name direct_url.json -delete; \
    /opt/cacheproxy/bin/python3 -m compileall -q --invalidation-mode unchecked-hash /opt/cacheproxy

FROM ${BASE}
LABEL org.opencontainers.image.title="cacheproxy" \
      org.opencontainers.image.description="A pull-through caching proxy for container registries" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/cacheproxy /opt/cacheproxy
COPY deploy/image/cacheproxy.yaml /etc/cacheproxy/cacheproxy.yaml
# Without useradd, which not every base has.
RUN echo 'cacheproxy:x:65532:65532::/var/lib/cacheproxy:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'cacheproxy:x:65532:' >> /etc/group \
 && mkdir -p /var/lib/cacheproxy && chown 65532:65532 /var/lib/cacheproxy
ENV PATH=/opt/cacheproxy/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
WORKDIR /var/lib/cacheproxy
VOLUME /var/lib/cacheproxy
EXPOSE 5000 5001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-IS", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 5001, timeout=4); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["cacheproxy"]
CMD ["serve", "--config", "/etc/cacheproxy/cacheproxy.yaml"]
