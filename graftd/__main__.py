# SPDX-License-Identifier: Apache-2.0
"""graftd: the service."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import NoReturn

from graftd import __version__

EXIT_FAILED = 1
EXIT_CONFIG = 78  # EX_CONFIG, sysexits.h: another start would not mend it


def parser() -> argparse.ArgumentParser:
    """The command line; the manual page and shells' completions are made from it as well."""
    made = argparse.ArgumentParser(
        prog="graftd",
        description="Keeps the endpoint tables of network namespaces as they are to be, and serves its API over gRPC.",
        epilog="It runs as a systemd service; see 'systemctl status graftd' and 'journalctl -u graftd'.",
    )
    made.add_argument("--config", metavar="FILE", type=Path, help="the configuration (/etc/graftd/graftd.toml)")
    made.add_argument("--check-config", metavar="FILE", type=Path, help="say what is wrong in a configuration, and end")
    made.add_argument("--version", action="version", version=f"graftd {__version__}")
    return made


def main() -> int:
    options = parser().parse_args()
    from graftd.config import DEFAULT_PATH, Config, ConfigError  # --help and --version need none of it

    path = options.check_config or options.config or DEFAULT_PATH
    try:
        config = Config.load(path)
    except ConfigError as error:
        for problem in error.problems:
            print(f"graftd: {problem}", file=sys.stderr)
        return EXIT_CONFIG
    return _serve(config, path) if options.check_config is None else _check(config, path)


def _check(config: object, path: Path) -> int:
    """Whether all whom the roles name are there: the rest was found right."""
    from graftd.access import UnknownSubjectError
    from graftd.api.access import Access
    from graftd.config import Config

    assert isinstance(config, Config)  # noqa: S101 main() made it
    try:
        Access(config.access, host_cookie=0, registered=lambda _cookie: None)
    except UnknownSubjectError as error:
        print(f"graftd: {path}: {error}", file=sys.stderr)
        return EXIT_CONFIG
    print(f"{path}: nothing is wrong")
    return 0


def _serve(config: object, path: Path) -> int:
    # Else grpcio writes a line to standard error for each TLS handshake that fails. It asks this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from graftd import log
    from graftd.access import UnknownSubjectError
    from graftd.app import App, PartFailedError
    from graftd.config import Config, ConfigError
    from graftd.errors import GraftError, StoreDamagedError, StoreVersionError

    assert isinstance(config, Config)  # noqa: S101 main() made it
    records = log.set_up(config.log.level, config.log.format)

    async def serve() -> None:
        await App(config, records, config_path=path).run()

    try:
        asyncio.run(serve())
    except GraftError as error:
        what = "ends" if isinstance(error, PartFailedError) else "cannot start"
        log.logger().critical(f"graftd {what}: {error}")
        lasting = isinstance(error, (ConfigError, UnknownSubjectError, StoreDamagedError, StoreVersionError))
        return EXIT_CONFIG if lasting else EXIT_FAILED
    finally:
        records.close()
    return 0


def entry() -> NoReturn:
    from graftd.ending import run

    run("graftd", main)


if __name__ == "__main__":
    entry()
