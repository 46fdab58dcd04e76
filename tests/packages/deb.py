# SPDX-License-Identifier: Apache-2.0
"""Debian packages: one set for every release, built by the oldest, whose libraries the later ones have as well."""

from __future__ import annotations

from packages.source import Source
from packages.workshop import Job, Workshop

_RELEASE = "bookworm"
_PACKAGES = (
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
# So that 'apt install ./graft*.deb' is the whole installation.
for file in libgraft-preload_*.deb python3-graft_*.deb; do mv "$file" "graft+$file"; done
"""


def build(workshop: Workshop, source: Source) -> None:
    """Write build/packages/*.deb; lintian has nothing against them."""
    changelog = _CHANGELOG.format(version=source.version, maintainer=source.maintainer, date=source.date)
    job = Job("deb", _RELEASE, _PACKAGES, _BUILD, results="*.deb")
    workshop.run(job, source, {"changelog": changelog})
