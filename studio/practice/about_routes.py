"""What the server is and has: definitions, models, features, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from aiohttp import web

from studio import texts
from studio.practice.files import MODEL_FOLDERS
from studio.practice.part import Route, Server

_MEMORY_BYTES: Final = 25_276_063_744
_EMPTY_OBJECTS: Final = ("/i18n", "/settings", "/workflow_templates")


class AboutRoutes:
    """Everything that is only read."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def table(self) -> list[Route]:
        """List method, path, handler."""
        return [
            ("GET", "/", self.front_page),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{class_type}", self.object_info),
            ("GET", "/models", self.models),
            ("GET", "/models/{folder}", self.models_in),
            ("GET", "/embeddings", self.embeddings),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/features", self.features),
            ("GET", "/users", self.users),
            ("GET", "/userdata", self.userdata),
            *[("GET", path, self.empty_object) for path in _EMPTY_OBJECTS],
        ]

    async def front_page(self, request: web.Request) -> web.Response:
        """Say what this is, to a person who opens the address."""
        language = texts.pick(request.headers.get("Accept-Language"))
        title = texts.text("practice.page.title", language)
        body = texts.text("practice.page.body", language)
        page = (
            f'<!doctype html><html lang="{language}"><meta charset="utf-8">'
            f"<title>{title}</title><h1>{title}</h1><p>{body}</p></html>"
        )
        return web.Response(text=page, content_type="text/html")

    async def object_info(self, request: web.Request) -> web.Response:
        """Show all node definitions, or one; an unknown one is `{}`."""
        definitions = self._server.definitions
        class_type = request.match_info.get("class_type")
        if class_type is None:
            return web.json_response(definitions.every())
        found = {class_type: definitions.get(class_type)} if class_type in definitions else {}
        return web.json_response(found)

    async def models(self, _request: web.Request) -> web.Response:
        """List the folder kinds."""
        return web.json_response(list(MODEL_FOLDERS))

    async def models_in(self, request: web.Request) -> web.Response:
        """List the models of one kind."""
        listed = self._server.folders.listed(request.match_info["folder"])
        if listed is None:
            return web.Response(status=404)
        return web.json_response([name for name in listed if name != "pixel_space"])

    async def embeddings(self, _request: web.Request) -> web.Response:
        """List embeddings, names without ending."""
        listed = self._server.folders.listed("embeddings") or []
        return web.json_response([Path(name).with_suffix("").as_posix() for name in listed])

    async def features(self, _request: web.Request) -> web.Response:
        """Tell what the server can do."""
        return web.json_response(self.told_features())

    def told_features(self) -> dict[str, Any]:
        """Give the body of `/features`, which sockets are told as well."""
        features: dict[str, Any] = {
            "supports_preview_metadata": True,
            "max_upload_size": self._server.faults.max_upload_bytes,
            "extension": {"manager": {"supports_v4": True}},
        }
        if self._server.newer:
            features |= {
                "assets": True,
                "node_replacements": True,
                "supports_model_type_tags": True,
            }
        return features

    async def system_stats(self, _request: web.Request) -> web.Response:
        """Tell version and memory."""
        system: dict[str, Any] = {
            "os": "linux",
            "ram_total": _MEMORY_BYTES,
            "ram_free": _MEMORY_BYTES // 2,
            "comfyui_version": self._server.version,
            "required_frontend_version": "1.35.9",
            "installed_templates_version": "0.7.67",
            "required_templates_version": "0.7.67",
            "python_version": "3.11.7 (practice)",
            "pytorch_version": "practice",
            "embedded_python": False,
            "argv": ["main.py", "--cpu", "--preview-method", "latent2rgb"],
        }
        if self._server.newer:
            system |= {"comfy_package_versions": [], "deploy_environment": "local"}
        device = {
            "name": "practice",
            "type": "cpu",
            "index": None,
            "vram_total": _MEMORY_BYTES,
            "vram_free": _MEMORY_BYTES // 2,
            "torch_vram_total": _MEMORY_BYTES,
            "torch_vram_free": _MEMORY_BYTES // 2,
        }
        return web.json_response({"system": system, "devices": [device]})

    async def users(self, _request: web.Request) -> web.Response:
        """Tell that there are no users."""
        return web.json_response({"storage": "server", "migrated": False})

    async def userdata(self, request: web.Request) -> web.Response:
        """Refuse a listing without a folder, and have none."""
        if not request.query.get("dir"):
            return web.Response(status=400, text="Directory not provided")
        return web.Response(status=404)

    async def empty_object(self, _request: web.Request) -> web.Response:
        """Answer `{}`."""
        return web.json_response({})
