"""What goes over the socket: JSON frames and the binary layouts. Knows no sockets and no queue."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any, Final

PREVIEW: Final = 1
NODE_TEXT: Final = 3
PREVIEW_WITH_METADATA: Final = 4
_JPEG: Final = 1


@dataclass(frozen=True, slots=True)
class Text:
    """A JSON frame. `to` is a client id, or None for everybody."""

    event: str
    data: dict[str, Any]
    to: str | None

    def wire(self) -> str:
        """Give the text as it is sent."""
        return json.dumps({"type": self.event, "data": self.data})


@dataclass(frozen=True, slots=True)
class Preview:
    """A JPEG of the work so far; its binary type depends on what the socket announced."""

    node: str
    prompt_id: str
    jpeg: bytes
    to: str | None

    def plain(self) -> bytes:
        """Lay out as type 1: no node, no prompt (`binary_frames/type1_preview_jpeg.bin`)."""
        return struct.pack(">II", PREVIEW, _JPEG) + self.jpeg

    def with_metadata(self) -> bytes:
        """Lay out as type 4 (`binary_frames/type4_preview_with_metadata.bin`)."""
        about = json.dumps(
            {
                "node_id": self.node,
                "prompt_id": self.prompt_id,
                "display_node_id": self.node,
                "parent_node_id": None,
                "real_node_id": self.node,
                "image_type": "image/jpeg",
            }
        ).encode()
        return struct.pack(">II", PREVIEW_WITH_METADATA, len(about)) + about + self.jpeg


@dataclass(frozen=True, slots=True)
class NodeText:
    """A line a node shows about itself (type 3, `binary_frames/type3_text.bin`)."""

    node: str
    text: str
    to: str | None

    def wire(self) -> bytes:
        """Lay out as type 3; there is no prompt id in it."""
        node = self.node.encode()
        return struct.pack(">II", NODE_TEXT, len(node)) + node + self.text.encode()


Frame = Text | Preview | NodeText


def status(remaining: int, sid: str | None = None) -> Text:
    """Tell the whole server's queue length; only the first frame of a socket carries `sid`."""
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": remaining}}}
    if sid is not None:
        data["sid"] = sid
    return Text("status", data, sid)


def node_state(node: str, prompt_id: str, *, value: float, maximum: float, state: str) -> Any:
    """Give one node's entry of `progress_state`."""
    return {
        "value": value,
        "max": maximum,
        "state": state,
        "node_id": node,
        "prompt_id": prompt_id,
        "display_node_id": node,
        "parent_node_id": None,
        "real_node_id": node,
    }
