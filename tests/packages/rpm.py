# SPDX-License-Identifier: Apache-2.0
"""Packages for the rpm family, built with Debian's rpmbuild.

There is one set for each distribution, since the folder of Python's packages has its version in its name.
"""

from __future__ import annotations

import time

from packages.source import Source
from packages.workshop import Job, Workshop

_RELEASE = "trixie"
_PACKAGES = (
    *("rpm", "rpmlint", "elfutils", "debugedit", "gcc", "libc6-dev", "make", "file"),
    *("python3", "libprotobuf-dev", "protobuf-compiler", "protobuf-compiler-grpc"),
)
# What %dist and python3_version are there.
_DISTRIBUTIONS = {"fc43": "3.14", "el10": "3.12"}
_BUILD = """
mkdir -p SOURCES graft-{version}
cp -r tree/. graft-{version}
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$SOURCE_DATE_EPOCH \\
    -czf SOURCES/graft-{version}.tar.gz graft-{version}
rpmbuild -bb --nodeps --load tree/packaging/rpm/elsewhere.macros \\
    --define "_topdir /mnt" --define "_tmppath /tmp" --define "_rpmdir /mnt/RPMS" \\
    --define "dist .{dist}" --define "python3_version {python}" --define "_buildhost localhost" \\
    --define "use_source_date_epoch_as_buildtime 1" --define "build_mtime_policy clamp_to_source_date_epoch" \\
    --define "source_date_epoch_from_changelog 0" graft.spec
rpmlint --config tree/packaging/rpm/rpmlint.toml RPMS/*/*.rpm
"""


def build(workshop: Workshop, source: Source) -> None:
    """Write build/packages/*.rpm; rpmlint finds no error in them."""
    day = time.strftime("%a %b %d %Y", time.gmtime(source.epoch))
    spec = source.read("packaging/rpm/graft.spec").replace("@VERSION@", source.version)
    spec += f"\n%changelog\n* {day} {source.maintainer} - {source.version}-1\n- See CHANGELOG.md.\n"
    for dist, python in _DISTRIBUTIONS.items():
        script = _BUILD.format(version=source.version, dist=dist, python=python)
        job = Job("rpm", _RELEASE, _PACKAGES, script, results="RPMS/*/*.rpm")
        workshop.run(job, source, {"graft.spec": spec})
