# SPDX-License-Identifier: Apache-2.0
"""What ends a benchmark."""

from __future__ import annotations


class BenchError(Exception):
    """Something was not measured; the text is a sentence without its stop."""
