# SPDX-License-Identifier: Apache-2.0
"""Go modules come from where this machine's own go would get them."""

from pathlib import Path

import pytest

from lab.graftlab.goconf import machine_certificates, machine_settings


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Path:
    file = tmp_path / ".config/go/env"
    file.parent.mkdir(parents=True)
    file.write_text("# by hand\nGOPROXY=https://written.example,direct\nGOFLAGS=-mod=mod\nGOSUMDB=\n")
    return tmp_path


def test_what_go_env_wrote_counts_and_what_does_not_reach_a_proxy_is_left(home: Path) -> None:
    assert machine_settings({"HOME": str(home)}) == {"GOPROXY": "https://written.example,direct"}


def test_the_environment_goes_before_the_file(home: Path) -> None:
    environment = {"HOME": str(home), "GOPROXY": "https://said.example", "https_proxy": "http://[::1]:3128", "A": "b"}
    assert machine_settings(environment) == {"GOPROXY": "https://said.example", "https_proxy": "http://[::1]:3128"}


def test_the_file_can_be_elsewhere_or_off(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("GOSUMDB=off\n")
    assert machine_settings({"HOME": str(home), "GOENV": str(tmp_path / "elsewhere")}) == {"GOSUMDB": "off"}
    assert machine_settings({"HOME": str(home), "GOENV": "off"}) == {}
    assert machine_settings({"XDG_CONFIG_HOME": str(home / ".config")})["GOPROXY"].startswith("https://written")
    assert machine_settings({"HOME": "/nonexistent"}) == {}


def test_authorities_are_those_that_the_machine_names(tmp_path: Path) -> None:
    own = tmp_path / "own.crt"
    assert machine_certificates({"SSL_CERT_FILE": str(own)}) is None
    own.touch()
    assert machine_certificates({"SSL_CERT_FILE": str(own)}) == own
