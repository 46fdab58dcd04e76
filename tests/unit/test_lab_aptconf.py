# SPDX-License-Identifier: Apache-2.0
"""The lab finds the archives in every form that apt's configuration may have."""

from pathlib import Path

import pytest

from lab.graftlab.aptconf import (
    Mirrors,
    Source,
    choose_mirrors,
    forwarded_options,
    machine_mirrors,
    parse_deb822,
    parse_one_line,
)
from lab.graftlab.errors import LabError

DEB822 = """\
Types: deb
# URIs: http://commented.example/debian
URIs: http://main.example/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs:
 http://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_yields_enabled_binary_sources_only() -> None:
    assert list(parse_deb822(DEB822)) == [
        Source("http://main.example/debian", "bookworm", ("main", "contrib")),
        Source("http://main.example/debian", "bookworm-updates", ("main", "contrib")),
        Source("http://security.example/debian-security", "bookworm-security", ("main",)),
    ]


def test_one_line_form_with_options_and_comments() -> None:
    text = """\
# deb http://commented.example/debian trixie main
deb [arch=amd64 signed-by=/etc/apt/keyrings/a.gpg] http://main.example/debian trixie main contrib # why
deb-src http://source.example/debian trixie main
deb http://flat.example/ ./
"""
    assert list(parse_one_line(text)) == [
        Source("http://main.example/debian", "trixie", ("main", "contrib")),
        Source("http://flat.example", "./", ()),
    ]


def test_mirrors_are_told_apart_by_suite_not_by_address() -> None:
    mirrors = choose_mirrors(
        [
            Source("http://vendor.example/tools", "nodistro", ("main",)),
            Source("http://vendor.example/cloud", "cloud-sdk-bookworm", ("main",)),
            Source("http://one.example/x", "bookworm-security", ("main",)),
            Source("http://two.example/y", "bookworm-updates", ("main",)),
            Source("http://three.example/z", "bookworm", ("main",)),
        ]
    )
    assert mirrors == Mirrors(debian="http://two.example/y", security="http://one.example/x")


def test_a_source_without_main_is_no_mirror() -> None:
    with pytest.raises(LabError, match="names no Debian archive"):
        choose_mirrors([Source("http://one.example/debian", "trixie", ("non-free-firmware",))])


def test_lines_leave_out_security_where_there_is_no_archive_for_it() -> None:
    assert Mirrors("http://one.example/debian", None).lines("trixie", "trixie-security") == [
        "deb http://one.example/debian trixie main"
    ]


def test_both_forms_are_read_from_a_folder(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://list.example/debian trixie main\n")
    (parts / "debian.sources").write_text(DEB822)
    (parts / "other.list.disabled").write_text("deb http://disabled.example/debian trixie main\n")
    assert machine_mirrors(tmp_path) == Mirrors("http://list.example/debian", "http://security.example/debian-security")


def test_only_what_reaching_the_archive_depends_on_is_forwarded() -> None:
    dump = """\
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::Proxy "";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
DPkg::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
APT::Install-Recommends "1";
"""
    assert forwarded_options(dump) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::Check-Valid-Until "false";',
    ]
