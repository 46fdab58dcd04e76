# SPDX-License-Identifier: Apache-2.0
"""Under its unit: a listener for TLS, whose key systemd hands over and whose address may come late; metrics; how it
ends where the configuration is wrong; what its sandbox hides."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from service.place import cli, cli_json, cli_outcome, eventually, run
from service.units import SERVICE, journal, pid, show, state, systemctl

PATIENCE = 300  # seconds

_CONFIGURATION = Path("/etc/graftd/graftd.toml")
_PUBLIC = Path("/etc/graftd/tls")
_DROP_IN = Path("/run/systemd/system/graftd.service.d/test.conf")
_METRICS = Path("/run/graftd/metrics.sock")
_PORT, _METRICS_PORT = 7443, 9469
_LATE = "192.0.2.77"  # no address of this machine's, until a test adds it

_ROLES = """
[[roles]]
role = "admin"
uids = [0]

[[roles]]
role = "viewer"
certificates = ["reader.example"]
namespaces = ["*"]
"""
_TLS = """
[server.tls]
listen = "{host}:{port}"
certificate = "/etc/graftd/tls/server.crt"
key = "/run/credentials/graftd.service/tls.key"
client_ca = "/etc/graftd/tls/authority.crt"
"""


@contextmanager
def configured(configuration: str, *settings: str) -> Iterator[None]:
    """What is in graftd.toml, and in a drop-in's [Service]; the service is to be started anew."""
    before = _CONFIGURATION.read_bytes() if _CONFIGURATION.exists() else None
    _CONFIGURATION.parent.mkdir(exist_ok=True)
    _CONFIGURATION.write_text(_ROLES + configuration)
    _DROP_IN.parent.mkdir(parents=True)
    _DROP_IN.write_text("\n".join(["[Service]", *settings, ""]))
    systemctl("daemon-reload")
    try:
        yield
    finally:
        shutil.rmtree(_DROP_IN.parent)
        if before is None:
            _CONFIGURATION.unlink()
        else:
            _CONFIGURATION.write_bytes(before)
        systemctl("daemon-reload")
        systemctl("reset-failed", SERVICE)
        systemctl("restart", SERVICE)


@pytest.fixture(scope="module", autouse=True)
def _all_is_as_before() -> Iterator[None]:
    """The suite's other tests find the service as the package has it."""
    before = _seen()
    yield
    assert _seen() == before


def _seen() -> list[object]:
    listening = run("ss", "-Hltn").split()
    run_folder = sorted(path.name for path in Path("/run/graftd").iterdir())
    return [cli_json("status")["state"], show(SERVICE, "DropInPaths"), listening, run_folder]


