# SPDX-License-Identifier: Apache-2.0
"""containerd: pods, as a kubelet asks for them, and containers by its own ctr."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from containers.images import PORT, Program
from service.place import run
from service.units import systemctl

UNIT = "containerd.service"
_CRI = ("/usr/lib/graft/tests/cri", "/run/containerd/containerd.sock")
_CONFIGURATION = Path("/etc/containerd/config.toml")
_PLUGIN = 'plugins."io.containerd.grpc.v1.cri"'
# What holds a pod's namespaces. Its own image is fetched from afar.
_PAUSE = Program("pause", ("/bin/busybox", "sleep", "86400"))


class Containerd:
    """The daemon, with a runtime handler for each network, as a cluster's RuntimeClass names one."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._before = _CONFIGURATION.read_text()
        self._networks: dict[str, Path] = {}

    def add_network(self, name: str, *plugins: Mapping[str, Any]) -> None:
        """Have pods of the handler ``name`` get a network of these plugins. The daemon is started afterwards."""
        folder = self._work / name
        folder.mkdir()
        network = {"cniVersion": "1.0.0", "name": name, "plugins": plugins}
        (folder / "10-pods.conflist").write_text(json.dumps(network))
        self._networks[name] = folder

    def start(self) -> None:
        """Start the daemon, and give it the image that holds pods."""
        lines = [f'[{_PLUGIN}]\nsandbox_image = "{_name(_PAUSE.name)}"', f'[{_PLUGIN}.cni]\nbin_dir = "/usr/lib/cni"']
        # Where one handler is named, the default one has to be as well.
        for name, network in {"runc": "", **self._networks}.items():
            handler = f"[{_PLUGIN}.containerd.runtimes.{name}]"
            lines.append(f'{handler}\nruntime_type = "io.containerd.runc.v2"\ncni_conf_dir = "{network}"')
        _CONFIGURATION.write_text("\n".join(["version = 2", *lines, ""]))
        systemctl("start", UNIT)
        root = self._work / "pause.tar"
        run("tar", "-C", "/", "-cf", root, "bin/busybox")
        self.load(_PAUSE, root)

    def load(self, program: Program, root: Path) -> None:
        """Make an image of a root's tar."""
        layer = root.read_bytes()
        configuration = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": program.command},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": [_name(program.name)], "Layers": ["layer.tar"]}]
        files = {"layer.tar": layer, "config.json": _json(configuration), "manifest.json": _json(manifest)}
        image = self._work / f"{program.name}-image.tar"
        with tarfile.open(image, "w") as archive:
            for name, content in files.items():
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
        run("ctr", "--namespace", "k8s.io", "images", "import", image)

    def restart(self) -> None:
        """Stop the daemon, and start it."""
        systemctl("restart", UNIT)

    def end(self) -> None:
        """Stop it. Pods that are there stay."""
        systemctl("stop", UNIT)
        _CONFIGURATION.write_text(self._before)


class Pod:
    """A pod of one container."""

    def __init__(self, name: str, configuration: Mapping[str, Any]) -> None:
        self.id = name
        self._configuration = configuration

    def start(self, program: Program) -> int:
        """Start the container, and return its process id."""
        configuration = {
            "metadata": {"name": program.name},
            "image": {"image": _name(program.name)},
            "command": program.command,
            "linux": {},
        }
        asked = {"podSandboxId": self.id, "config": configuration, "sandboxConfig": self._configuration}
        container = {"containerId": _cri("CreateContainer", asked)["containerId"]}
        _cri("StartContainer", container)
        status = _cri("ContainerStatus", {**container, "verbose": True})
        return int(json.loads(status["info"]["info"])["pid"])

    def address(self) -> str:
        """Return the address that the runtime says it has."""
        status = _cri("PodSandboxStatus", {"podSandboxId": self.id})["status"]
        return str(status["network"]["ip"])

    def stop(self) -> None:
        """Stop it; its network goes."""
        _cri("StopPodSandbox", {"podSandboxId": self.id})

    def remove(self) -> None:
        """Take it away, running or not."""
        _cri("RemovePodSandbox", {"podSandboxId": self.id})


class Kubelet:
    """Asks for pods as the one of a node does."""

    def run(self, name: str, handler: str, port: int) -> Pod:
        """Make a pod whose container's port is to be the host's ``port``."""
        asked = _pod(name, handler, port)
        return Pod(_cri("RunPodSandbox", asked)["podSandboxId"], asked["config"])

    def refused(self, name: str, handler: str, port: int) -> str:
        """Return what is said where one cannot be made."""
        status, answer, said = _ask("RunPodSandbox", _pod(name, handler, port))
        assert status, answer
        return said

    def end(self) -> None:
        """Take all pods away that are there."""
        for one in _cri("ListPodSandbox", {}).get("items", []):
            pod = Pod(one["id"], {})
            pod.stop()
            pod.remove()


def ctr(*words: object, check: bool = True) -> str:
    """Return what ctr prints; where it fails, the test does, unless ``check`` says otherwise."""
    return run("ctr", *words, check=check)


def _pod(name: str, handler: str, port: int) -> dict[str, Any]:
    configuration = {
        "metadata": {"name": name, "namespace": "shop", "uid": f"uid-of-{name}"},
        "hostname": name,
        "portMappings": [{"protocol": "TCP", "containerPort": PORT, "hostPort": port}],
        "linux": {},
    }
    return {"config": configuration, "runtimeHandler": handler}


def _cri(method: str, request: Mapping[str, Any]) -> Any:
    """Return what the runtime answers to a kubelet."""
    status, answer, said = _ask(method, request)
    assert status == 0, f"{method}: {said}"
    return json.loads(answer)


def _ask(method: str, request: Mapping[str, Any]) -> tuple[int, str, str]:
    command: Sequence[str] = (*_CRI, f"RuntimeService/{method}")
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def _name(image: str) -> str:
    return f"graft.test/{image}:1"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
