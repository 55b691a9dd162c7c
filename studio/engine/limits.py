"""How often one person, or one address, may ask: moving windows, in memory or in Redis.

With Redis all web processes count together. Where it is away each counts for itself: a limit is
no reason to refuse anybody.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, cast

from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from studio.errors import StudioError

log = logging.getLogger("studio.limits")

_REDIS_PATIENCE_S: Final = 1


class Rate(StrEnum):
    """What is counted. An order counts as `GENERATE` and as `PAGE`, whichever door it came by."""

    GENERATE = "generate"
    PAGE = "page"
    STATUS = "status"
    UPLOAD = "upload"
    GUEST = "guest"
    LOGIN = "login"
    REGISTER = "register"


_COUNTED_TOO: Final = {Rate.GENERATE: Rate.PAGE, Rate.PAGE: Rate.GENERATE}


class Limits:
    """Counts what is asked. Safe in many threads; blocks on Redis for a second at most.

    `rates` say how many per minute, of `STATUS` per second; 0 and what is left out: no limit.
    """

    def __init__(self, rates: Mapping[Rate, int], redis_url: str = "") -> None:
        self._items: dict[Rate, RateLimitItem] = {
            rate: RateLimitItemPerSecond(amount)
            if rate is Rate.STATUS
            else RateLimitItemPerMinute(amount)
            for rate, amount in rates.items()
            if amount
        }
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_redis(redis_url)) if redis_url else None

    def take(self, rate: Rate, who: str) -> None:
        """Count one asking of a person or an address, or raise `too_often` with `wait_s`."""
        wait_s = self._counted(rate, who)
        if wait_s:
            raise StudioError("too_often", wait_s=wait_s)
        also = _COUNTED_TOO.get(rate)
        if also is not None:
            self._counted(also, who)

    def _counted(self, rate: Rate, who: str) -> int:
        """Count, and give 0; or give how many seconds are left to wait."""
        item = self._items.get(rate)
        if item is None:
            return 0
        if self._shared is not None:
            try:
                return _hit(self._shared, item, rate, who)
            except StorageError as exc:
                log.warning("Redis is away, so limits are counted here alone: %s", exc)
        return _hit(self._own, item, rate, who)


def _hit(limiter: MovingWindowRateLimiter, item: RateLimitItem, rate: Rate, who: str) -> int:
    if limiter.hit(item, rate, who):
        return 0
    left_s = limiter.get_window_stats(item, rate, who).reset_time - time.time()
    return max(1, math.ceil(left_s))


def _redis(url: str) -> Storage:
    patience = {"socket_timeout": _REDIS_PATIENCE_S, "socket_connect_timeout": _REDIS_PATIENCE_S}
    made = storage_from_string(url, wrap_exceptions=True, key_prefix="studio-limits", **patience)
    return cast("Storage", made)
