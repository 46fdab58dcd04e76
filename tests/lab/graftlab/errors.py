# SPDX-License-Identifier: Apache-2.0
"""The one error that the lab reports to its user."""

from __future__ import annotations


class LabError(Exception):
    """Says what was wrong and, in ``hint``, what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
