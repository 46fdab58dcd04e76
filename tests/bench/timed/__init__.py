# SPDX-License-Identifier: Apache-2.0
"""The paper's figures again, in time, with the paper's tools and a few others."""

from bench.timed.host import measure

__all__ = ["measure"]
