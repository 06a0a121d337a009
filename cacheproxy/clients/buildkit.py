"""BuildKit."""

from cacheproxy.clients.setup import SEEN, ClientFile, Setup, Wish, authority_file

_ROOT = "/etc/buildkit"
_FALLBACK = "BuildKit always falls back to the registry itself: --no-fallback has no effect here."


def setup(wish: Wish) -> Setup:
    """The files of buildkitd."""
    authority = f"{_ROOT}/cacheproxy-ca.crt"
    entries = [f'[registry."{name}"]\n  mirrors = ["{wish.registry}"]\n' for name in wish.names]
    of_proxy = ["  http = true"] if wish.is_plain else []
    if wish.authority is not None:
        of_proxy.append(f'  ca = ["{authority}"]')
    if of_proxy:
        entries.append("\n".join([f'[registry."{wish.registry}"]', *of_proxy]) + "\n")
    return Setup(
        (
            ClientFile(f"{_ROOT}/buildkitd.toml", "\n".join(entries)),
            *authority_file(wish, authority),
        ),
        (
            "Then: restart buildkitd. A builder of docker buildx is made with it: docker buildx "
            f"create --use --config {_ROOT}/buildkitd.toml (it takes the authority along).",
            f"Check: docker buildx build with a Dockerfile that has FROM {_image(wish)}. {SEEN}",
        ),
        () if wish.falls_back else (_FALLBACK,),
    )


def _image(wish: Wish) -> str:
    return f"{wish.names[0] if wish.names else 'registry.example.com'}/REPOSITORY:TAG"
