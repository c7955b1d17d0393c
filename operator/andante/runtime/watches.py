"""Runs kopf's watches in their own thread, on their own event loop.

The operator uses events only, so kopf writes no annotation and no finalizer. When kopf ends, it cancels every task of
its loop. With a loop of their own only the watches end, and they are set up again. A watch that is cut off, refused or
answered with an error starts again a little later. Only an error that no retry can repair ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiohttp
import kopf

from andante.adapters.kubernetes import PAGE, PARTIAL, PARTIAL_LIST
from andante.app.children import SERVICE_LABEL
from andante.app.kinds import SERVICE, ObjectKind
from andante.app.slim import slim
from andante.app.world import World, service_of
from andante.runtime.health import Health
from andante.runtime.kopf_storage import NoDiffBase, NoMemories, NoProgress

logger = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS = 120
CLIENT_TIMEOUT_SECONDS = 150
CONNECT_TIMEOUT_SECONDS = 10
SILENCE_SECONDS = CLIENT_TIMEOUT_SECONDS + 90.0
"""A watch without a new answer for this long is dead: a healthy watch ends and starts again earlier."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 1.0, 30.0
CALM_SECONDS = 60.0
"""Watches that lasted this long start again at once."""
RETRIES_SECONDS = (1, 1, 2, 3, 5, *[8] * 5)
"""Waits before the retries of a watch that is not answered, in all as long as kopf's own. The longest of those is 21 s:
for so long nothing would be seen after the end of an outage."""
STOP_SECONDS = 5.0
"""Time for kopf to end its tasks."""
IDLE_WORKER_SECONDS = 0.5
"""Time for which kopf keeps a task, with the newest event in it, for each object that kopf has seen."""
ABANDON_TRIES, ABANDON_SECONDS = 5, 0.3
"""Tries, and seconds between them, to end tasks that kopf left behind."""


class Watches:
    """Watches services, their children and their pods until cancelled."""

    def __init__(
        self,
        *,
        kinds: Iterable[ObjectKind],
        namespaces: Sequence[str],
        world: World,
        on_news: Callable[[str, str], None],
        on_list: Callable[[str], None],
        on_fault: Callable[[str], None],
        health: Health,
        identity: str = "andante",
    ) -> None:
        """`namespaces`: empty for all. `on_news` is told the namespace and name of a service that something has changed
        of; `on_list` the kind of each fresh list, and of each object that it brought: a list means that a watch was cut
        off, and what was deleted meanwhile no event will tell. Both are called on the loop of `run`.
        """
        self._kinds = (SERVICE, *kinds)
        self._namespaces, self._world, self._health = tuple(namespaces), world, health
        self._on_news, self._on_list, self._on_fault = on_news, on_list, on_fault
        self._identity = identity

    async def run(self, *, may_go_on: Callable[[], Awaitable[None]]) -> None:
        """Watch until cancelled. When the watches end, `may_go_on` is awaited; an error that it raises ends `run`."""
        loop = asyncio.get_running_loop()
        delay = FIRST_RETRY_SECONDS
        self._expect()
        try:
            while True:
                began = loop.time()
                error = await self._watch_once()
                self._on_fault("watch")
                await may_go_on()
                was_calm = loop.time() - began > CALM_SECONDS
                delay = FIRST_RETRY_SECONDS if was_calm else min(2 * delay, LAST_RETRY_SECONDS)
                logger.warning("the watches ended (%s: %s); again in %.0f s", type(error).__name__, error, delay)
                await asyncio.sleep(delay)
                for kind in self._kinds:  # a kind without objects sends no event
                    self._on_list(kind.kind)
        finally:
            for part in self._parts():
                self._health.forget(part)

    async def _watch_once(self) -> Exception:
        """Run kopf once, in a thread; return the error that ended kopf. When cancelled, end kopf first."""
        loop = asyncio.get_running_loop()
        thread = _KopfThread(lambda stop: self._kopf(loop, stop))
        thread.start()
        try:
            return await thread.ended
        except asyncio.CancelledError:
            await thread.stop()
            raise

    async def _kopf(self, home: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        registry, settings = kopf.OperatorRegistry(), _settings()
        logins = 0

        async def login(**kwargs: Any) -> kopf.AiohttpSession:
            nonlocal logins
            # kopf asks again only after the API server refused the credentials: at once it would refuse them again.
            await asyncio.sleep(min(0.5 * 2**logins - 0.5, 15.0))
            logins += 1
            # Use the client's configuration: kopf's own login needs kubernetes.default.svc to resolve, and not every
            # cluster has DNS for its pods.
            info = await asyncio.to_thread(kopf.login_via_client, **kwargs)
            if info is None:
                raise kopf.TemporaryError("no way to log in to the API server", delay=5)
            return self._session(info, home)

        def handler(kind: ObjectKind) -> Any:
            async def on_event(event: kopf.RawEvent, **_: Any) -> None:
                self._take(kind, event, home)

            return on_event

        kopf.on.login(registry=registry)(login)
        for kind in self._kinds:
            watched = (kind.group, kind.version, kind.plural)
            kopf.on.event(*watched, registry=registry, id=f"watch-{kind.plural}")(handler(kind))
            if kind is not SERVICE:
                # The API server filters: other pods and ConfigMaps of the cluster are never sent to us.
                settings.watching.label_selectors[kind.group, kind.plural] = SERVICE_LABEL
        ours = asyncio.all_tasks()
        tasks = await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            memories=NoMemories(),
            standalone=True,  # the Lease is the guard; kopf's peering needs a CRD of its own
            identity=self._identity,  # type: ignore[arg-type]  # a NewType of str that kopf does not export
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            stop_flag=stop,
        )
        ending = asyncio.ensure_future(kopf.run_tasks(tasks, ignored=ours))
        done, _ = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
        # kopf waits for its tasks without a limit, and some of its tasks wait for a login that never comes.
        await asyncio.wait([ending], timeout=STOP_SECONDS)
        for task in (*done, ending):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    def _take(self, kind: ObjectKind, event: kopf.RawEvent, home: asyncio.AbstractEventLoop) -> None:
        # Items of a list carry no kind of their own.
        obj = {**event["object"], "kind": kind.kind, "apiVersion": kind.api_version}
        if event["type"] is None:
            home.call_soon_threadsafe(self._on_list, kind.kind)
        gone = event["type"] == "DELETED"
        if self._world.drop(obj) if gone else self._world.put(obj, partial=kind.metadata_only):
            home.call_soon_threadsafe(self._on_news, *service_of(obj))

    def _session(self, info: kopf.ConnectionInfo, home: asyncio.AbstractEventLoop) -> kopf.AiohttpSession:
        """A session that tells of every watch that the API server has accepted, and of every list that it has given."""
        trace = aiohttp.TraceConfig()
        kinds = {path: kind.kind for kind in self._kinds for path in kind.paths(self._namespaces)}

        async def answered(_: Any, __: Any, params: aiohttp.TraceRequestEndParams) -> None:
            path = params.url.path
            if params.response.status != 200 or path not in kinds:
                return
            with contextlib.suppress(RuntimeError):  # the home loop is closed
                if params.url.query.get("watch") == "true":
                    home.call_soon_threadsafe(self._health.word_of, f"watch {path}")
                else:  # an empty list brings no object that would tell of it
                    home.call_soon_threadsafe(self._on_list, kinds[path])

        trace.on_request_end.append(answered)
        partial = {path for kind in self._kinds if kind.metadata_only for path in kind.paths(self._namespaces)}

        async def metadata_alone(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> Any:
            if request.method == "GET" and request.url.path in partial:
                watch = request.url.query.get("watch") == "true"
                request.headers["Accept"] = PARTIAL if watch else PARTIAL_LIST
            return await send(request)

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=bool(info.trust_env),
            trace_configs=[trace],
            middlewares=(metadata_alone,),
            response_class=_SlimLists,
        )
        return kopf.AiohttpSession(
            server=info.server, default_namespace=info.default_namespace, aiohttp_session=session
        )

    def _parts(self) -> list[str]:
        return [f"watch {path}" for kind in self._kinds for path in kind.paths(self._namespaces)]

    def _expect(self) -> None:
        for part in self._parts():
            self._health.expect(part, within=SILENCE_SECONDS)


