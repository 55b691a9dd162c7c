"""The one socket to a ComfyUI: it reconnects for ever, and says so. Knows no prompt.

Traps of the wire it stands for (numbers as in the recordings' README): flags first (18), own pings
and a receive time-out, since the server sends none (32), the old socket fully closed before the
next one opens, and a socket that went deaf noticed (31), no foreign Origin (47).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import websocket

from studio.engine.comfy import wire
from studio.engine.comfy.address import Address
from studio.engine.comfy.events import Back, Lost, RunEvent

log = logging.getLogger("studio.comfy")

_TEXT: Final = websocket.ABNF.OPCODE_TEXT
_BINARY: Final = websocket.ABNF.OPCODE_BINARY
_CLOSE: Final = websocket.ABNF.OPCODE_CLOSE


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the link waits for what. All in seconds.

    `ping` after so long without a word; `dead` when not even the pong came; `deaf` when a prompt
    was taken and the queue's `status`, which goes to everybody, did not come; `steady` is how
    long a socket must hold before the next fault counts as the first again.
    """

    connect: float = 5.0
    tick: float = 1.0
    ping: float = 5.0
    dead: float = 20.0
    deaf: float = 5.0
    first_pause: float = 0.25
    longest_pause: float = 4.0
    steady: float = 10.0


class Gone(Exception):  # noqa: N818  a turn of the loop, not an error that people meet
    """The socket is of no more use, and why."""


class Random(Protocol):
    """What jitter needs of `random.Random`."""

    def uniform(self, a: float, b: float, /) -> float:
        """Draw evenly from a to b."""
        ...


class Link:
    """Reads one socket in a thread of its own and hands every event to `hear`, in order.

    `hear` is called from that thread with the wire's events, and with `Back` and `Lost`.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        hear: Callable[[RunEvent], None],
        *,
        patience: Patience | None = None,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._hear = hear
        self._patience = patience or Patience()
        self._rng = rng or random.Random()  # noqa: S311  jitter, no secret
        self._clock = clock
        self._stopped = threading.Event()
        self._up = threading.Event()
        self._lock = threading.Lock()
        self._socket: websocket.WebSocket | None = None
        self._thread: threading.Thread | None = None
        self._frames = 0
        self._deaf_at: float | None = None

    @property
    def connected(self) -> bool:
        """Tell whether the socket is open."""
        return self._up.is_set()

    @property
    def frames(self) -> int:
        """Count the data frames heard so far, over all connections."""
        return self._frames

    def open(self) -> None:
        """Start connecting; returns at once. A second call does nothing."""
        with self._lock:
            if self._thread is None:
                self._stopped.clear()
                self._thread = threading.Thread(
                    target=self._run, name=f"comfy-link {self._address.name}", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """End the socket and its thread."""
        self._stopped.set()
        with self._lock:
            thread, self._thread = self._thread, None
            if self._socket is not None:
                self._socket.abort()  # type: ignore[no-untyped-call]  # the library types it half
        if thread is not None:
            thread.join(timeout=self._patience.connect + 5)

    def rename(self, client_id: str) -> None:
        """Let go of the socket at once, and connect anew under this id."""
        with self._lock:
            self._client_id = client_id
            if self._socket is not None:
                self._socket.abort()  # type: ignore[no-untyped-call]  # the library types it half

    def wait_up(self, timeout_s: float) -> bool:
        """Wait until the socket is open; tell whether it is. No use waiting before `open`."""
        return self._up.wait(timeout_s if self._thread is not None else 0)

    def expect_a_frame(self, since: int) -> None:
        """Reconnect unless a frame came after the count `since`, or comes soon (31)."""
        self._deaf_at = self._clock() + self._patience.deaf
        if self._frames != since:  # in this order: the reader counts first, then clears
            self._deaf_at = None

    # The thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        faults = 0
        while not self._stopped.is_set():
            began = self._clock()
            try:
                self._once()
            except (Gone, websocket.WebSocketException, OSError, ValueError) as exc:
                self._down(str(exc) or repr(exc))
            except Exception as exc:
                # The loop's edge: a reader that died would leave every job deaf.
                log.exception("the socket's reader met a fault of its own")
                self._down(repr(exc))
            faults = 0 if self._clock() - began > self._patience.steady else faults + 1
            self._stopped.wait(self._pause(faults))
        self._up.clear()

    def _pause(self, faults: int) -> float:
        """Give the seconds to wait after so many faults in a row: doubling, bounded, spread out."""
        longest = self._patience.first_pause * 2.0 ** min(faults, 10)
        return self._rng.uniform(0.5, 1.0) * min(longest, self._patience.longest_pause)

    def _once(self) -> None:
        """Connect, read until the socket is gone, close it fully."""
        client_id = self._client_id
        socket = self._connect(client_id)
        try:
            with self._lock:
                if self._stopped.is_set() or self._client_id != client_id:
                    return
                self._socket = socket
            socket.send(wire.FLAGS)
            log.info("connected to %s", self._address.name)
            self._deaf_at = None
            self._up.set()
            self._hear(Back())
            self._read(socket)
        finally:
            with self._lock:
                self._socket = None
            socket.close(timeout=1)

    def _connect(self, client_id: str) -> websocket.WebSocket:
        return websocket.create_connection(
            self._address.socket_url(client_id),
            timeout=self._patience.connect,
            header=[f"{name}: {value}" for name, value in self._address.headers.items()],
            http_no_proxy=[self._address.host] if self._address.loopback else None,
            skip_utf8_validation=True,
        )

    def _read(self, socket: websocket.WebSocket) -> None:
        reader = wire.Reader()
        socket.settimeout(self._patience.tick)
        heard = pinged = self._clock()
        while not self._stopped.is_set():
            events = self._next(socket, reader)
            now = self._clock()
            if events is not None:
                heard = now
                for event in events:
                    self._hear(event)
            if now - heard > self._patience.dead:
                raise Gone(f"no answer to our pings for {now - heard:.0f} s")
            if self._deaf_at is not None and now > self._deaf_at:
                raise Gone("a prompt was taken, yet nothing was heard: deaf")
            if now - max(heard, pinged) >= self._patience.ping:
                socket.ping()
                pinged = now

    def _next(
        self, socket: websocket.WebSocket, reader: wire.Reader
    ) -> tuple[RunEvent, ...] | None:
        """Give the next frame's events; None when nothing came within a tick."""
        try:
            opcode, frame = socket.recv_data_frame(True)
        except websocket.WebSocketTimeoutException:
            return None
        if opcode == _CLOSE:
            raise Gone("the server closed the socket")
        if opcode not in (_TEXT, _BINARY):
            return ()
        self._frames += 1
        self._deaf_at = None
        return reader.text(frame.data) if opcode == _TEXT else reader.binary(frame.data)

    def _down(self, reason: str) -> None:
        """Tell once that the socket is gone; not when we closed it ourselves."""
        was_up = self._up.is_set()
        self._up.clear()
        if self._stopped.is_set():
            return
        if was_up:
            log.warning("lost the socket to %s: %s", self._address.name, reason)
            self._hear(Lost(reason))
        else:
            log.debug("no socket to %s: %s", self._address.name, reason)
