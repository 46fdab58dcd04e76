# SPDX-License-Identifier: Apache-2.0
"""Where this machine gets Go modules from; go itself need not be installed for that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# What reaching a module proxy depends on: go's own settings, then those of HTTP.
_SETTINGS = ("GOPROXY", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOVCS")
_HTTP = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def machine_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables with which go reaches modules here: of the environment, or else of go's own file."""
    found = {name: value for name, value in _written(environment).items() if name in _SETTINGS}
    return found | {name: environment[name] for name in (*_SETTINGS, *_HTTP) if environment.get(name)}


def machine_certificates(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file of the authorities that this machine trusts, where it has one."""
    path = Path(environment.get("SSL_CERT_FILE") or _CERTIFICATES)
    return path if path.is_file() else None


def _written(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what 'go env -w' wrote."""
    path = environment.get("GOENV")
    if path == "off":
        return {}
    folder = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME") or "/nonexistent") / ".config"
    file = Path(path or Path(folder) / "go" / "env")
    if not file.is_file():
        return {}
    lines = (line.strip() for line in file.read_text().splitlines())
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs if value}
