"""The public share link: Gradio's tunnel beside the running page, and never in its way.

Left to itself Gradio opens it while the page starts, waits for minutes where a network swallows
what it sends, reads nothing more of the tunnel's program afterwards, and does not notice its end.
Here the page is served first; a thread opens the tunnel within seconds or says why not, tries
again with growing pauses, watches it, and renews it when it dies or its week is over.
"""

from __future__ import annotations

import logging
import re
import secrets
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, cast
from urllib.parse import urlsplit, urlunsplit

import requests
from gradio import networking, tunneling
from gradio.exceptions import ChecksumMismatchError, ShareCertificateWriteError

from studio import texts
from studio.errors import StudioError
from studio.settings import Settings

log = logging.getLogger("studio.share")

LIFE_S: Final = 7 * 86_400.0
"""Gradio promises a week at most ("up to 1 week, best effort", 6.31)."""

_BEFORE_END_S: Final = 600.0
_PROBE_S: Final = 5.0
_LOOK_S: Final = 0.1
_FETCH_S: Final = 120.0
_STARTED: Final = re.compile(r"start proxy success: (\S+)")


def share_refusal(settings: Settings) -> StudioError | None:
    """Say why this studio must not be shared by a public link; None when it may.

    That strangers may come in is to be said by the host: a default is not enough.
    """
    if settings.studio_accounts == "off":
        reason = "share.reason.off"
    elif "studio_accounts" not in settings.model_fields_set:
        reason = "share.reason.unset"
    else:
        return None
    return StudioError("share_refused", reason=texts.text(reason, settings.studio_language))


@dataclass(frozen=True, slots=True)
class Link:
    """An open link, and when it ends at the latest."""

    url: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient the link's thread is, in seconds."""

    open_s: float = 15.0
    life_s: float = LIFE_S - _BEFORE_END_S
    pause_s: float = 10.0
    pause_at_most_s: float = 900.0


class _Untold(Exception):  # noqa: N818  (it never leaves this room)
    """Why there is no tunnel: a text key, and what the host's log should know."""

    def __init__(self, key: str, details: object) -> None:
        super().__init__(key, details)
        self.key = key
        self.details = details


class ShareLink:
    """Keeps a public link to the page open. `start` once, `stop` at the end.

    `where` gives host and port of the page once it is served, None before.

    `server`, `certificate` and `protocol` are those of Gradio's `launch()`: a tunnel server of
    one's own. `language` is that of what is said in the terminal.
    """

    def __init__(
        self,
        where: Callable[[], tuple[str, int] | None],
        *,
        server: str | None = None,
        certificate: str | None = None,
        protocol: str | None = None,
        language: str = texts.DEFAULT,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._where = where
        self._server = server
        self._certificate = certificate
        self._protocol = protocol or ("http" if server else "https")
        self._language = language
        self._pace = pace or Pace()
        self._now = now
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._ended = threading.Event()
        self._link: Link | None = None
        self._problem = ""
        self._pause_s = 0.0
        self._tunnel: tunneling.Tunnel | None = None
        self._thread = threading.Thread(target=self._run, name="studio-share", daemon=True)

    @property
    def link(self) -> Link | None:
        """Give the link, while there is one."""
        return self._link

    @property
    def problem(self) -> str:
        """Give the text key of why there is no link, or nothing."""
        return self._problem

    def why(self, language: str) -> str:
        """Say why there is no link, or nothing."""
        problem, pause_s = self._problem, self._pause_s
        return texts.text(problem, language, s=round(pause_s)) if problem else ""

    @property
    def address(self) -> str:
        """Give the link's address, or nothing."""
        link = self._link
        return link.url if link else ""

    def start(self) -> None:
        """Open the link soon, without making the caller wait."""
        self._thread.start()

    def stop(self) -> None:
        """Close the link."""
        self._stopping.set()
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)
        self._close()

    def wait(self, known: str = "", timeout_s: float = 30.0) -> bool:
        """Wait until the link, or the reason why there is none, is another than `known`."""
        end = time.monotonic() + timeout_s
        while (self.address or self._problem) == known:
            self._changed.clear()
            if (self.address or self._problem) != known:
                break
            if not self._changed.wait(max(0.0, end - time.monotonic())):
                return False
        return True

    # The thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        pause_s = self._pace.pause_s
        while (place := self._where()) is None:
            if self._stopping.wait(_LOOK_S):
                return
        # Every network of this machine is no place that a program can call.
        self._host = "127.0.0.1" if place[0] in ("0.0.0.0", "::", "") else place[0]  # noqa: S104
        self._port = place[1]
        while not self._stopping.is_set():
            try:
                self._open()
            except _Untold as why:
                self._tell(why, pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, self._pace.pause_at_most_s)
                continue
            pause_s = self._pace.pause_s
            over = not self._ended.wait(self._pace.life_s)
            self._close()
            if not self._stopping.is_set():
                key = "share.link.over" if over else "share.link.died"
                log.warning(texts.text(key, self._language))

    def _open(self) -> None:
        """Open a tunnel and say where it leads, or raise `_Untold`."""
        self._ended.clear()
        _fetch_program()
        token = secrets.token_urlsafe(32)
        try:
            url = self._within(token)
        except _Untold:
            _kill(token)
            raise
        tunnel = next(one for one in tunneling.CURRENT_TUNNELS if one.share_token == token)
        self._tunnel = tunnel
        self._say(url)
        process = _process(tunnel)
        for stream in (process.stdout, process.stderr) if process else ():
            if stream is None:
                continue
            # Who reads nothing of a program lets it stand still once its pipe is full.
            threading.Thread(
                target=self._listen, args=(tunnel, stream), name="studio-share-log", daemon=True
            ).start()

    def _within(self, token: str) -> str:
        """Have Gradio set the tunnel up, for no longer than our patience."""
        done, late, said = threading.Event(), threading.Event(), list[str | Exception]()

        def set_up() -> None:
            try:
                said.append(self._set_up(token))
            except Exception as error:  # noqa: BLE001  the thread's edge: whatever it was is told
                said.append(error)
            done.set()
            if late.is_set():
                _kill(token)  # nobody waits for it any more, and nobody would know of the link

        threading.Thread(target=set_up, name="studio-share-open", daemon=True).start()
        end = time.monotonic() + self._pace.open_s
        while not done.wait(_LOOK_S):
            if self._stopping.is_set() or time.monotonic() > end or _died(token):
                late.set()
                raise _Untold("share.link.blocked", f"nothing within {self._pace.open_s:g} s")
        if isinstance(said[0], str):
            return said[0]
        raise _reason(said[0]) from said[0]

    def _set_up(self, token: str) -> str:
        return networking.setup_tunnel(
            local_host=self._host,
            local_port=self._port,
            share_token=token,
            share_server_address=self._server,
            share_server_tls_certificate=self._certificate,
        )

    def _listen(self, tunnel: tunneling.Tunnel, stream: IO[bytes]) -> None:
        """Read what the program says until it ends: it may have come back under another name."""
        for raw in stream:
            line = raw.decode(errors="replace").strip()
            log.debug("tunnel: %s", line)
            found = _STARTED.search(line)
            if found and self._tunnel is tunnel:
                self._say(found[1])
        stream.close()
        if self._tunnel is tunnel:
            self._ended.set()

    def _say(self, url: str) -> None:
        """Make known where the link is and when it ends."""
        url = urlunsplit((self._protocol, *urlsplit(url)[1:]))
        ends_at = datetime.fromtimestamp(self._now() + self._pace.life_s + _BEFORE_END_S, UTC)
        day = f"{ends_at.astimezone():%Y-%m-%d %H:%M}"
        log.warning(texts.text("share.link.open", self._language, url=url, day=day))
        self._link, self._problem = Link(url, ends_at), ""
        self._changed.set()

    def _tell(self, why: _Untold, pause_s: float) -> None:
        if not self._stopping.is_set():
            level = logging.DEBUG if self._problem == why.key else logging.WARNING
            said = texts.text(why.key, self._language, s=round(pause_s))
            log.log(level, "%s (%s)", said, why.details)
        self._problem, self._pause_s = why.key, pause_s
        self._changed.set()

    def _close(self) -> None:
        tunnel, self._tunnel, self._link = self._tunnel, None, None
        if tunnel is not None:
            _end(tunnel)


