# SPDX-License-Identifier: Apache-2.0
"""Packages for the rpm family, built with Debian's rpmbuild.

There is one set for each distribution, since the folder of Python's packages has its version in its name. What the
first one's scriptlets do is tested in the root that built it.
"""

from __future__ import annotations

import time

from packages.source import Source
from packages.workshop import Job, Workshop

# What the test has to say, in build/packages.
REPORT = "rpm.xml"

_RELEASE = "trixie"
_PACKAGES = (
    *("rpm", "rpmlint", "elfutils", "debugedit", "gcc", "libc6-dev", "make", "file"),
    *("python3", "libprotobuf-dev", "protobuf-compiler", "protobuf-compiler-grpc"),
    # What Fedora and EL lack goes along.
    *("python3-protobuf", "python3-structlog"),
    # What scriptlets call, and what tests them.
    *("systemd", "dkms", "passwd", "python3-pytest"),
)
# What %dist and python3_version are there.
_DISTRIBUTIONS = {"fc43": "3.14", "el10": "3.12"}
# $1 is the version, $2 the folder for what is built from graft.spec.
_RPMBUILD = """
build() {{
    mkdir -p SOURCES graft-$1
    cp -r tree/. graft-$1
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@$SOURCE_DATE_EPOCH \\
        -czf SOURCES/graft-$1.tar.gz graft-$1
    rpmbuild -bb --nodeps --load tree/packaging/rpm/elsewhere.macros \\
        --define "_topdir /mnt" --define "_tmppath /tmp" --define "_rpmdir /mnt/$2" \\
        --define "_rpmfilename %%{{NAME}}-%%{{VERSION}}-%%{{RELEASE}}.%%{{ARCH}}.rpm" \\
        --define "dist .{dist}" --define "python3_version {python}" --define "_buildhost localhost" \\
        --define "use_source_date_epoch_as_buildtime 1" --define "build_mtime_policy clamp_to_source_date_epoch" \\
        --define "structlog_version $(dpkg-query -f '${{source:Upstream-Version}}' -W python3-structlog)" \\
        --define "source_date_epoch_from_changelog 0" graft.spec
}}
"""
_BUILD = """
build {version} RPMS
rpmlint --config tree/packaging/rpm/rpmlint.toml RPMS/*.rpm
"""
_TEST = """
build {version} installed
sed -i 's/^Release: .*/Release: 2%{{?dist}}/' graft.spec
build {version} released
echo '# Newer.' >>tree/packaging/graftd.toml
sed -i 's/^Version: .*/Version: {version}.1/' graft.spec
build {version}.1 newer
mkdir /tmp/upper /tmp/work /tmp/root
mount -t overlay overlay -o lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work /tmp/root
for folder in /mnt /proc /dev; do mount --bind $folder /tmp/root$folder; done
mount -t tmpfs tmpfs /tmp/root/tmp
mount -t tmpfs tmpfs /tmp/root/run
chroot /tmp/root python3 -m pytest -v --junitxml=/mnt/{report} /mnt/tree/tests/packages/root
"""


def build(workshop: Workshop, source: Source) -> None:
    """Write *.rpm; rpmlint finds no error in them."""
    for dist, python in _DISTRIBUTIONS.items():
        script = (_RPMBUILD + _BUILD).format(version=source.version, dist=dist, python=python)
        workshop.run(Job("rpm", _RELEASE, _PACKAGES, script, results="RPMS/*.rpm"), source, _spec(source))


def test(workshop: Workshop, source: Source) -> None:
    """See whether what the first set does to a root is right; write the report of it."""
    dist, python = next(iter(_DISTRIBUTIONS.items()))
    script = (_RPMBUILD + _TEST).format(version=source.version, dist=dist, python=python, report=REPORT)
    workshop.run(Job("rpm", _RELEASE, _PACKAGES, script, results=REPORT), source, _spec(source))


def _spec(source: Source) -> dict[str, str]:
    day = time.strftime("%a %b %d %Y", time.gmtime(source.epoch))
    spec = source.read("packaging/rpm/graft.spec").replace("@VERSION@", source.version)
    spec += f"\n%changelog\n* {day} {source.maintainer} - {source.version}-1\n- See CHANGELOG.md.\n"
    return {"graft.spec": spec}
