# SPDX-License-Identifier: Apache-2.0
"""The report that a person reads: one page, and its plots as files."""

from __future__ import annotations

from pathlib import Path

from bench.page.document import document
from bench.record import Report

PAGE = "index.html"


def draw(report: Report, folder: Path) -> list[Path]:
    """Write ``folder``/index.html, which refers to nothing outside itself, and its plots as PNG files beside it.

    Return what was written, the page first. Raises OSError where the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    html, plots = document(report, folder)
    page = folder / PAGE
    page.write_text(html, encoding="utf-8")
    return [page, *plots]
