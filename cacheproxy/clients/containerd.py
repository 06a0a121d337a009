"""containerd: `hosts.toml` for all registries, or for each."""

from cacheproxy.clients.hosts_toml import hosts_toml
from cacheproxy.clients.setup import SEEN, ClientFile, Setup, Wish, authority_file, probe_image

_ROOT = "/etc/containerd/certs.d"
_CONFIG_PATH = f"""\
Once: the CRI plugin must know the directory. In /etc/containerd/config.toml of containerd 2:
    [plugins."io.containerd.cri.v1.images".registry]
      config_path = "{_ROOT}"
  of containerd 1:
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = "{_ROOT}"
  then: systemctl restart containerd"""
_NO_RESTART = "hosts.toml itself is read at each pull: no restart."
_SHADOWED = (
    f"A directory of a registry's own in {_ROOT} goes before _default; where there are some, "
    "--per-registry writes such directories."
)


def setup(wish: Wish) -> Setup:
    """The files of containerd 1 and 2."""
    # Relative to hosts.toml: the same tree is right wherever it is.
    names = wish.names if wish.is_for_each else ("_default",)
    here, elsewhere = "ca.crt", f"../{names[0]}/ca.crt" if names else ""
    files = tuple(
        ClientFile(f"{_ROOT}/{name}/hosts.toml", hosts_toml(wish, elsewhere if number else here))
        for number, name in enumerate(names)
    )
    authority = authority_file(wish, f"{_ROOT}/{names[0]}/ca.crt") if names else ()
    check = f"Check: ctr image pull --hosts-dir {_ROOT} {probe_image(wish)}. {SEEN}"
    shadowed = () if wish.is_for_each else (_SHADOWED,)
    return Setup(files + authority, (_CONFIG_PATH, _NO_RESTART, *shadowed, check))
