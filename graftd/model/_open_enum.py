# SPDX-License-Identifier: Apache-2.0
"""Enumerations whose values come from the kernel."""

from __future__ import annotations

import enum


class OpenEnum(enum.IntEnum):
    """An enumeration that a newer module may have grown: an unknown value keeps its number."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member

    @property
    def word(self) -> str:
        """The name as people and JSON read it: lower case, dashes."""
        return self.name.lower().replace("_", "-")
