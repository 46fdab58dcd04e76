# SPDX-License-Identifier: Apache-2.0
"""One run of the command: its namespace, its connection, what it prints and whom it asks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from graft_client import Client, GraftdError, Tls, connect
from graftcli import output
from graftcli.cmdline import Args, UsageError
from graftcli.forms import as_dict
from ip_graft.values import number
from ip_graft.values import safe_sentence as safe

if TYPE_CHECKING:
    from google.protobuf.message import Message

Resource = TypeVar("Resource", bound="Message")
ALL = "namespaces/-"
_SECONDS_MAX = 24 * 3600


class Session:
    """What every command is given."""

    def __init__(self, args: Args) -> None:
        self._args = args
        self._client: Client | None = None
        self.form = args.text("output") or ("json" if "json" in args else "table")
        self.dry_run = "dry-run" in args
        self.colors = output.Colors(on=output.colors_wanted(args.text("color") or "auto"))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client:
            self._client.close()

    @property
    def client(self) -> Client:
        """Connected at first use."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> Client:
        args = self._args
        given = args.text("timeout")
        seconds = float(number(given, "number of seconds", _SECONDS_MAX)) if given else 30.0
        if seconds == 0:
            raise UsageError("'0' is no timeout: expected a number of seconds from 1")
        files = [
            args.text(f"tls-{part}") or os.environ.get(f"GRAFTD_TLS_{part.upper()}") for part in ("ca", "cert", "key")
        ]
        ca, certificate, key = (Path(file) if file else None for file in files)
        tls = None
        if ca and certificate and key:
            tls = Tls(ca, certificate, key, args.text("tls-name"))
        elif ca or certificate or key:
            raise UsageError("certificates come together: say --tls-ca, --tls-cert and --tls-key")
        return connect(args.text("target"), tls=tls, timeout=seconds)

    # Which namespace

    def namespace(self, given: str | None = None) -> str:
        """The one namespace that is meant, as a resource name."""
        found = given or self._args.text("namespace") or os.environ.get("GRAFT_NAMESPACE")
        if not found:
            raise UsageError("which namespace is meant? Say -n NAME, or set GRAFT_NAMESPACE")
        return namespace_name(found)

    def parent(self) -> str:
        """What a list covers: the namespace that was named, or all."""
        if "all-namespaces" in self._args:
            if "namespace" in self._args:
                raise UsageError("-n names one namespace and -A means all: say one of them")
            return ALL
        found = self._args.text("namespace") or os.environ.get("GRAFT_NAMESPACE")
        return namespace_name(found) if found else ALL

    def resource(self, collection: str, word: str) -> str:
        """The name of a resource in the namespace; a whole resource name stands for itself."""
        if word.startswith("namespaces/"):
            return word
        return f"{self.namespace()}/{collection}/{word}"

    # Output

    @property
    def plain(self) -> bool:
        """Whether values are asked for, as programs read them: JSON or YAML."""
        return self.form in ("json", "yaml")

    def write(self, value: Any) -> None:
        """A value where `plain`."""
        output.write_value(value, self.form)

    def show(self, items: Iterable[Resource], columns: Sequence[output.Column[Resource]]) -> None:
        """A list, in the form that was asked for."""
        found = list(items)
        if self.plain:
            self.write([as_dict(one) for one in found])
        elif self.form == "name":
            for one in found:
                print(name_of(one))
        else:
            wide = self.form == "wide"
            output.write_table(found, [one for one in columns if wide or not one.wide], self.colors)

    def tell(self, item: Resource, columns: Sequence[output.Column[Resource]]) -> None:
        """One thing with all that is known of it."""
        if not self._written(item):
            output.write_fields(item, columns, self.colors)

    def changed(self, verb: str, item: Message) -> None:
        """A change that was made: `verb` as in created; with --dry-run, that would be made."""
        if not self._written(item):
            self.done(f"{name_of(item)} {verb}")

    def _written(self, item: Message) -> bool:
        """Print one thing where its form is one for programs; whether it is."""
        if self.plain:
            self.write(as_dict(item))
        elif self.form == "name":
            print(name_of(item))
        else:
            return False
        return True

    def done(self, sentence: str) -> None:
        """The same where there is nothing to show."""
        print(f"{safe(sentence)}{' (dry run: nothing was done)' if self.dry_run else ''}")

    def aborted(self, count: int) -> None:
        """How many live sockets a change ended."""
        if count:
            self.say(f"{output.counted(count, 'live socket')} {'would be ' if self.dry_run else ''}aborted")

    def say(self, sentence: str) -> None:
        """A remark for people."""
        print(safe(sentence), file=sys.stderr)

    def confirm(self, question: str) -> None:
        """Ask on a terminal, unless --yes; elsewhere nobody could answer, so what was asked for is done."""
        if self.dry_run or "yes" in self._args or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return
        sys.stderr.write(f"{safe(question)} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise GraftdError("nothing was done", status="CANCELLED")

    def progress(self) -> Callable[[str], None]:
        """What shows how far long work is, on a terminal alone; "" clears it."""
        if not sys.stderr.isatty():
            return lambda _: None

        def show(text: str) -> None:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()

        return show


def namespace_name(word: str) -> str:
    """A resource name from an id or a resource name."""
    name = word if word.startswith("namespaces/") else f"namespaces/{word}"
    if name.count("/") != 1 or name == "namespaces/":
        raise UsageError(f"'{word}' is no namespace: expected a name as in web")
    return name


def name_of(item: object) -> str:
    """What -o name prints."""
    name = getattr(item, "name", "") or getattr(item, "namespace", "")
    return str(name or getattr(item, "netns_cookie", ""))


def last(name: str) -> str:
    """The id in a resource name."""
    return name.rpartition("/")[2]


def middle(name: str) -> str:
    """The namespace's id in a resource name."""
    return name.split("/")[1] if name.count("/") else ""
