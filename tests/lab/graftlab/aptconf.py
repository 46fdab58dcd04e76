# SPDX-License-Identifier: Apache-2.0
"""Where this machine gets its Debian packages from.

The lab's suites come from the same archive as the machine's own packages, so its address is read from
the machine's apt configuration (sources.list(5): one-line and deb822 forms) and is written nowhere else.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

_RELEASE = re.compile(
    r"(?:bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)"
    r"(?P<pocket>-[a-z-]+|/updates)?"
)
_FORWARDED = re.compile(
    r"Acquire::(?:(?:https?|ftp)::Proxy\b|.*::(?:CaInfo|Verify-\w+)|Check-Valid-Until|Check-Date|Retries)"
)


@dataclass(frozen=True)
class Source:
    """One archive line: an address, a suite on it, and its components."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirrors:
    """The addresses of the main archive and, where the machine has one, of the security archive."""

    debian: str
    security: str | None

    def lines(self, *suites: str) -> list[str]:
        """Return one-line sources for ``suites``, leaving out security suites without an archive."""
        found = []
        for suite in suites:
            uri = self.security if suite.endswith("-security") else self.debian
            if uri is not None:
                found.append(f"deb {uri} {suite} main")
        return found


def parse_one_line(text: str) -> Iterator[Source]:
    """Yield the binary sources of a ``sources.list`` in the one-line form."""
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        match = re.fullmatch(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)((?:\s+\S+)*)", line)
        if match:
            yield Source(match[1].rstrip("/"), match[2], tuple(match[3].split()))


def parse_deb822(text: str) -> Iterator[Source]:
    """Yield the binary sources of a ``.sources`` file that are not disabled."""
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", kept):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        components = tuple(fields.get("components", "").split())
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri.rstrip("/"), suite, components)


def choose_mirrors(sources: Iterable[Source]) -> Mirrors:
    """Pick the main and the security archive out of ``sources``.

    Raises LabError where no source is a Debian release with the component ``main``.
    """
    debian = security = None
    for source in sources:
        match = _RELEASE.fullmatch(source.suite)
        if match is None or "main" not in source.components:
            continue
        if match["pocket"] in {"-security", "/updates"}:
            security = security or source.uri
        else:
            debian = debian or source.uri
    if debian is None:
        raise LabError(
            "this machine's apt configuration names no Debian archive",
            "Add one with a release such as 'trixie' and the component 'main' to /etc/apt/sources.list.d.",
        )
    return Mirrors(debian, security)


def machine_mirrors(etc_apt: Path = Path("/etc/apt")) -> Mirrors:
    """Return the archives that this machine's own packages come from."""
    sources: list[Source] = []
    parts = sorted((etc_apt / "sources.list.d").glob("*"))
    for path in [etc_apt / "sources.list", *parts]:
        if path.suffix == ".list" and path.is_file():
            sources += parse_one_line(path.read_text())
        elif path.suffix == ".sources" and path.is_file():
            sources += parse_deb822(path.read_text())
    return choose_mirrors(sources)


def forwarded_options(dump: str) -> list[str]:
    """Return the lines of ``apt-config dump`` that reaching the archive depends on."""
    return [line for line in dump.splitlines() if _FORWARDED.match(line) and '""' not in line]


def machine_options() -> list[str]:
    """Return this machine's proxy, certificate and validity options for apt."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return forwarded_options(done.stdout)


def keyring() -> Path:
    """Return the keyring that Debian's archives are checked with."""
    for name in ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg"):
        path = Path("/usr/share/keyrings") / name
        if path.exists():
            return path
    raise LabError("the keyring of Debian's archive is missing", "Run 'apt-get install debian-archive-keyring'.")
