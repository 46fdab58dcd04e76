# SPDX-License-Identifier: Apache-2.0
"""What a container's annotations ask for."""

from __future__ import annotations

from collections.abc import Mapping

from containers.images import PORT
from containers.network import HOST

# Of graftd's, for the namespaces that annotations make.
POLICY = f"""
[[policies]]
name = "containers"
namespaces = ["oci-*"]
addresses = ["{HOST}"]
ports = ["any", "8000-9999"]
egress = ["0.0.0.0/0", "::/0"]
"""


def grafted(port: int, **more: str) -> dict[str, str]:
    """Ask for the container's port to be the host's ``port``, and for connections to the host's link.

    ``more`` adds or overrides annotations, by what follows ``graft.`` in their names.
    """
    asked = {
        "endpoint.ep-http": f"{HOST}:{port}",
        "endpoint.ep-out": f"{HOST}:any",
        "ingress": f"*:{PORT}=ep-http",
        "egress": "10.9.0.0/24=ep-out",
        **more,
    }
    return {f"graft.{name}": value for name, value in asked.items()}


def options(annotations: Mapping[str, str]) -> list[str]:
    """Return them as podman and docker take them."""
    return [word for name, value in annotations.items() for word in ("--annotation", f"{name}={value}")]
