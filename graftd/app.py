# SPDX-License-Identifier: Apache-2.0
"""The service put together: the one place that knows every part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from graftd import __version__, log, metrics
from graftd.api import listen
from graftd.api.acceptor import Acceptor
from graftd.api.acceptor import Limits as ConnectionLimits
from graftd.api.access import Access
from graftd.api.call import Core
from graftd.api.convert.socket import event_message
from graftd.api.gate import Gate
from graftd.api.hub import Hub
from graftd.api.node import remove_leftovers
from graftd.api.pages import Pages
from graftd.api.peer import Peers, SocketName
from graftd.api.server import Limits as ServerLimits
from graftd.api.server import Server
from graftd.calls import CallRecords
from graftd.config import Config, ConfigError, HostPort, TlsSection
from graftd.errors import GraftError
from graftd.kernel import Finder, FinderRoots, KernelAdapter, Listener, TransparentMap, Watcher
from graftd.model import (
    AclNotice,
    ClaimNotice,
    EndpointGoneNotice,
    EndpointNotice,
    Event,
    NamespaceRecord,
    RulesNotice,
    Selector,
    TableNotice,
)
from graftd.ports import Finder as FinderPort
from graftd.ports import Kernel
from graftd.ports import TransparentMap as TransparentMapPort
from graftd.reconcile import Engine, EngineThread, NodeEvent, NodeEventKind, Pulse
from graftd.store import ALL, Limits, Store
from graftd.systemd import Notifier, SystemdError, listen_sockets

_GRACE_SECONDS = 5.0
_TLS_SECONDS = 5.0  # between attempts to listen for TLS
_TLS_FIRST_SECONDS = 2.0  # that the start waits for the first one at most
_MODULE_SECONDS = 2.0  # between looks at whether the module is there, while something is wrong
_WHOLE_EVERY = 10  # periodic passes; the others read the tables whose generation has moved
_SOCKET_MODES = {SocketName.ADMIN: 0o600, SocketName.READ_WRITE: 0o660, SocketName.READ_ONLY: 0o666}
_WARNINGS = (
    NodeEventKind.DRIFT_REPAIRED,
    NodeEventKind.RECONCILE_FAILED,
    NodeEventKind.MODULE_UNLOADED,
    NodeEventKind.CLAIM_LOST,
    NodeEventKind.DEGRADED,
)


@dataclass(slots=True)
class Machine:
    """What graftd works on. watcher, listener: None where nothing tells of changes. failpoint: the engine's and the
    store's."""

    kernel: Kernel
    finder: FinderPort
    transparent_map: TransparentMapPort
    watcher: Watcher | None = None
    listener: Listener | None = None
    failpoint: Callable[[str], None] = field(default=lambda _name: None)

    @classmethod
    def real(cls, config: Config, count: Callable[[str], None]) -> Machine:
        """The machine that graftd runs on. In the engine's thread. count: as KernelAdapter's."""
        places = config.namespaces
        roots = FinderRoots(places.iproute2_folder, places.runtime_folders, places.cgroup_root, places.proc_root)
        kernel = KernelAdapter(count=count)
        return cls(kernel, Finder(roots, kernel.cookie_of), TransparentMap(), Watcher(roots), Listener())

    def close(self) -> None:
        """The kernel is the engine's to close."""
        if self.watcher is not None:
            self.watcher.close()
        if self.listener is not None:
            self.listener.close()


class PartFailedError(GraftError):
    """A part of graftd failed for a reason that nobody foresaw: another start may mend it."""


