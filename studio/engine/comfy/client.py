"""One ComfyUI server: typed calls, one socket that reconnects, `listen()`.

Knows no job, person or database. Every failure is a `StudioError`: `server_away` when nobody
answers, `server_forbidden`, `server_refused` and `server_answer` when it answers oddly,
`prompt_refused`, `missing_node`, `missing_model` when it refuses a graph.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

from studio.engine.comfy import address, refusals, wire
from studio.engine.comfy.answers import (
    Features,
    QueueState,
    RunRecord,
    ServerInfo,
    Standing,
    StandingKind,
)
from studio.engine.comfy.calls import Calls, NeverSent, Unanswered, encode
from studio.engine.comfy.definitions import Definitions
from studio.engine.comfy.events import (
    Back,
    Lost,
    NodeProgress,
    OutputFile,
    Preview,
    Queued,
    RunEvent,
    Silent,
    Unknown,
)
from studio.engine.comfy.link import Link, Patience, Random
from studio.errors import StudioError

__all__ = [
    "ComfyClient",
    "Definitions",
    "Features",
    "Listener",
    "Patience",
    "QueueState",
    "RunRecord",
    "ServerInfo",
    "Standing",
    "StandingKind",
]

log = logging.getLogger("studio.comfy")

_SMALL_BYTES: Final = 512 * 1024  # no server's limit is lower: not worth asking
_LOOK_GAP_S: Final = 1.0
_DOUBT_S: Final = 3.0
_DEFINITIONS_S: Final = 60.0
_EAR_S: Final = 1.0  # how long a further socket to a server that is there may take to open
_DEAF_S: Final = 10.0  # a borrowed id that hears nothing for so long is connected anew
_MB: Final = 1024 * 1024


@dataclasses.dataclass(slots=True, eq=False)
class _Ear:
    """One socket. `taken`: it hears a prompt that was posted under its id, and no second one."""

    client_id: str
    link: Link
    taken: bool = False
    tuned_at: float = 0.0


class Listener:
    """Hears one prompt. Made by `ComfyClient.listen`; one thread gets, any thread nudges.

    `client_id` names the socket that ComfyUI sends the prompt's frames to.
    """

    def __init__(
        self,
        prompt_id: str,
        *,
        client_id: str,
        ear: _Ear,
        borrows: bool,
        silence_s: float,
        forget: Callable[[Listener], None],
        tune: Callable[[Listener], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.prompt_id = prompt_id
        self.client_id = client_id
        self.ear = ear
        self.borrows = borrows
        self.given_up = False
        self._tune = tune
        self._silence_s = silence_s
        self._forget = forget
        self._clock = clock
        self._events: deque[RunEvent] = deque()
        self._changed = threading.Condition()
        self._nudged = False
        self._heard = self._complained = clock()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._forget(self)

    def get(self, timeout_s: float) -> RunEvent | None:
        """Wait for the next event of this prompt, or of the socket.

        `Silent` comes each `silence_s` seconds without a frame of this prompt. None after
        `timeout_s` seconds, or at once after a nudge.
        """
        deadline = self._clock() + timeout_s
        with self._changed:
            while True:
                if self._nudged:
                    self._nudged = False
                    return None
                if self._events:
                    return self._events.popleft()
                now = self._clock()
                quiet_until = max(self._heard, self._complained) + self._silence_s
                if now >= quiet_until:
                    self._complained = now
                    return Silent(self.prompt_id, now - self._heard)
                if now >= deadline:
                    return None
                self._changed.wait(min(deadline, quiet_until) - now)

    @property
    def heard_at(self) -> float:
        """Give the time, by the client's clock, of the last frame of this prompt."""
        return self._heard

    def tune_in(self) -> None:
        """Hear a prompt that another process posted, through the socket it was posted under.

        Only when that process surely listens no more: two sockets on one id harm each other (31).
        Again, it connects anew if nothing was heard meanwhile. Does nothing for a prompt of ours.
        """
        self._tune(self)

    def give_up(self) -> None:
        """Leave the prompt to another process: its socket is closed before the listener is."""
        self.given_up = True

    def nudge(self) -> None:
        """Make the waiting `get`, or the next one, return None at once."""
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def put(self, event: RunEvent) -> None:
        """Hand in an event. What a newer one makes worthless is dropped: previews, node steps."""
        with self._changed:
            if not isinstance(event, Lost | Back | Queued):
                self._heard = self._clock()
            if isinstance(event, Preview | Queued):
                kind = type(event)
                self._events = deque(e for e in self._events if not isinstance(e, kind))
            elif self._events and _outdoes(event, self._events[-1]):
                self._events.pop()
            self._events.append(event)
            self._changed.notify_all()


