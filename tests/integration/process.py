# SPDX-License-Identifier: Apache-2.0
"""graftd with a played kernel, as a process that tests start and kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from integration import played

ROOT = Path(__file__).resolve().parents[2]
# A test run that is killed leaves no graftd behind.
_DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
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
        self._logged = 0  # bytes, before the process that runs now

    def play_kernel(self, namespaces: list[str]) -> played.Remote:
        """A kernel in a process of its own, with these namespaces of ip netns."""
        self._kernel = played.start(self.kernel_path)
        remote = played.Remote(self.kernel_path)
        for name in namespaces:
            remote.add_namespace(name)
        return remote

    def start(
        self,
        environment: dict[str, str] | None = None,
        *,
        ready: bool = True,
        prefix: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> None:
        """prefix: a command that runs the one that follows it."""
        command = [*prefix, sys.executable, "-m", "integration.serve", os.fspath(self.config)]
        if self._kernel is not None:
            command.append(os.fspath(self.kernel_path))
        self._run(command, environment or {}, pass_fds, ready=ready)

    def start_real(self) -> None:
        """As its unit starts it, with the kernel of this machine."""
        self._run(self._real, {}, (), ready=True)

    @property
    def _real(self) -> list[str]:
        return [sys.executable, "-m", "graftd", "--config", os.fspath(self.config)]

    def _run(
        self, command: Sequence[str], environment: dict[str, str], pass_fds: Sequence[int], *, ready: bool
    ) -> None:
        self._logged = len(self._said(0))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_DIE_WITH_PARENT, *command],
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )
        if ready:
            self.wait_ready()

    def start_in_vain(self, *prefix: str) -> tuple[int, str]:
        """As start_real, until it refuses; its exit status and what it said."""
        return self._outcome([*prefix, *self._real])

    def check(self) -> tuple[int, str]:
        """What --check-config says of the configuration, and its exit status."""
        return self._outcome([sys.executable, "-m", "graftd", "--check-config", os.fspath(self.config)])

    def _outcome(self, command: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

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
        self._logged = 0

    def stop(self) -> int:
        """SIGTERM, and wait_end."""
        assert self._process is not None
        self._process.terminate()
        return self.wait_end()

    def wait_end(self) -> int:
        """The exit status."""
        assert self._process is not None
        status = self._process.wait(30)
        self._process = None
        return status

    def reload(self) -> None:
        """SIGHUP, and what the configuration says now holds."""
        before = len(self.records(event_kind="CONFIGURATION_RELOADED"))
        os.kill(self.pid, signal.SIGHUP)
        until = time.monotonic() + _START_SECONDS
        while len(self.records(event_kind="CONFIGURATION_RELOADED")) == before:
            assert time.monotonic() < until, f"the configuration was not read anew: {self._said()!r}"
            time.sleep(0.01)

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

    @property
    def kernel_pid(self) -> int:
        assert self._kernel is not None
        assert self._kernel.pid is not None
        return self._kernel.pid

    def records(self, **wanted: object) -> list[dict[str, Any]]:
        """What the process has logged, as far as it has these values."""
        lines = self._said().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"\n")]
        return [one for one in found if wanted.items() <= one.items()]

    @staticmethod
    def environment(more: dict[str, str] | None = None) -> dict[str, str]:
        path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "build/stubs", ROOT / "clients/python")))
        return {**os.environ, "PYTHONPATH": path, **(more or {})}

    def _said(self, start: int | None = None) -> bytes:
        """start: from this byte on; what the process that runs now said, unless it is given."""
        if not self.log.exists():
            return b""
        return self.log.read_bytes()[self._logged if start is None else start :]