def _fetch_program() -> None:
    """Have the tunnel's program at hand, or raise `_Untold`: within seconds, were there no way."""
    if Path(tunneling.BINARY_PATH).exists():
        return
    try:
        requests.head(tunneling.BINARY_URL, timeout=_PROBE_S, allow_redirects=True)
    except (requests.RequestException, OSError) as error:
        raise _Untold("share.link.no_program", repr(error)) from error
    done, failed = threading.Event(), list[Exception]()

    def fetch() -> None:
        try:
            tunneling.Tunnel.download_binary()  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  the thread's edge: whatever it was is told
            failed.append(error)
        done.set()

    threading.Thread(target=fetch, name="studio-share-fetch", daemon=True).start()
    if not done.wait(_FETCH_S):
        raise _Untold("share.link.no_program", f"not there within {_FETCH_S:g} s")
    if failed:
        raise _reason(failed[0]) from failed[0]


def _reason(error: Exception) -> _Untold:
    """Tell what Gradio met as people can use it."""
    if isinstance(error, ChecksumMismatchError):
        Path(tunneling.BINARY_PATH).unlink(missing_ok=True)  # Gradio would run it the next time
        return _Untold("share.link.no_program", "the program that came is not the one expected")
    if isinstance(error, ShareCertificateWriteError):
        return _Untold("share.link.no_place", error)
    if not Path(tunneling.BINARY_PATH).exists():
        return _Untold("share.link.no_program", repr(error))
    if isinstance(error, RuntimeError):
        return _Untold("share.link.no_answer", repr(error.__cause__ or error))
    return _Untold("share.link.blocked", repr(error))


def _of(token: str) -> list[tunneling.Tunnel]:
    return [one for one in tunneling.CURRENT_TUNNELS if one.share_token == token]


def _died(token: str) -> bool:
    """Tell whether the program has ended before it said anything: Gradio would not notice."""
    processes = [process for one in _of(token) if (process := _process(one)) is not None]
    return any(process.poll() is not None for process in processes)


def _process(tunnel: tunneling.Tunnel) -> subprocess.Popen[bytes] | None:
    """Give a tunnel's program, of which Gradio says no type."""
    return cast("subprocess.Popen[bytes] | None", tunnel.proc)


def _kill(token: str) -> None:
    for tunnel in _of(token):
        process = _process(tunnel)
        _end(tunnel)
        for stream in (process.stdout, process.stderr) if process else ():
            if stream is not None:
                stream.close()  # of a tunnel that stands, who listens to them does


def _end(tunnel: tunneling.Tunnel) -> None:
    """End a tunnel's program and leave nothing of it."""
    process = _process(tunnel)
    tunnel.proc = None  # whoever still reads of it stops
    if tunnel in tunneling.CURRENT_TUNNELS:
        tunneling.CURRENT_TUNNELS.remove(tunnel)
    if process is None:
        return
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