def _outdoes(new: RunEvent, old: RunEvent) -> bool:
    """Tell whether a node's newer step says all that the older one said."""
    return isinstance(new, NodeProgress) and isinstance(old, NodeProgress) and new.node == old.node


def _always() -> None:
    """Let everything be sent."""


class ComfyClient:
    """One server. Safe to use from many threads.

    `timeout_s` bounds the silence of any one answer, `silence_s` that of a listened prompt.
    `name` is for people and the ledger, where the address alone would not tell it from another's.
    Each prompt under way has a socket, and its `client_id`, to itself, kept for the next one: so
    another process can take over one prompt without making this one deaf to the others (16, 31).
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        name: str = "",
        silence_s: float = 5.0,
        timeout_s: float = 10.0,
        patience: Patience | None = None,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address.read(url, headers)
        self.url = self._address.url
        self.name = name or self._address.name
        self._timeout_s = timeout_s
        self._silence_s = silence_s
        self._clock = clock
        self._calls = Calls(self._address, timeout_s=timeout_s)
        self._patience, self._rng = patience, rng
        first = self._new_ear(str(uuid.uuid4()))
        self._link = first.link
        self._ears = [first]
        self._borrowed: dict[Listener, _Ear] = {}
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._watchers: tuple[Callable[[], None], ...] = ()
        self._features: Features | None = None
        self._definitions: Definitions | None = None
        self._cancels_by_id: bool | None = None
        self.queue_remaining = 0
        """The whole server's queue length as last heard."""

    # The socket ---------------------------------------------------------------------------

    @property
    def client_id(self) -> str:
        """Give the id of the first socket, which is always open."""
        return self._ears[0].client_id

    def open(self) -> None:
        """Start the socket's thread; returns at once. It reconnects until `close`."""
        self._closed.clear()
        self._link.open()

    def close(self) -> None:
        """End every socket, its thread, and the kept connections."""
        self._closed.set()
        with self._lock:
            ears = [*self._ears, *self._borrowed.values()]
        for ear in ears:
            ear.link.close()
        self._calls.close()

    @property
    def connected(self) -> bool:
        """Tell whether the socket is open."""
        return self._link.connected

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the socket to open; tell whether it is."""
        return self._link.wait_up(timeout_s)

    def on_link(self, fn: Callable[[], None]) -> None:
        """Call `fn`, from the socket's thread, whenever the socket was opened or lost."""
        with self._lock:
            self._watchers = (*self._watchers, fn)

    def listen(self, prompt_id: str, *, client_id: str = "") -> Listener:
        """Hear one prompt. Register before `submit`: frames may come before the answer (33).

        While the socket is away the listener hears `Lost` first. `client_id` is the one under which
        another process posted the prompt: nothing is heard of it before `Listener.tune_in`.
        """
        with self._lock:
            ear = self._ears[0] if client_id else self._take_ear()
            listener = Listener(
                prompt_id,
                client_id=client_id or ear.client_id,
                ear=ear,
                borrows=bool(client_id),
                silence_s=self._silence_s,
                forget=self._forget,
                tune=self._tune,
                clock=self._clock,
            )
            self._listeners = (*self._listeners, listener)
        if ear.link is not self._link and self._link.connected:
            ear.link.open()
            ear.link.wait_up(_EAR_S)
        if not ear.link.connected:
            listener.put(Lost("not connected"))
        return listener

    def _new_ear(self, client_id: str) -> _Ear:
        link = Link(
            self._address,
            client_id,
            lambda event: self._hear(ear, event),
            patience=self._patience,
            rng=self._rng,
            clock=self._clock,
        )
        ear = _Ear(client_id, link)
        return ear

    def _take_ear(self) -> _Ear:
        """Take a socket that no prompt has, or a new one. Under the lock."""
        ear = next((one for one in self._ears if not one.taken), None)
        if ear is None:
            ear = self._new_ear(str(uuid.uuid4()))
            self._ears.append(ear)
        ear.taken = True
        return ear

    def _tune(self, listener: Listener) -> None:
        """Open the socket a prompt was posted under, or open it anew when it seems deaf."""
        if not listener.borrows:
            return
        now = self._clock()
        with self._lock:
            if self._closed.is_set() or any(e.client_id == listener.client_id for e in self._ears):
                return
            ear = self._borrowed.get(listener)
            if ear is None:
                ear = self._new_ear(listener.client_id)
                self._borrowed[listener] = ear
            elif now - max(ear.tuned_at, listener.heard_at) < _DEAF_S:
                return
            else:
                ear.link.rename(listener.client_id)
            ear.tuned_at = now
        ear.link.open()

    def _forget(self, listener: Listener) -> None:
        with self._lock:
            self._listeners = tuple(known for known in self._listeners if known is not listener)
            borrowed = self._borrowed.pop(listener, None)
            ear = listener.ear
            if not listener.borrows:
                if listener.given_up:
                    ear.client_id = str(uuid.uuid4())
                    ear.link.rename(ear.client_id)
                ear.taken = False
        if borrowed is not None:
            borrowed.link.close()

    def _hear(self, ear: _Ear, event: RunEvent) -> None:
        """Pass an event on, from the socket's thread. Foreign prompts have no listener (17)."""
        match event:
            case Unknown(kind):
                log.debug("%s says %s", self.name, kind)
                return
            case Lost() | Back():
                if ear.link is self._link:
                    self.refresh()
                heard_by = tuple(k for k in self._listeners if k.ear is ear)
            case Queued(remaining):
                self.queue_remaining = remaining
                heard_by = tuple(k for k in self._listeners if k.ear is ear)
            case _:
                heard_by = tuple(k for k in self._listeners if k.prompt_id == event.prompt_id)
        for listener in heard_by:
            listener.put(event)
        if isinstance(event, Lost | Back) and ear.link is self._link:
            for fn in self._watchers:
                fn()

    # What the server is and has -----------------------------------------------------------

    def refresh(self) -> None:
        """Forget what was learned of the server: it may be another version now."""
        self._features = self._definitions = self._cancels_by_id = None

    def system(self, *, timeout_s: float | None = None) -> ServerInfo:
        """Ask version and devices (`/system_stats`)."""
        info = wire.read_system(self._calls.get("/system_stats", timeout_s=timeout_s))
        if info is None:
            raise StudioError("server_answer", details="no ComfyUI", server=self.name)
        return info

    def features(self) -> Features:
        """Ask what it can do (`/features`), once per connection; old servers do not tell."""
        known = self._features
        if known is None:
            known = wire.read_features(self._calls.get("/features", missing={}))
            self._features = known
        return dataclasses.replace(known, cancel_by_id=bool(self._cancels_by_id))

    def definitions(self) -> Definitions:
        """Fetch the node definitions (`/object_info`, some 600 kB), once until `refresh`."""
        known = self._definitions
        if known is None:
            body = self._calls.get("/object_info", timeout_s=max(self._timeout_s, _DEFINITIONS_S))
            known = Definitions(body if isinstance(body, dict) else {})
            self._definitions = known
        return known

    def models(self, folder: str) -> tuple[str, ...]:
        """List the model files of one kind (`/models/{folder}`); empty for an unknown kind."""
        return wire.read_names(self._calls.get(f"/models/{quote(folder, safe='')}", missing=[]))

    def remaining(self, *, timeout_s: float | None = None) -> int:
        """Ask how many prompts run or wait on the whole server (GET `/prompt`)."""
        self.queue_remaining = wire.read_remaining(self._calls.get("/prompt", timeout_s=timeout_s))
        return self.queue_remaining

    def free(self) -> None:
        """Have the server drop its models and its cache (`/free`)."""
        self._calls.tell("/free", {"unload_models": True, "free_memory": True})

    # How a prompt stands ------------------------------------------------------------------

    def queue(self) -> QueueState:
        """Ask what runs and waits, of everybody, in the order it will run (`/queue`)."""
        return wire.read_queue(self._calls.get("/queue"))

    def history(self, prompt_id: str) -> RunRecord | None:
        """Ask how one prompt ended; None while it has not, or when it is unknown (35).

        Asks for this one alone: a whole history may hold 10000 graphs.
        """
        body = self._calls.get(f"/history/{quote(prompt_id, safe='')}", missing={})
        return wire.read_history(body, prompt_id)

    def look(self, prompt_id: str) -> Standing:
        """Ask the server's own records how a prompt stands.

        The queue first: a prompt leaves it only once it is in the history. `UNKNOWN` after two
        looks a second apart: it was deleted, or the server forgot it in a restart (28, 38).
        """
        standing = self._look_once(prompt_id)
        if standing.kind is StandingKind.UNKNOWN and not self._closed.wait(_LOOK_GAP_S):
            standing = self._look_once(prompt_id)
        return standing

    def _look_once(self, prompt_id: str) -> Standing:
        queue = self.queue()
        if prompt_id in queue.running:
            return Standing(StandingKind.RUNNING)
        if prompt_id in queue.pending:
            ahead = len(queue.running) + queue.pending.index(prompt_id)
            return Standing(StandingKind.QUEUED, position=ahead)
        record = self.history(prompt_id)
        if record is None:
            return Standing(StandingKind.UNKNOWN)
        return Standing(StandingKind.FINISHED, record=record)

    # Files --------------------------------------------------------------------------------

    def upload(self, path: Path, name: str, *, subfolder: str = "studio") -> str:
        """Bring a file to the server's input folder; give its name as graphs want it.

        The answer's name counts: other bytes under a taken name become `name (1).png` (43).
        Raises `upload_too_large` before a byte is sent.
        """
        self._check_size(path.stat().st_size)
        answer = self._calls.upload(
            "/upload/image", path, Path(name).name, {"subfolder": subfolder}
        )
        stored = wire.read_upload(answer)
        if stored is None:
            raise StudioError(
                "server_answer", details=f"upload: {answer!r}"[:500], server=self.name
            )
        return stored

    def download(self, file: OutputFile, into: BinaryIO) -> int:
        """Stream one output file; give its size in bytes. 404 is `output_missing` (22).

        When it raises, `into` may hold a part of the file.
        """
        params = {"filename": file.filename, "subfolder": file.subfolder, "type": file.type}
        size = 0
        with self._calls.stream("/view", params) as pieces:
            for piece in pieces:
                size += into.write(piece)
        return size

    def _check_size(self, size_bytes: int) -> None:
        """Refuse what the server would answer with 413; the limit holds for prompts too (48)."""
        if size_bytes <= _SMALL_BYTES:
            return
        limit = self.features().max_upload_bytes
        if size_bytes > limit:
            raise StudioError(
                "upload_too_large",
                details=f"{size_bytes} of {limit} bytes at {self.name}",
                limit=f"{limit / _MB:g}",
            )

    # Submitting and cancelling ------------------------------------------------------------

    def submit(
        self,
        prompt: Mapping[str, Any],
        prompt_id: str,
        *,
        extra_data: Mapping[str, Any] | None = None,
        may_send: Callable[[], None] = _always,
    ) -> None:
        """Put a bound graph into the server's queue under our own id, a canonical UUID.

        `may_send` is called last before each post, and raises where it must not be sent any more.
        When the answer is lost the id is looked up before it is sent again: the same id sent
        twice runs twice (3). A 200 with `node_errors` has dropped outputs in silence: the prompt
        is cancelled and refused (4). `server_away` leaves it open whether the prompt arrived,
        unless it is a `NeverSent`.
        """
        ear = self._ear_of(prompt_id)
        body = self._body(prompt, prompt_id, ear.client_id, extra_data)
        ear.link.wait_up(self._timeout_s / 4)  # connect first, then POST (13)
        frames = ear.link.frames
        may_send()
        try:
            status, answer = self._calls.post("/prompt", body)
        except NeverSent:
            raise
        except StudioError as error:
            if error.code != "server_away":
                raise
            log.warning("no answer to prompt %s: asking for it", prompt_id)
            patience_s = self._timeout_s if isinstance(error, Unanswered) else _DOUBT_S
            if self._arrived(prompt_id, patience_s):
                return
            if isinstance(error, Unanswered):
                raise  # the server may still be chewing on it: a second one could run beside it
            may_send()
            status, answer = self._calls.post("/prompt", body)
        self._accept(status, answer, prompt, prompt_id)
        ear.link.expect_a_frame(frames)

    def _ear_of(self, prompt_id: str) -> _Ear:
        """Give the socket that listens for a prompt; the first one where nobody does."""
        listeners = (k for k in self._listeners if k.prompt_id == prompt_id)
        return next((k.ear for k in listeners), self._ears[0])

    def _body(
        self,
        prompt: Mapping[str, Any],
        prompt_id: str,
        client_id: str,
        extra_data: Mapping[str, Any] | None,
    ) -> bytes:
        message = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id}
        if extra_data:
            message["extra_data"] = dict(extra_data)
        try:
            body = encode(message)
        except (ValueError, TypeError) as exc:
            raise StudioError("prompt_refused", details=repr(exc), reason=str(exc)) from exc
        self._check_size(len(body))
        return body

    def _arrived(self, prompt_id: str, patience_s: float) -> bool:
        """Find out whether a prompt arrived whose answer was lost. Raises when nobody can say."""
        deadline = self._clock() + patience_s
        while True:
            try:
                if self.look(prompt_id).kind is not StandingKind.UNKNOWN:
                    return True
            except StudioError as error:
                if error.code != "server_away" or self._clock() >= deadline:
                    raise
            if self._clock() >= deadline or self._closed.wait(0.2):
                return False

    def _accept(self, status: int, answer: Any, prompt: Mapping[str, Any], prompt_id: str) -> None:
        """Take the answer to a prompt for what it is."""
        if status == 400:
            raise refusals.refusal(answer, prompt)
        if status != 200:
            code = "server_answer" if status >= 500 else "server_refused"
            raise StudioError(
                code, details=f"POST /prompt: {answer!r}"[:500], server=self.name, status=status
            )
        taken = wire.read_accepted(answer)
        if taken.prompt_id != prompt_id:
            self._withdraw(taken.prompt_id)
            raise StudioError(
                "server_answer", details=f"POST /prompt: {answer!r}"[:500], server=self.name
            )
        if taken.has_errors:
            self._withdraw(prompt_id)
            raise refusals.refusal(answer, prompt)

    def _withdraw(self, prompt_id: str) -> None:
        try:
            self.cancel(prompt_id)
        except StudioError as error:
            log.warning("could not take prompt %s back: %s", prompt_id, error)

    def cancel(self, prompt_id: str) -> bool:
        """Stop this prompt alone; tell whether there was one to stop.

        By id where the server can (newer-versions 2); else deleted from the queue, and
        interrupted by id only when it is the one running (26, 28, 29). The run may still end in
        any way: at the next tick or node, or as a success (27).
        """
        if self._cancels_by_id is not False:
            cancelled = self._cancel_by_id(prompt_id)
            if cancelled is not None:
                return cancelled
        queue = self.queue()
        found = prompt_id in queue.running or prompt_id in queue.pending
        if prompt_id in queue.pending:
            self._calls.tell("/queue", {"delete": [prompt_id]})
            queue = self.queue()
        if prompt_id in queue.running:
            self._calls.tell("/interrupt", {"prompt_id": prompt_id})
        return found

    def _cancel_by_id(self, prompt_id: str) -> bool | None:
        """Ask for the better way; None, and remembered, when the server does not have it."""
        path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
        status, answer = self._calls.post(path, encode({}))
        cancelled = wire.read_cancelled(answer) if status == 200 else None
        if cancelled is not None or status in (404, 405, 501):
            self._cancels_by_id = cancelled is not None
        return cancelled
