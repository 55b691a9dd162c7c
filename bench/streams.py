"""A process of followers: reads the event streams of many jobs and tells when it heard what."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import NamedTuple

ARRIVE_S = 5.0
RUN_S = 10.0

Heard = list[tuple[str, float, float]]
"""Job, progress, and when it was heard."""


class Stream(NamedTuple):
    """One connection: whose job, and the cookie of its person as `name=value`."""

    job_id: str
    cookie: str


async def _read(port: int, stream: Stream, heard: Heard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(
            f"GET /api/events/{stream.job_id} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Cookie: {stream.cookie}\r\n\r\n".encode()
        )
        status = await reader.readline()
        assert b" 200 " in status, status
        while line := await reader.readline():
            if line.startswith(b"data: "):
                at = time.time()
                heard.append((stream.job_id, json.loads(line[6:])["progress"], at))
    finally:
        writer.close()


async def _all(port: int, streams: list[Stream]) -> Heard:
    heard: Heard = []
    tasks = []
    for stream in streams:
        tasks.append(asyncio.create_task(_read(port, stream, heard)))
        await asyncio.sleep(ARRIVE_S / len(streams))
    await asyncio.sleep(RUN_S)
    for task in tasks:
        if task.done():
            task.result()  # a connection that ended early is no follower: say why
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return heard


if __name__ == "__main__":
    asked = [Stream(*one) for one in json.load(sys.stdin)]
    print(json.dumps(asyncio.run(_all(int(sys.argv[1]), asked))))
