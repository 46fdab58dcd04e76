# SPDX-License-Identifier: Apache-2.0
"""Whose work is linked into a Go program, and on what terms, in Debian's machine-readable form."""

from __future__ import annotations

import re
from pathlib import Path

from .errors import LabError

# A phrase of a licence's text -> its name; the first that is found.
_LICENCES = {
    "Apache License": "Apache-2.0",
    "Permission is hereby granted, free of charge": "Expat",
    "Neither the name of": "BSD-3-Clause",
    "Redistribution and use in source and binary forms": "BSD-2-Clause",
}
_HOLDER = re.compile(r"^\s*(?:Copyright|COPYRIGHT)(?: \([cC]\)| ©)?:? +(\d{4}.*\S)", re.MULTILINE)
_VERSION = re.compile(r"^[^\t].*: (go\S+)", re.MULTILINE)
# What these hold and go's own library are of the same authors, on the same terms.
_OF_GO = "golang.org/x/"


def of_linked(listing: str, modules: Path) -> str:
    """Return the paragraphs for what 'go version -m' lists of one program; ``modules`` is go's folder of them.

    Raises LabError for a module without a licence that is known here.
    """
    linked = re.findall(r"^\tdep\t(\S+)\t(\S+)", listing, re.MULTILINE)
    replaced = re.findall(r"^\t=>\t(\S+)\t(\S+)", listing, re.MULTILINE)
    version = _VERSION.search(listing)
    of_go = [module for module in linked if module[0].startswith(_OF_GO)]
    if replaced or version is None or not of_go:
        raise LabError(f"what is linked into a program is not listed as expected:\n{listing}")
    paragraphs = [_paragraph(f"{version[1]} (Go's runtime and standard library)", _folder(modules, *of_go[0]))]
    paragraphs += [_paragraph(f"{path}@{version}", _folder(modules, path, version)) for path, version in linked]
    return "\n".join(paragraphs)


def _folder(modules: Path, path: str, version: str) -> Path:
    """Return where go keeps a module: a capital letter is written as ! and the small one."""
    return modules / re.sub("[A-Z]", lambda letter: f"!{letter[0].lower()}", f"{path}@{version}")


def _paragraph(name: str, folder: Path) -> str:
    texts = [path.read_text() for path in sorted(folder.iterdir()) if path.name.startswith(("LICENSE", "COPYING"))]
    notices = [path.read_text() for path in sorted(folder.iterdir()) if path.name.startswith("NOTICE")]
    text = "\n".join(texts)
    licence = next((licence for phrase, licence in _LICENCES.items() if phrase in text), None)
    if licence is None:
        raise LabError(
            f"{name}, which is linked into a program, has no licence that is known here",
            f"Read it, and add a phrase of it to {Path(__file__).name}.",
        )
    holders = list(dict.fromkeys(_HOLDER.findall("\n".join([text, *notices])))) or [f"the authors of {name}"]
    lines = [f"Files: {name}", "Copyright:", *(f" {holder}" for holder in holders), f"License: {licence}"]
    # Debian has the text of this one beside.
    lines += [] if licence == "Apache-2.0" else _indented(text)
    lines += ["Comment:", *_indented("\n".join(notices))] if notices else []
    return "\n".join([*lines, ""])


def _indented(text: str) -> list[str]:
    return [f" {line.rstrip()}" if line.strip() else " ." for line in text.strip().splitlines()]
