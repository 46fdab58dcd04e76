# SPDX-License-Identifier: Apache-2.0
"""How cost grows: instructions, kernel memory and graftd's times against the size of what there is."""

from bench.scale.run import measure

__all__ = ["measure"]