@pytest.fixture(scope="module", name="certificates")
def _certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a client shows, and graftd's key, which is root's alone and hidden from graftd by PrivateTmp=;
    the certificates are in _PUBLIC."""
    folder = tmp_path_factory.mktemp("tls")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=test", "-keyout", "ca.key", "-out", "authority.crt")
    for name, alternative in (("server", f"IP:127.0.0.1,IP:{_LATE}"), ("reader", "DNS:reader.example")):
        openssl("req", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "csr")
        (folder / "extensions").write_text(f"subjectAltName={alternative}\n")
        signer = ("-CA", "authority.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", "csr", *signer, "-extfile", "extensions", "-out", f"{name}.crt")
    key = folder / "server.key"
    key.chmod(0o600)
    assert key.is_relative_to("/tmp")
    assert key.stat().st_uid == 0
    _PUBLIC.mkdir()
    for name in ("server.crt", "authority.crt"):
        shutil.copy(folder / name, _PUBLIC)
    yield folder
    shutil.rmtree(_PUBLIC)


def _credential(certificates: Path) -> str:
    return f"LoadCredential=tls.key:{certificates}/server.key"


def _over_tcp(certificates: Path, words: str, host: str = "127.0.0.1") -> tuple[int, str]:
    secrets = f"--tls-ca {certificates}/authority.crt --tls-cert {certificates}/reader.crt"
    return cli_outcome(f"--target {host}:{_PORT} {secrets} --tls-key {certificates}/reader.key {words}")


def _listens(host: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((host, _PORT)) == 0


def test_a_key_that_systemd_hands_over(certificates: Path) -> None:
    with configured(_TLS.format(host="127.0.0.1", port=_PORT), _credential(certificates)):
        systemctl("restart", SERVICE)
        assert show(SERVICE, "StatusText") == ["ready"]
        status, said = _over_tcp(certificates, "status -o json")
        assert status == 0, said
        status, said = _over_tcp(certificates, "freeze --all")
        assert status != 0
        assert "certificate reader.example does not have" in said, "it is this caller, and a viewer"
        systemctl("reload", SERVICE)
        assert show(SERVICE, "StatusText", "ReloadResult") == ["ready", "success"]
        keys = list(Path(f"/proc/{pid()}/root/run/credentials/graftd.service").iterdir())
        assert [path.name for path in keys] == ["tls.key"]
    assert not _listens("127.0.0.1")


def test_an_address_that_comes_late(certificates: Path) -> None:
    """As after a boot: the unix sockets are served meanwhile, by one and the same process."""
    with configured(_TLS.format(host=_LATE, port=_PORT), _credential(certificates)):
        systemctl("restart", SERVICE)
        begun = pid()
        (text,) = show(SERVICE, "StatusText")
        assert text.startswith(f"degraded: server.tls: graftd cannot listen on {_LATE} port {_PORT}: Cannot assign")
        assert cli_json("status")["state"] == "ready"
        run("ip", "address", "add", f"{_LATE}/32", "dev", "lo")
        try:
            eventually(lambda: _listens(_LATE), "it listens once the address is there")
            assert _over_tcp(certificates, "status", _LATE)[0] == 0
            eventually(lambda: show(SERVICE, "StatusText") == ["ready"], "it says so")
        finally:
            run("ip", "address", "delete", f"{_LATE}/32", "dev", "lo")
        assert (pid(), show(SERVICE, "NRestarts")) == (begun, ["0"])


def _scraped(body: bytes) -> None:
    assert b'graftd_namespaces{state="present"}' in body, body


def test_metrics_by_a_unix_socket() -> None:
    with configured(f'[metrics]\nlisten = "{_METRICS}"\n'):
        systemctl("restart", SERVICE)
        status = _METRICS.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o660, Path("/var/lib/graftd").stat().st_uid)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(_METRICS))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: metrics\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        _scraped(answer)
    assert not _METRICS.exists()


def test_metrics_by_a_loopback_address() -> None:
    with configured(f'[metrics]\nlisten = "127.0.0.1:{_METRICS_PORT}"\n'):
        systemctl("restart", SERVICE)
        with urllib.request.urlopen(f"http://127.0.0.1:{_METRICS_PORT}/metrics", timeout=60) as answer:
            _scraped(answer.read())


_NOBODY = '[[roles]]\nrole = "viewer"\nusers = ["nobody-like-this"]\nnamespaces = ["*"]\n'
_NO_KEY = _TLS.format(host="127.0.0.1", port=_PORT)


@pytest.mark.usefixtures("certificates")
@pytest.mark.parametrize(
    ("configuration", "reloads", "sentence"),
    [
        (_NOBODY, False, "the user 'nobody-like-this', and the system has none"),
        (_NO_KEY, True, "tls.key: it cannot be read: No such"),  # which the start alone looks for
    ],
    ids=["user", "key"],
)
def test_a_configuration_that_no_start_mends(configuration: str, reloads: bool, sentence: str) -> None:
    with configured(configuration):
        begun, told = pid(), journal(1000).count(sentence)
        done = subprocess.run(["systemctl", "reload", SERVICE], capture_output=True, check=False)
        assert (done.returncode == 0) is reloads
        if not reloads:
            eventually(lambda: journal(1000).count(sentence) > told, "the journal has why it was not reloaded")
        assert (pid(), state()) == (begun, "active"), "a reload of it ends nothing"
        told = journal(1000).count(sentence)
        done = subprocess.run(["systemctl", "restart", SERVICE], capture_output=True, check=False)
        assert done.returncode != 0
        time.sleep(3)  # RestartSec= is one
        assert show(SERVICE, "ActiveState", "ExecMainStatus", "NRestarts") == ["failed", "78", "0"]
        eventually(lambda: journal(1000).count(sentence) > told, "the journal has why it did not start")
    assert state() == "active"


_HIDDEN = {
    "user": ("/run/user", "ProtectHome=no"),
    "root": ("/root", "ProtectHome=no"),
    "tmp": ("/tmp", "PrivateTmp=no"),
}


@pytest.fixture(name="hidden")
def _hidden() -> Iterator[dict[str, Path]]:
    """A namespace, and the same file of it in each place that the sandbox hides."""
    run("ip", "netns", "add", "hidden")
    places = {name: Path(folder, "graft-test", "hidden") for name, (folder, _) in _HIDDEN.items()}
    for path in places.values():
        path.parent.mkdir(mode=0o700)
        path.touch()
    yield places
    for path in places.values():
        _unmount(path, check=False)
        shutil.rmtree(path.parent)
    run("ip", "netns", "delete", "hidden")
    for name in places:
        cli_outcome(f"delete-namespace {name} --force")


def test_a_namespace_where_the_sandbox_hides_it(hidden: dict[str, Path]) -> None:
    """graftd does not see it, doctor says what would show it, and that does."""
    for name, path in hidden.items():
        run("mount", "--bind", "/run/netns/hidden", path)
        cli(f"add-namespace {name} --path {path}")
        assert _is(name, "absent")
        folder, setting = _HIDDEN[name]
        remedy = f"hides {folder} from it: systemctl edit graftd, [Service] {setting}, and restart it"
        (found,) = [one for one in _findings(name) if one["code"] == "namespace-absent"]
        assert remedy in found["remedy"]
    # They are one namespace, which one resource at most stands for.
    for path in hidden.values():
        _unmount(path)
    with configured("", *{setting for _, setting in _HIDDEN.values()}):
        systemctl("restart", SERVICE)
        for name, path in hidden.items():
            assert _is(name, "absent")
            run("mount", "--bind", "/run/netns/hidden", path)
            eventually(partial(_is, name, "present"), "it comes while graftd runs")
            _unmount(path)
            eventually(partial(_is, name, "absent"), "it goes")


def _unmount(path: Path, *, check: bool = True) -> None:
    """As 'ip netns delete' does it: graftd may be looking at what is there."""
    run("umount", "--lazy", path, check=check)


def _is(name: str, state: str) -> bool:
    return bool(cli_json(f"show-namespace {name}")["state"] == state)


def _findings(name: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(cli_outcome(f"doctor {name} -o json")[1])
    return found