class App:
    """graftd, from its start to its end. Made and used in the event loop."""

    def __init__(
        self, config: Config, records: log.Log, *, config_path: Path | None = None, machine: Machine | None = None
    ) -> None:
        """config_path: what a reload reads; None for nothing. machine: None for the real one."""
        self._started = config
        self._config = config
        self._records = records
        self._config_path = config_path
        self._machine = machine
        self._log = log.logger()
        self._loop = asyncio.get_running_loop()
        self._thread = EngineThread()
        self._notifier = Notifier.from_environment()
        self._metrics = metrics.Metrics()
        self._serving = False
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._generations: dict[int, int] = {}
        self._noticing = False
        self._lacking = ""
        self._unheard = ""  # why nothing listens for TLS
        self._misread = ""  # why the last reload changed nothing
        self._tried_secure = asyncio.Event()
        self._failure: BaseException | None = None
        server = config.server
        self._hub = Hub(
            self._loop,
            most_watchers=server.max_watchers,
            most_changes=server.watch_queue,
            recent_events=config.watch_events.recent,
        )
        self._hub.on_event = self._log_event
        self._hub.on_namespaces = self._follow
        self._peers = Peers()
        self._engine: Engine
        self._core: Core
        self._gate: Gate
        self._acceptor: Acceptor

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises a GraftError that says why graftd cannot start, PartFailedError where
        it ends by itself."""
        try:
            async with contextlib.AsyncExitStack() as stack:
                await self._start(stack)
                self._tell(partial(self._notifier.ready, self._summary()))
                self._log.info("graftd serves", version=__version__)
                await self._stopping.wait()
                self._log.info("graftd ends")
                self._tell(self._notifier.stopping)
        finally:
            self._thread.shutdown()
        if self._failure is not None:
            raise PartFailedError("a part of it failed: see the record before, and report it") from self._failure

    def stop(self) -> None:
        self._stopping.set()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Everything, in order; the stack undoes it in the opposite one."""
        # Until the very end: a second signal must not cut off what the first one began.
        for number, handle in ((signal.SIGTERM, self.stop), (signal.SIGINT, self.stop), (signal.SIGHUP, self._hang_up)):
            self._loop.add_signal_handler(number, handle)
            stack.callback(self._loop.remove_signal_handler, number)
        machine = self._machine
        if machine is None:
            machine = self._machine = await self._thread.run(Machine.real, self._config, self._metrics.kernel_asked)
        stack.push_async_callback(self._thread.run, machine.close)
        self._engine = engine = await self._thread.run(self._open_engine, machine)
        stack.push_async_callback(self._thread.run, engine.close)
        access = Access(self._config.access, host_cookie=engine.own.cookie, registered=self._registered)
        told = CallRecords(self._records, self._metrics, access.identity, self._loop)
        stack.callback(told.tell_left_out)
        key = await self._thread.run(engine.read, lambda view: view.secret)
        self._core = Core(engine, self._thread, access, Pages(key))
        limits = self._config.server
        server = Server(
            self._core,
            self._hub,
            self._peers,
            told,
            limits=ServerLimits(limits.max_pending_requests, limits.max_message_bytes),
            version=__version__,
        )
        doors = self._listeners(stack)
        private = listen.private_socket(limits.socket.parent)
        server.grpc.add_insecure_port(f"unix:{private}")
        private_tls = listen.private_socket(limits.socket.parent, "tls.sock")
        if limits.tls is not None:
            _add_tls(server.grpc, f"unix:{private_tls}", limits.tls)
        await self._thread.run(engine.start)
        self._hub.revision = await self._thread.run(engine.read, lambda view: view.revision)
        await self._thread.run(self._watch, machine)
        await server.grpc.start()
        self._gate = server.gate
        acceptor = Acceptor(
            doors,
            private,
            self._peers,
            tls_backend=private_tls,
            limits=_connections(self._config),
            refused=told.refused,
            known=access.knows,
        )
        self._acceptor = acceptor
        # At the end: nobody comes in, who is connected is told why it ends, and then connections are closed.
        stack.push_async_callback(acceptor.close, 0.0)
        stack.push_async_callback(server.stop, _GRACE_SECONDS)
        stack.callback(acceptor.stop)
        acceptor.start()
        await self._serve_metrics(stack)
        stack.push_async_callback(self._end_tasks)
        stack.enter_context(self._reading(machine))
        self._spawn(self._ticking(machine))
        self._spawn(self._watchdog())
        if limits.tls is not None:
            self._spawn(self._open_secure(limits.tls.listen))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._tried_secure.wait(), _TLS_FIRST_SECONDS)
        self._serving = True

    def _open_engine(self, machine: Machine) -> Engine:
        section = self._config.store
        remove_leftovers(section.path.parent)
        store = Store.open(
            section.path,
            limits=Limits(
                changes=section.changes_kept,
                requests=section.request_ids_kept,
                request_bytes=section.request_ids_bytes,
                request_age=timedelta(seconds=section.request_ids_seconds),
            ),
            failpoint=machine.failpoint,
        )
        for backup in store.migrated:
            self._log.info("the database has a newer schema now; a copy of the older one was kept", path=str(backup))
        return Engine(
            store,
            machine.kernel,
            machine.finder,
            self._hub,
            transparent_map=machine.transparent_map,
            failpoint=machine.failpoint,
        )

    def _listeners(self, stack: contextlib.AsyncExitStack) -> list[listen.Listener]:
        """systemd's sockets; those of the configuration where it handed over none. One that an administrator leaves out
        of systemd's is not to come back by itself."""
        found = [listen.adopt(name, sock) for name, sock in listen_sockets()]
        server = self._config.server
        paths = {
            SocketName.ADMIN: server.admin_socket,
            SocketName.READ_WRITE: server.socket,
            SocketName.READ_ONLY: server.read_only_socket,
        }
        if not found:
            found = [listen.listen(name, path, mode=_SOCKET_MODES[name]) for name, path in paths.items()]
        for listener in found:
            stack.callback(listener.close)
        return found

    async def _open_secure(self, place: HostPort) -> None:
        """Listen for TLS as soon as that can be. After a boot an address may come late, and DNS as well; the unix
        sockets, and the tables, need not wait for them."""
        while True:
            try:
                found = await asyncio.to_thread(listen.listen_tcp, place.host, place.port)
            except listen.ListenError as error:
                self._hear_secure(f"server.tls: {error}")
                await asyncio.sleep(_TLS_SECONDS)
            else:
                self._acceptor.add(found)
                self._hear_secure("")
                return

    def _hear_secure(self, unheard: str) -> None:
        """What became of an attempt. unheard: why not, as a sentence."""
        self._tried_secure.set()
        if unheard == self._unheard:
            return
        self._unheard = unheard
        if unheard:
            self._log.warning("graftd does not listen for TLS, and tries again", detail=unheard)
        else:
            self._log.info("graftd listens for TLS")
        if self._serving:
            self._tell(partial(self._notifier.status, self._summary()))

    async def _serve_metrics(self, stack: contextlib.AsyncExitStack) -> None:
        place = self._config.metrics.listen
        if place is None:
            return
        server = metrics.Server(self._render_metrics)
        await server.start((place.host, place.port) if isinstance(place, HostPort) else place)
        stack.push_async_callback(server.close)

    # What goes on

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._log.error("a part of graftd failed, and it ends", exc_info=error)
            self._failure = self._failure or error
            self.stop()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ticking(self, machine: Machine) -> None:
        """Look from time to time, and oftener while something is wrong."""
        passes = 0
        while True:
            degraded = bool(await self._thread.run(self._engine.conditions))
            interval = self._config.reconcile.interval_seconds
            await asyncio.sleep(min(interval, _MODULE_SECONDS) if degraded else interval)
            passes += 1
            with self._going_on():
                await self._thread.run(self._engine.tick, whole=passes % _WHOLE_EVERY == 0)
                self._metrics.reconcile_runs.add()
                await self._thread.run(self._watch, machine)

    async def _watchdog(self) -> None:
        """Tell systemd that the loop, the engine's thread and the store work."""
        if self._notifier.watchdog_seconds is None:
            return
        pause = self._notifier.watchdog_seconds / 3
        while True:
            check = asyncio.ensure_future(self._thread.run(self._engine.check))
            pulse = Pulse(self._thread, self._loop.time)
            try:
                # It waits its turn behind the requests.
                while not (await asyncio.wait({check}, timeout=pause))[0]:
                    if pulse.beats():
                        self._tell(self._notifier.watchdog)
            finally:
                check.cancel()
            try:
                check.result()
            except GraftError as error:
                self._log.error("the store cannot be read", detail=str(error))
            else:
                self._tell(self._notifier.watchdog)
            await asyncio.sleep(pause)

    def _watch(self, machine: Machine) -> None:
        """Let the watcher see the selectors that there are. In the engine's thread."""
        if machine.watcher is None:
            return
        machine.watcher.watch(self._engine.read(_selectors))
        lacking = machine.watcher.lacking
        if lacking and lacking != self._lacking:
            self._log.warning("some of what namespaces do is seen by the periodic pass alone", detail=lacking)
        self._lacking = lacking

    def _follow(self, namespaces: list[NamespaceRecord]) -> None:
        """Namespaces came, went or have other selectors: these are to be watched."""
        machine = self._machine
        if machine is not None and machine.watcher is not None:
            selectors = {one.namespace.selector for one in namespaces}
            if selectors:
                self._spawn(self._watch_anew(machine, selectors))

    async def _watch_anew(self, machine: Machine, selectors: set[Selector]) -> None:
        with self._going_on():
            await self._thread.run(self._watch, machine)
            await self._thread.run(self._engine.refresh, selectors)  # what became of them before they were watched

    @contextlib.contextmanager
    def _reading(self, machine: Machine) -> Iterator[None]:
        """Hear of namespaces and of the kernel."""
        watcher, listener = machine.watcher, machine.listener
        if watcher is not None:
            self._loop.add_reader(watcher.fileno(), self._seen, watcher)
        if listener is not None:
            self._loop.add_reader(listener.fileno(), self._heard, listener)
        try:
            yield
        finally:
            for source in (watcher, listener):
                if source is not None:
                    self._loop.remove_reader(source.fileno())

    def _seen(self, watcher: Watcher) -> None:
        # Until it was read, in the thread that it belongs to, it would wake the loop again and again.
        self._loop.remove_reader(watcher.fileno())
        self._spawn(self._refresh(watcher))

    async def _refresh(self, watcher: Watcher) -> None:
        selectors = await self._thread.run(watcher.read)
        self._loop.add_reader(watcher.fileno(), self._seen, watcher)
        if selectors:
            with self._going_on():
                await self._thread.run(self._engine.refresh, selectors)

    def _heard(self, listener: Listener) -> None:
        heard = listener.receive()
        now = datetime.now(UTC)
        look = heard.lost
        generations: dict[int, int] = {}
        for notice in heard.notices:
            if isinstance(notice, Event):
                namespace = self._engine.namespace_of(notice.netns_cookie)
                if namespace:
                    message = event_message(notice, namespace=namespace, time=now)
                    self._hub.socket_event(namespace, message)
            elif isinstance(notice, ClaimNotice):
                look = look or notice.claimant_pid != os.getpid()
            else:
                cookie, generation = _generation_of(notice)
                generations[cookie] = generation
        if heard.lost:
            self._hub.sockets_lost()
        if look:
            self._spawn(self._run_tick())
        self._hear(generations)

    def _hear(self, generations: dict[int, int]) -> None:
        """Tables have these generations, by cookie."""
        self._generations |= generations
        if self._generations and not self._noticing:
            self._noticing = True
            self._spawn(self._notice())

    async def _run_tick(self) -> None:
        with self._going_on():
            await self._thread.run(self._engine.tick)

    async def _notice(self) -> None:
        """What is heard while the engine is busy is looked at together, afterwards. The loop alone has the
        generations: what it hears between two looks is in the one or in the other."""
        while self._generations:
            found, self._generations = self._generations, {}
            with self._going_on():
                await self._thread.run(self._engine.noticed, found)
        self._noticing = False

    @contextlib.contextmanager
    def _going_on(self) -> Iterator[None]:
        """What fails of the work that nobody asked for is logged; the next pass tries again."""
        try:
            yield
        except (GraftError, OSError) as error:
            self._log.error("store and kernel were not compared", detail=str(error))

    # The configuration, read anew

    def _hang_up(self) -> None:
        if self._serving and not self._stopping.is_set():
            self._spawn(self._reload())

    async def _reload(self) -> None:
        self._tell(self._notifier.reloading)
        try:
            if self._config_path is not None:
                await self._use(Config.load(self._config_path))
            self._misread = ""
        except GraftError as error:
            problems = error.problems if isinstance(error, ConfigError) else (str(error),)
            self._misread = f"the configuration was not read anew: {problems[0]}"
            for problem in problems:
                self._log.error(f"the configuration was not read anew: {problem}")
        self._tell(partial(self._notifier.ready, self._summary()))

    async def _use(self, config: Config) -> None:
        await asyncio.to_thread(self._core.access.configure, config.access)
        for name in self._started.changes_needing_restart(config):
            self._log.warning(f"{name} takes effect when graftd is restarted", key=name)
        self._records.set_level(config.log.level)
        self._acceptor.limits = _connections(config)
        self._gate.most_pending = config.server.max_pending_requests
        self._hub.most_watchers = config.server.max_watchers
        self._hub.most_changes = config.server.watch_queue
        self._config = config
        self._hub.happened(
            NodeEvent(datetime.now(UTC), NodeEventKind.CONFIGURATION_RELOADED, "the configuration was read anew")
        )

    # What is told

    def _registered(self, cookie: int) -> str | None:
        return self._engine.namespace_of(cookie) or None

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except SystemdError as error:
            self._log.warning("systemd was not told", detail=str(error))

    def _summary(self) -> str:
        wrong = [one.message for one in self._engine.conditions()]
        wrong += [one for one in (self._misread, self._unheard) if one]
        return f"degraded: {wrong[0]}" if wrong else "ready"

    def _log_event(self, event: NodeEvent) -> None:
        if event.kind is NodeEventKind.RECONCILE_FAILED:
            self._metrics.reconcile_failures.add()
        if event.kind in (NodeEventKind.DEGRADED, NodeEventKind.RECOVERED):
            self._tell(partial(self._notifier.status, self._summary()))
        write = self._log.warning if event.kind in _WARNINGS else self._log.info
        write(event.detail, event_kind=event.kind.name, namespace=event.namespace)

    def _render_metrics(self) -> str:
        figures = self._metrics
        present = self._engine.present()
        figures.set_namespaces(present=present, absent=self._engine.registered() - present)
        figures.watchers.set(len(self._hub))
        figures.store_revision.set(self._hub.revision)
        figures.log_lost.set(self._records.lost)
        figures.reconcile_repairs.add(self._engine.reconciled.repaired - figures.reconcile_repairs.value())
        return figures.registry.render()


