# SPDX-License-Identifier: Apache-2.0
"""The one place that speaks netlink with the module."""

from graftd.kernel._client import Client
from graftd.kernel._messages import GROUP_EVENT, GROUP_TABLE

__all__ = ["GROUP_EVENT", "GROUP_TABLE", "Client"]
