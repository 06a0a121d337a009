"""Settings: what an operator may decide, loaded strictly from one file and the environment.

    file ──▶ draft ──▶ environment ──▶ well-known upstreams ──▶ secrets' files ──▶ Settings

`cacheproxy.settings.model` is the list of all keys, their defaults and meaning; `loading`
reads like the line above. Nothing else in the project reads the environment.
"""

from cacheproxy.settings.addresses import Address
from cacheproxy.settings.effective import effective, effective_values
from cacheproxy.settings.environment import CONFIG_VARIABLE, DEFAULT_FILE, find_file
from cacheproxy.settings.loading import load
from cacheproxy.settings.model import (
    AdminSettings,
    CacheSettings,
    LoggingSettings,
    MetadataSettings,
    ServerSettings,
    Settings,
    TlsSettings,
)
from cacheproxy.settings.problems import Problem, SettingsError
from cacheproxy.settings.secret import Secret
from cacheproxy.settings.sizes import Bytes, Share, Size
from cacheproxy.settings.upstream_model import (
    ClientCertificateSettings,
    CredentialsSettings,
    TagSettings,
    UpstreamSettings,
)

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_FILE",
    "Address",
    "AdminSettings",
    "Bytes",
    "CacheSettings",
    "ClientCertificateSettings",
    "CredentialsSettings",
    "LoggingSettings",
    "MetadataSettings",
    "Problem",
    "Secret",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "Share",
    "Size",
    "TagSettings",
    "TlsSettings",
    "UpstreamSettings",
    "effective",
    "effective_values",
    "find_file",
    "load",
]