class _SlimLists(aiohttp.ClientResponse):
    """Slims the objects of a list as they arrive: kopf holds all objects of a list, from all pages, for seconds.

    An empty list of metadata has null for its items, and kopf would fail on null.
    """

    async def json(self, **how: Any) -> Any:
        found = await super().json(**how)
        if isinstance(found, dict) and "items" in found:
            kind = str(found.get("kind") or "").removesuffix("List")
            partial = kind == "PartialObjectMetadata"
            # Items of a list carry no kind of their own.
            found["items"] = [slim({**item, "kind": kind}, partial=partial) for item in found["items"] or ()]
        return found


class _KopfThread:
    """Runs `work` on a loop of its own, in a thread of its own."""

    def __init__(self, work: Callable[[asyncio.Event], Any]) -> None:
        self._work = work
        self._home = asyncio.get_running_loop()
        self.ended: asyncio.Future[Exception] = self._home.create_future()
        """Resolves to the error that ended the thread's work."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="watches", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Ask the thread's work to end, and wait up to STOP_SECONDS."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed already
                self._loop.call_soon_threadsafe(self._stop.set)
        await asyncio.to_thread(self._thread.join, STOP_SECONDS + 2.0)

    def _run(self) -> None:
        error: Exception = RuntimeError("kopf ended")
        self._loop = asyncio.new_event_loop()
        try:
            self._loop.run_until_complete(self._main())
        except Exception as raised:  # noqa: BLE001  told to whoever started this
            error = raised
        _abandon(self._loop)
        with contextlib.suppress(RuntimeError):  # the home loop is closed
            self._home.call_soon_threadsafe(self._tell, error)

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        await self._work(self._stop)

    def _tell(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


def _abandon(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop whose tasks may hang: the tasks get a moment, then the loop is closed."""
    loop.set_exception_handler(lambda *_: None)  # errors of abandoned tasks say nothing useful
    for _ in range(ABANDON_TRIES):
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:  # some tasks await again when cancelled, and must be cancelled again
            loop.run_until_complete(asyncio.wait(left, timeout=ABANDON_SECONDS))
    loop.close()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # the use cases in app/ write their own Events
    # No finalizer is written, as only events are handled. If that ever changes, the finalizer has our name.
    settings.persistence.finalizer = "andante.dev/operator"
    settings.persistence.progress_storage = NoProgress()
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.queueing.idle_timeout = IDLE_WORKER_SECONDS
    # Without a timeout, a watch that the network dropped silently would never report again.
    settings.watching.server_timeout = SERVER_TIMEOUT_SECONDS
    settings.watching.client_timeout = CLIENT_TIMEOUT_SECONDS
    settings.watching.connect_timeout = CONNECT_TIMEOUT_SECONDS
    settings.watching.reconnect_backoff = 1.0
    settings.networking.error_backoffs = RETRIES_SECONDS
    settings.watching.chunk_size = PAGE
    settings.scanning.disabled = True  # no right to list CRDs and namespaces is needed
    return settings
