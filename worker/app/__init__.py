"""The composition root: the only place that builds things and puts them together into a running worker."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.typing import FilteringBoundLogger

from worker import clock
from worker.app.budget import Permits
from worker.app.gauges import Gauges
from worker.app.lanes import Lanes
from worker.app.pruning import Prunes
from worker.app.relay import Relay
from worker.app.renewal import Renewal
from worker.app.rounds import Rounds, Step
from worker.app.stopped import Stopped
from worker.app.stories import Stories
from worker.errors import SettingsError
from worker.kafka.broker import Intake
from worker.kafka.producer import Producer
from worker.observe.declarations import Labels, show
from worker.observe.health import Health, Liveness, Readiness
from worker.observe.logs import LogLevel, set_level
from worker.observe.loop_lag import measure_loop_lag
from worker.observe.metrics import Metrics
from worker.pipeline.accept import Accept, accept_options, topic_types
from worker.pipeline.claim import Claim
from worker.pipeline.effect import Effect
from worker.pipeline.finish import Finish
from worker.pipeline.publish import Publish
from worker.settings import Settings
from worker.store.engine import Login, connections_in_use, create_engine, transaction
from worker.store.lanes import wake_lanes
from worker.timers.due import wake_due
from worker.timers.expire import end_watched
from worker.timers.reclaim import reclaim
from worker.timers.resolve import Watch, tell_doubts
from worker.whale.client import WhaleClient
from worker.whale.sign import Credentials

if TYPE_CHECKING:
    from worker.app.traced import Traced

ROLES = frozenset({"intake", "lanes", "timers", "relay"})
ENGINE_LATE_S = 90.0
INTAKE_LATE_S = 180.0
"""A poll may stand still while a session is opened and while a large batch is stored."""
DUE_ROUND_MAX_S = 0.5
WAKE_ROUND_S = 0.1
SWEEP_ROUND_S = 0.5
WATCHES_AT_ONCE = 5
RECORD_MARGIN_S = 2.0
POOL_SIZE = 8
STORIES_AT_ONCE = 2
GARBAGE_SEARCH_AFTER = 20_000


class Worker:
    """One process: its parts, its engines by role, and how they stop."""

    def __init__(self, settings: Settings, roles: Collection[str], log: FilteringBoundLogger, renewal: Renewal) -> None:
        self._settings, self._roles, self._log, self._renewal = settings, frozenset(roles), log, renewal
        self._owner = clock.new_id()
        self._metrics, self._readiness = Metrics(), Readiness()
        self._liveness = Liveness(clock.boot_s)
        self._stopping = asyncio.Event()
        self._traced: Traced | None = None

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then drain. An engine that ends by an error ends the process, loudly."""
        _collect_less()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        settings = self._settings
        loop.add_signal_handler(signal.SIGUSR1, self._say, "debug")
        loop.add_signal_handler(signal.SIGUSR2, self._say, settings.log_level)
        async with AsyncExitStack() as stack:
            self._traced = stack.enter_context(_tracing(settings, self._owner, self._log))
            login = Login()
            self._renewal.tell("database", lambda new: login.renew(new.database_url.get_secret_value()))
            engine = create_engine(settings.database_url.get_secret_value(), pool_size=POOL_SIZE, login=login)
            stack.push_async_callback(engine.dispose)
            self._metrics.database_connections.set_function(lambda: connections_in_use(engine))
            self._metrics.database_connections_max.set(POOL_SIZE)
            health = Health(self._readiness, self._liveness, self._metrics)
            more = await stack.enter_async_context(_stories(settings, self._log))
            port = await stack.enter_async_context(health.serve(settings.http_host, settings.http_port, more))
            client = await stack.enter_async_context(_client(settings))
            self._renewal.tell("whale", lambda new: client.renew(_credentials(new)))
            self._log.info("run.started", roles=sorted(self._roles), owner=str(self._owner), http_port=port)
            async with asyncio.TaskGroup() as group:
                lag = group.create_task(measure_loop_lag(self._metrics.loop_lag_s))
                await self._run_engines(engine, client)
                lag.cancel()
        self._log.info("run.stopped")

    def _say(self, level: LogLevel) -> None:
        set_level(level)
        self._log.warning("run.level_set", to=level)

    async def _run_engines(self, engine: AsyncEngine, client: WhaleClient) -> None:
        """Start the engines of the roles; on the way out intake stops first and the relay last."""
        relay = self._relay(engine) if "relay" in self._roles else None
        lanes = self._lanes(engine, client, relay.wake if relay else _nobody) if "lanes" in self._roles else None
        last_out = asyncio.Event()
        gauges = Gauges(engine, self._metrics)
        async with asyncio.TaskGroup() as outer:
            if relay is not None:
                outer.create_task(relay.run(last_out))
            async with asyncio.TaskGroup() as inner:
                if "intake" in self._roles:
                    inner.create_task(self._run_intake(engine, gauges, lanes.wake if lanes else _nobody))
                if lanes is not None:
                    self._liveness.watch("lanes", ENGINE_LATE_S)
                    drain_s = max(1.0, self._settings.drain_s - 3 * RECORD_MARGIN_S)
                    inner.create_task(lanes.run(self._stopping, drain_s))
                    inner.create_task(self._rounds("wake", self._wake_step(engine, lanes.wake)).run(self._stopping))
                if "timers" in self._roles:
                    for rounds in self._timers(engine, client, lanes.wake if lanes else _nobody):
                        inner.create_task(rounds.run(self._stopping))
                    if self._settings.prune_every_h is not None:
                        prunes = Prunes(engine, self._settings, self._settings.prune_every_h, self._log)
                        inner.create_task(prunes.run(self._stopping))
                inner.create_task(self._rounds("gauges", gauges.read).run(self._stopping))
                inner.create_task(self._rounds("invariants", gauges.read_invariants).run(self._stopping))
                inner.create_task(self._rounds("secrets", self._renewal.look).run(self._stopping))
                stopped = Stopped(engine, self._readiness, self._metrics, self._log)
                inner.create_task(self._rounds("stopped", stopped.read).run(self._stopping))
            self._log.info("run.drained")
            last_out.set()

    def _lanes(self, engine: AsyncEngine, client: WhaleClient, recorded: Callable[[], None]) -> Lanes:
        settings = self._settings
        return Lanes(
            Claim(engine, settings, self._owner, self._log),
            Effect(client, settings, self._metrics),
            Finish(engine, settings, self._metrics, self._log, None if self._traced is None else self._traced.finished),
            Permits(engine, settings),
            self._readiness,
            self._liveness,
            self._metrics,
            self._log,
            recorded,
        )

    def _wake_step(self, engine: AsyncEngine, woken: Callable[[], None]) -> Step:
        async def step() -> float:
            async with transaction(engine) as connection:
                count = await wake_lanes(connection)
            if count:
                woken()
            return WAKE_ROUND_S

        return step

    def _timers(self, engine: AsyncEngine, client: WhaleClient, woken: Callable[[], None]) -> list[Rounds]:
        settings = self._settings
        watch = Watch(engine, client, settings, self._metrics, self._log)

        async def due() -> float:
            made, next_s = await wake_due(engine)
            if made:
                woken()
                return 0.0
            return DUE_ROUND_MAX_S if next_s is None else min(DUE_ROUND_MAX_S, max(0.01, next_s))

        async def sweep() -> float:
            taken = await reclaim(engine, settings)
            if taken:
                self._log.warning("reclaim.taken", lanes=taken)
            await tell_doubts(engine, settings)
            await end_watched(engine, settings)
            return SWEEP_ROUND_S

        async def look_again() -> float:
            return 0.0 if await watch.look_again(WATCHES_AT_ONCE) else 1.0

        return [self._rounds("due", due), self._rounds("sweep", sweep), self._rounds("watch", look_again)]

    def _relay(self, engine: AsyncEngine) -> Relay:
        settings = self._settings
        topics = {
            "outcome": settings.topic_outcomes,
            "dead_letter": settings.topic_dead_letters,
            "audit": settings.topic_audit,
        }
        producer = Producer(settings)
        self._renewal.tell("kafka", producer.renew)
        traced = None if self._traced is None else self._traced.published
        publish = Publish(engine, producer, topics, self._owner, self._metrics, self._log, traced)
        return Relay(publish, self._rounds, self._log)

    async def _run_intake(self, engine: AsyncEngine, gauges: Gauges, woken: Callable[[], None]) -> None:
        settings = self._settings
        traced = None if self._traced is None else self._traced.accepted
        options = accept_options(settings)
        accept = Accept(engine, topic_types(settings), options, self._metrics, self._log, woken, traced)
        intake = Intake(settings, accept, is_full=lambda: gauges.queued >= settings.queue_depth_max)
        self._renewal.tell("kafka", intake.renew)
        self._readiness.set("intake", "intake is connecting to Kafka")
        self._liveness.watch("poll", INTAKE_LATE_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rounds("intake", self._intake_step(intake)).run(self._stopping))
            group.create_task(_stop_with(self._stopping, intake))
            await intake.run()

    def _intake_step(self, intake: Intake) -> Step:
        async def step() -> float:
            reasons = list(dict.fromkeys(reason.sentence for reason in intake.refusals().values()))
            reasons += intake.hidden_topics()
            missing = sorted(intake.missing_topics())
            if missing:
                reasons.append(f"missing topics: {', '.join(missing)}: run `ledger-worker topics apply`")
            if not intake.connected:
                reasons.insert(0, intake.away)
            if clock.boot_s() - intake.last_poll_s < INTAKE_LATE_S:
                self._liveness.beat("poll")
            if reasons:
                self._readiness.set("kafka", "; ".join(reasons))
            else:
                self._readiness.clear("kafka")
            lags: dict[Labels, float] = {
                (topic, str(partition)): float(lag) for (topic, partition), lag in intake.lags().items()
            }
            show(self._metrics.intake_lag_records, lags)
            self._metrics.intake_connected.set(intake.connected)
            self._metrics.intake_full.set(intake.full)
            self._metrics.intake_refused.set(len(intake.refusals()))
            return SWEEP_ROUND_S

        return step

    def _rounds(self, name: str, step: Step) -> Rounds:
        self._liveness.watch(name, ENGINE_LATE_S)

        async def counted() -> float:
            with self._metrics.measured(name):
                return await step()

        return Rounds(name, counted, self._readiness, self._liveness, self._log)


