"""Live news between processes, over Redis: one connection to hear, one thread to speak.

Knows how to carry news; decides nothing by it. Inside the process the memory bus fans out, so
followers hear their own process even while Redis is away, and cost no connection each.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from studio.engine.bus import MAX_HELD, MemoryBus, Subscription
from studio.engine.jobs import News, State

log = logging.getLogger("studio.bus")

NEWS: Final = "studio:news"
CANCELS: Final = "studio:cancels"
KEPT_S: Final = 86_400
"""How long the status hash of a job is kept after its last news, in seconds."""
PREVIEW_MAX_BYTES: Final = 500_000
"""A larger preview stays in its own process."""
_PAUSE_S: Final = 0.5
_HEAR_S: Final = 0.5
_BREATH_S: Final = 0.02
"""Between two sendings: what comes meanwhile goes together, and only the newest of each job."""
_FINAL_S: Final = 3.0
_NOBODY: Final = ""


class RedisBus:
    """Carries news among all processes that have this Redis. `start` before, `stop` at the end.

    Nothing here waits for Redis but `latest`, and that for a second or so at most. What could not
    be sent is sent when Redis is back, the newest of each job only.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = MemoryBus()
        self._redis = connect(url)
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._changed = threading.Condition()
        self._outbox: OrderedDict[str, News] = OrderedDict()
        self._wishes: dict[str, None] = {}
        self._shown: OrderedDict[str, bytes] = OrderedDict()
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._away = False
        self._ask_again_at = float("-inf")

    def start(self) -> None:
        """Begin to hear the other processes and to speak to them."""
        self._stopped.clear()
        self._threads = [
            threading.Thread(target=loop, name=name, daemon=True)
            for name, loop in (("bus-speak", self._speak_loop), ("bus-hear", self._hear_loop))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what is left, if Redis is there, and end both threads."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_FINAL_S)
        self._redis.close()

    def publish(self, news: News) -> None:
        """Give news to followers here at once, and to those elsewhere as soon as it can be sent."""
        self._hub.publish(news)
        with self._changed:
            self._outbox[news.job_id] = news
            self._outbox.move_to_end(news.job_id)
            while len(self._outbox) > MAX_HELD:
                self._outbox.popitem(last=False)
            self._changed.notify_all()

    def latest(self, job_id: str) -> News | None:
        """Give the last news heard here; else what the status hash says, without a preview."""
        heard = self._hub.latest(job_id)
        if heard is not None or self._clock() < self._ask_again_at:
            return heard
        try:
            kept = self._redis.hgetall(_key(job_id))
        except RedisError as error:
            self._ask_again_at = self._clock() + _PAUSE_S
            self._went_away(error)
            return None
        return self._hold(kept)

    def follow(self, job_id: str) -> Subscription:
        """Follow a job, whichever process runs it."""
        return self._hub.follow(job_id)

    def ask_cancel(self, job_id: str) -> None:
        """Tell whoever runs the job, in any process, to stop it."""
        self._hub.ask_cancel(job_id)
        with self._changed:
            self._wishes[job_id] = None
            self._changed.notify_all()

    def on_cancel(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback`, from any thread, when the job shall stop. Gives "forget"."""
        return self._hub.on_cancel(job_id, callback)

    # Speaking -----------------------------------------------------------------------------

    def _speak_loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._something_to_do)
                news, self._outbox = self._outbox, OrderedDict()
                wishes, self._wishes = self._wishes, {}
            last = self._stopped.is_set()
            if last:
                wishes[_NOBODY] = None  # wakes our own ears, so that a stop is quick
            self._try_to_speak(news, wishes)
            if last:
                return
            self._stopped.wait(_BREATH_S)

    def _something_to_do(self) -> bool:
        return bool(self._outbox or self._wishes or self._stopped.is_set())

    def _try_to_speak(self, news: OrderedDict[str, News], wishes: dict[str, None]) -> None:
        try:
            self._speak(news.values(), wishes)
        except RedisError as error:
            self._went_away(error)
            self._take_back(news, wishes)
            self._stopped.wait(_PAUSE_S)
        except Exception:
            # The loop's edge: one odd piece of news must not make the process mute.
            log.exception("news could not be written down")
        else:
            self._came_back()

    def _speak(self, news: Iterable[News], wishes: Iterable[str]) -> None:
        """Write each job's hash and tell everybody, in one round trip."""
        with self._redis.pipeline(transaction=False) as pipe:
            for one in news:
                fields = _fields(one)
                pipe.hset(_key(one.job_id), mapping=fields)
                pipe.expire(_key(one.job_id), KEPT_S)
                pipe.publish(NEWS, self._message(one, fields))
            for job_id in wishes:
                pipe.publish(CANCELS, json.dumps({"from": self._me, "job_id": job_id}))
            pipe.execute()

    def _message(self, news: News, fields: Mapping[str, Any]) -> bytes:
        """Write news as a line of JSON and, only when it is another than before, its preview."""
        picture, shown = b"", "none"
        if news.preview is not None and len(news.preview) <= PREVIEW_MAX_BYTES:
            shown = "same"
            if self._shown.get(news.job_id) is not news.preview:
                picture, shown = news.preview, "new"
                self._shown[news.job_id] = news.preview
        if news.state.ended:
            self._shown.pop(news.job_id, None)
        while len(self._shown) > MAX_HELD:
            self._shown.popitem(last=False)
        head = json.dumps({"from": self._me, "news": fields, "preview": shown})
        return head.encode() + b"\n" + picture

    def _take_back(self, news: OrderedDict[str, News], wishes: dict[str, None]) -> None:
        """Keep what could not be sent, behind what came meanwhile."""
        with self._changed:
            self._wishes = wishes | self._wishes
            self._outbox = OrderedDict({**news, **self._outbox})
        for job_id in news:
            self._shown.pop(job_id, None)

    # Hearing ------------------------------------------------------------------------------

    def _hear_loop(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._redis.pubsub() as ears:
                    ears.subscribe(NEWS, CANCELS)
                    self._hear(ears)
            except RedisError as error:
                self._went_away(error)
            except Exception:
                # The loop's edge: a deaf process would show its followers nothing any more.
                log.exception("the ears on Redis met a fault of their own")
            self._stopped.wait(_PAUSE_S)

    def _hear(self, ears: Any) -> None:
        while not self._stopped.is_set():
            message = ears.get_message(timeout=_HEAR_S)
            if message is None:
                continue
            if message["type"] == "message":
                self._take_in(message["channel"], message["data"])
            elif message["type"] == "subscribe" and message["data"] == 1:
                self._catch_up()  # at the start, and whenever the library reconnected in silence

    def _take_in(self, channel: bytes, data: bytes) -> None:
        head, _, picture = data.partition(b"\n")
        try:
            told = json.loads(head)
            if told["from"] == self._me:
                return
            if channel == CANCELS.encode():
                self._hub.ask_cancel(told["job_id"])
                return
            news = _read(told["news"])
            self._hub.publish(replace(news, preview=self._preview(news, told["preview"], picture)))
        except (ValueError, KeyError, TypeError):
            log.warning("somebody says what is no news: %r", data[:80])

    def _preview(self, news: News, shown: str, picture: bytes) -> bytes | None:
        """Find the preview that goes with news: sent once, it is meant again with later ones."""
        if shown == "new" and not news.state.ended:
            self._pictures[news.job_id] = picture
            while len(self._pictures) > MAX_HELD:
                self._pictures.popitem(last=False)
        if shown == "none" or news.state.ended:
            self._pictures.pop(news.job_id, None)
        return self._pictures.get(news.job_id)

    def _catch_up(self) -> None:
        """Read the hashes of all jobs followed here: what was said meanwhile is gone.

        What is held of other jobs may be old now; their hashes are read when somebody asks.
        """
        jobs = self._hub.forget_unfollowed()
        if not jobs:
            return
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in jobs:
                pipe.hgetall(_key(job_id))
            for kept in pipe.execute():
                self._hold(kept)

    def _hold(self, kept: Mapping[Any, Any]) -> News | None:
        """Take in a status hash, if it holds one."""
        if not kept:
            return None
        try:
            news = _read({_text(name): _text(value) for name, value in kept.items()})
        except (ValueError, KeyError, TypeError):
            return None
        heard = self._hub.latest(news.job_id)
        if heard is not None and heard.seq >= news.seq:
            return heard  # it came meanwhile, with its preview
        self._hub.publish(news)
        return news

    # Being without Redis ------------------------------------------------------------------

    def _went_away(self, error: Exception) -> None:
        if not self._away and not self._stopped.is_set():
            log.warning("Redis does not answer, live news stay in this process: %s", error)
        self._away = True

    def _came_back(self) -> None:
        if self._away:
            log.info("Redis answers again")
        self._away = False


def connect(url: str) -> Any:
    """Give a client that never waits long: the library's own patience is up to a minute."""
    return Redis.from_url(
        url,
        socket_timeout=2.0,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1),
        health_check_interval=10,
        decode_responses=False,
    )


def _key(job_id: str) -> str:
    return f"studio:job:{job_id}"


def _fields(news: News) -> dict[str, str | int | float]:
    """Write news flat, as a hash wants it: no preview, and nothing for None."""
    told = asdict(news)
    del told["preview"]
    told["eta_s"] = "" if news.eta_s is None else news.eta_s
    return told


def _read(told: Mapping[str, Any]) -> News:
    """Read news back. Raises ValueError or KeyError for what is none."""
    return News(
        job_id=str(told["job_id"]),
        person=str(told["person"]),
        seq=int(told["seq"]),
        state=State(told["state"]),
        fraction=float(told["fraction"]),
        phase=str(told["phase"]),
        node_title=str(told["node_title"]),
        step=int(told["step"]),
        steps=int(told["steps"]),
        eta_s=None if told["eta_s"] == "" else float(told["eta_s"]),
        position=int(told["position"]),
        server=str(told["server"]),
        at_us=int(told.get("at_us", 0)),
        preview_mime=str(told["preview_mime"]),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
