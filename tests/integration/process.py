# SPDX-License-Identifier: Apache-2.0
"""graftd with a played kernel, as a process that tests start and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from integration import played

ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0


class Graftd:
    """A folder with a configuration, a store and sockets; the process may come and go."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        self.folder = folder
        self.run = folder / "run"
        self.state = folder / "state"
        self.run.mkdir()
        self.state.mkdir()
        self.config = folder / "graftd.toml"
        self.config.write_text(
            f"""
[store]
path = "{self.state}/graftd.db"
[server]
admin_socket = "{self.run}/admin.sock"
socket = "{self.run}/graftd.sock"
read_only_socket = "{self.run}/read-only.sock"
[log]
format = "json"
{configuration}"""
        )
        self.log = folder / "log"
        self.target = f"unix:{self.run}/admin.sock"
        self.kernel_path = folder / "kernel.sock"
        self._kernel: BaseProcess | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def play_kernel(self, namespaces: list[str]) -> played.Remote:
        """A kernel in a process of its own, with these namespaces of ip netns."""
        self._kernel = played.start(self.kernel_path)
        remote = played.Remote(self.kernel_path)
        for name in namespaces:
            remote.add_namespace(name)
        return remote

    def start(self, environment: dict[str, str] | None = None, *, ready: bool = True) -> None:
        command = [sys.executable, "-m", "integration.serve", os.fspath(self.config)]
        if self._kernel is not None:
            command.append(os.fspath(self.kernel_path))
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "build/stubs", ROOT / "clients/python")))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": path, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _START_SECONDS
        while b'"graftd serves"' not in self._said():
            assert self._process.poll() is None, f"graftd ended with {self._process.returncode}: {self._said()!r}"
            assert time.monotonic() < until, f"graftd does not serve: {self._said()!r}"
            time.sleep(0.01)

    def kill(self) -> None:
        """SIGKILL, now."""
        assert self._process is not None
        self._process.kill()
        self.wait_killed()

    def wait_killed(self, seconds: float = 60.0) -> None:
        """Until a failpoint has killed it."""
        assert self._process is not None
        status = self._process.wait(seconds)
        assert status == -signal.SIGKILL, f"graftd ended with {status}: {self._said()!r}"
        self._process = None
        self.log.write_bytes(b"")

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(30)
        self._process = None
        return status

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._kernel is not None:
            self._kernel.terminate()
            self._kernel.join()

    def _said(self) -> bytes:
        return self.log.read_bytes() if self.log.exists() else b""
