"""What a file is called when a person takes it home. Pure."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from urllib.parse import quote

from studio.engine.jobs import Job, Output

_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


def download_name(job: Job, output: Output) -> str:
    """Name a file by tab, day, seed and number: `text_to_image_20261125_seed42_1.png`."""
    day = datetime.fromtimestamp(job.created_us / 1e6, UTC).astimezone().strftime("%Y%m%d")
    number = next((i for i, o in enumerate(job.outputs, 1) if o.name == output.name), 1)
    parts = [job.tab, day, f"seed{job.seed}" if job.seed is not None else "", str(number)]
    stem = "_".join(part for part in parts if part)
    _, dot, ending = output.name.rpartition(".")
    return _UNSAFE.sub("_", stem + (f".{ending}" if dot else ""))


def disposition(name: str, *, attachment: bool) -> str:
    """Write a Content-Disposition that every browser reads, Chinese names too (RFC 6266)."""
    kind = "attachment" if attachment else "inline"
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = _UNSAFE.sub("_", plain).strip() or "file"
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
