"""k3s and RKE2, which write containerd's configuration themselves."""

from cacheproxy.clients.setup import SEEN, ClientFile, Setup, Wish, authority_file, probe_image

_ROOT = "/etc/rancher/k3s"
_FALLBACK = (
    "--no-fallback is not of this file: start k3s (or rke2) on each node with "
    "--disable-default-registry-endpoint."
)


def setup(wish: Wish) -> Setup:
    """The files of k3s; for RKE2 they go to /etc/rancher/rke2."""
    authority = f"{_ROOT}/cacheproxy-ca.crt"
    lines = ["mirrors:"]
    for name in wish.names if wish.is_for_each else ("*",):
        lines += [f'  "{name}":', f'    endpoint: ["{wish.url}"]']
    if wish.authority is not None:
        lines += ["configs:", f'  "{wish.host}":', "    tls:", f'      ca_file: "{authority}"']
    return Setup(
        (
            ClientFile(f"{_ROOT}/registries.yaml", "\n".join(lines) + "\n"),
            *authority_file(wish, authority),
        ),
        (
            "Then, on each node: systemctl restart k3s (on agents: k3s-agent). It is read at the "
            "start only. For RKE2 the same files go to /etc/rancher/rke2.",
            f"Check: k3s crictl pull {probe_image(wish)}. {SEEN}",
        ),
        () if wish.falls_back else (_FALLBACK,),
    )