def _connections(config: Config) -> ConnectionLimits:
    return ConnectionLimits(config.server.max_connections, config.server.max_connections_per_user)


def _selectors(view: Any) -> list[Selector]:
    return [record.namespace.selector for record in view.namespaces(limit=ALL)]


def _generation_of(
    notice: TableNotice | EndpointNotice | EndpointGoneNotice | RulesNotice | AclNotice,
) -> tuple[int, int]:
    if isinstance(notice, (EndpointNotice, EndpointGoneNotice)):
        return notice.netns_cookie, notice.generation
    return notice.table.netns_cookie, notice.table.generation


def _add_tls(server: grpc.aio.Server, address: str, tls: TlsSection) -> None:
    """Raises ConfigError."""
    try:
        key, certificate, authorities = (path.read_bytes() for path in (tls.key, tls.certificate, tls.client_ca))
    except OSError as error:
        raise ConfigError((f"{error.filename}: it cannot be read: {error.strerror}",)) from error
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authorities, require_client_auth=True
    )
    port = 0
    with contextlib.suppress(RuntimeError):
        port = server.add_secure_port(address, credentials)
    if port == 0:
        raise ConfigError(
            (f"server.tls: {tls.certificate}, {tls.key} and {tls.client_ca} are of no use: see that each is PEM",)
        )
