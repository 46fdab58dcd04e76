# SPDX-License-Identifier: Apache-2.0
"""Debian packages: one set for every release, built by the oldest, whose libraries the later ones have as well."""

from __future__ import annotations

from builder.source import Source
from builder.workshop import Workshop

RELEASE = "bookworm"
PACKAGES = (
    *("dpkg-dev", "debhelper", "dh-dkms", "dh-python", "lintian", "build-essential"),
    *("python3", "libprotobuf-dev", "protobuf-compiler", "protobuf-compiler-grpc"),
)
_CHANGELOG = """graft ({version}) unstable; urgency=medium

  * See CHANGELOG.md.

 -- {maintainer}  {date}
"""
_BUILD = """
cd tree
cp -r packaging/deb debian
mv ../changelog debian/changelog
dpkg-buildpackage --build=binary --no-sign --jobs=2
cd ..
lintian --fail-on error,warning --tag-display-limit 0 ./*.changes
"""


def build(workshop: Workshop, source: Source) -> None:
    """Write build/packages/*.deb; lintian has nothing against them."""
    maintainer = _field(source.read("packaging/deb/control"), "Maintainer")
    changelog = _CHANGELOG.format(version=source.version, maintainer=maintainer, date=source.date)
    workshop.run("deb", RELEASE, PACKAGES, source, _BUILD, {"changelog": changelog}, "*.deb")


def _field(control: str, name: str) -> str:
    for line in control.splitlines():
        field, _, value = line.partition(": ")
        if field == name:
            return value
    raise ValueError(f"packaging/deb/control has no field {name}")
