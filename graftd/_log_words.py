# SPDX-License-Identifier: Apache-2.0
"""What the configuration says of logging. Apart from `log`, for a configuration is read without structlog as well."""

from __future__ import annotations

import enum


class Level(enum.StrEnum):
    """From which level on records are written; audit records always are."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Format(enum.StrEnum):
    """How records are written. AUTO: JOURNAL where standard error goes there, CONSOLE elsewhere."""

    AUTO = "auto"
    JOURNAL = "journal"
    CONSOLE = "console"
    JSON = "json"
