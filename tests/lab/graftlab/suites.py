# SPDX-License-Identifier: Apache-2.0
"""What the lab offers: the suites, and what is installed in their guests."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Installed in every guest. The compiler and the headers are there because the module and the C programs of
# a guest are built in the guest's own root, against its own libraries.
GUEST_PACKAGES = (
    # system
    "systemd", "systemd-sysv", "dbus", "udev", "kmod", "busybox-static", "util-linux", "procps", "psmisc",
    "libcap2-bin", "strace", "bpftool",
    # network
    "iproute2", "iputils-ping", "nftables", "iptables", "ethtool", "socat", "netcat-openbsd", "dnsmasq-base",
    # programs that are grafted unmodified
    "iperf3", "sockperf", "curl", "nginx-light", "redis-server", "redis-tools",
    # Python
    "python3", "python3-pyroute2", "python3-grpcio", "python3-protobuf", "python3-structlog", "python3-systemd",
    "python3-yaml", "python3-pytest", "python3-hypothesis", "sqlite3", "openssl",
    # building
    "gcc", "libc6-dev", "musl-tools", "make", "liburing-dev", "libbpf-dev", "pkgconf",
    "protobuf-compiler", "protobuf-compiler-grpc", "libprotobuf-dev",
    # wanted by the kernel packages; never run
    "initramfs-tools",
)  # fmt: skip
# What machines have besides, on which the project's own packages are installed. What these ask for is there.
MACHINE_PACKAGES = (
    *(*GUEST_PACKAGES, "dkms"),
    *("podman", "crun", "netavark", "ca-certificates", "man-db", "bash-completion"),
)
# What the benchmarks hold grafting against, and what they load servers with. They are run on Debian 13.
BENCH_PACKAGES = ("wrk", "passt", "bypass4netns", "podman", "crun", "netavark", "uidmap", "slirp4netns")
# What the Go programs, and the BPF program in one of them, are built, checked and tested with. The race detector wants
# a C compiler; what is generated from proto/ is compared with what protoc makes.
GO_PACKAGES = (
    *("golang-1.26-go", "clang", "llvm", "libbpf-dev", "make", "protobuf-compiler", "libprotobuf-dev"),
    *("gcc", "libc6-dev", "iproute2", "ca-certificates"),
)
GO_PATH = "/usr/lib/go-1.26/bin"
# What the tests of containers have besides: engines, runtimes, and a program that compiles as it runs. docker.io brings
# containerd, with ctr and the plugin for Kubernetes; Debian 13 has neither nerdctl, crictl, CRI-O nor a kubelet.
CONTAINER_PACKAGES = {
    "bookworm": ("podman", "crun", "runc", "netavark", "ca-certificates", "nodejs"),
    "trixie": (
        *("podman", "crun", "runc", "netavark", "ca-certificates", "containernetworking-plugins"),
        *("docker.io", "docker-cli", "lxc", "nodejs"),
    ),
}
KERNEL_PACKAGES = ("linux-image-amd64", "linux-headers-amd64")
# Masked, so that a guest that runs systemd starts none of them by itself.
QUIET_SERVICES = ("nginx", "redis-server", "dnsmasq", "iperf3")


@dataclass(frozen=True)
class Release:
    """A Debian release that guests are made of, and the suites whose kernels its root holds.

    ``later`` is what apt-get is asked for to install a second kernel on a machine, ``more`` is installed besides what
    is in every guest, and ``idle`` are units that packages enable and tests start. ``image`` is the root's name.
    """

    name: str
    image: str
    pockets: tuple[str, ...]
    kernels: tuple[str, ...]
    later: tuple[str, ...]
    more: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """What a user picks with --suite: a release's root with one of the kernels that it holds."""

    name: str
    release: Release
    kernel: str


def _with_containers(release: Release, *idle: str) -> Release:
    """Return the release with what the tests of containers want, and its own kernel alone."""
    return replace(
        release,
        image=f"{release.name}-containers",
        kernels=(release.name,),
        more=CONTAINER_PACKAGES[release.name],
        idle=idle,
    )


_ENGINE_UNITS = (
    *("docker.service", "docker.socket", "containerd.service"),
    *("lxc.service", "lxc-net.service", "lxc-monitord.service"),
)
_BOOKWORM = Release(
    "bookworm",
    "bookworm",
    ("bookworm", "bookworm-updates", "bookworm-security"),
    ("bookworm",),
    ("linux-image-cloud-amd64", "linux-headers-cloud-amd64"),
)
_TRIXIE = Release(
    "trixie",
    "trixie",
    ("trixie", "trixie-updates", "trixie-security", "trixie-backports"),
    ("trixie", "trixie-backports"),
    tuple(f"{package}/trixie-backports" for package in KERNEL_PACKAGES),
    more=BENCH_PACKAGES,
)
TOOLS_RELEASE = _TRIXIE
SUITES = {
    suite.name: suite
    for suite in (
        Suite("bookworm", _BOOKWORM, "bookworm"),
        Suite("bookworm-containers", _with_containers(_BOOKWORM), "bookworm"),
        Suite("trixie", _TRIXIE, "trixie"),
        Suite("trixie-backports", _TRIXIE, "trixie-backports"),
        Suite("trixie-containers", _with_containers(_TRIXIE, *_ENGINE_UNITS), "trixie"),
    )
}
DEFAULT_SUITE = "trixie"