@contextmanager
def _tracing(settings: Settings, owner: UUID, log: FilteringBoundLogger) -> "Iterator[Traced | None]":
    """Give what tells of the path as spans, None where it is not wanted; `check_start` has seen that it can be imported."""
    if not settings.traces:
        yield None
        return
    from worker.app.traced import Traced  # noqa: PLC0415 - an optional extra

    try:
        traced = Traced(settings, owner, log)
    except ValueError as error:
        raise SettingsError(f"LEDGER_TRACES is true, but OpenTelemetry refuses its own variables: {error}") from error
    try:
        yield traced
    finally:
        traced.close()


@asynccontextmanager
async def _stories(settings: Settings, log: FilteringBoundLogger) -> AsyncIterator[list[web.RouteDef]]:
    """Give the addresses that tell of commands and accounts, none where they are not wanted."""
    if not settings.http_explain:
        yield []
        return
    engine = create_engine(settings.database_url.get_secret_value(), pool_size=STORIES_AT_ONCE)
    try:
        yield Stories(engine, settings, log).routes()
    finally:
        await engine.dispose()


@asynccontextmanager
async def _client(settings: Settings) -> AsyncIterator[WhaleClient]:
    async with WhaleClient(
        url=settings.whale_base_url,
        credentials=_credentials(settings),
        timeout_s=settings.whale_timeout_s,
        pool_size=settings.whale_in_flight_max,
        allow_http=settings.whale_allow_http,
        proxy=settings.whale_proxy,
    ) as client:
        yield client


def _credentials(settings: Settings) -> Credentials:
    return Credentials(
        settings.whale_app_key,
        settings.whale_app_secret.get_secret_value(),
        settings.whale_access_token.get_secret_value(),
    )


async def _stop_with(stopping: asyncio.Event, intake: Intake) -> None:
    await stopping.wait()
    intake.stop()


def _collect_less() -> None:
    """Leave what the imports made out of Python's search for cycles, and search less often: batches make many objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_SEARCH_AFTER)


def _nobody() -> None:
    """Wake nobody: the engine that would be woken runs in another process and polls."""
