"""One document of all APIs, and the two readers of it that work without internet."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

from benchwire import __version__
from benchwire.foundation.web.content_policy import own_page

STATIC_PATH = "/static/docs"
# ReDoc shows its makers' logo from their own server.
_FOREIGN_PICTURE = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_FAVICON = f"{STATIC_PATH}/favicon.png"
_KEPT_AN_HOUR = {"Cache-Control": "max-age=3600"}


def documents_router(apps: Mapping[str, FastAPI]) -> APIRouter:
    """Return the routes of the merged document; it is made when first asked for."""
    router = APIRouter(include_in_schema=False)
    made: dict[str, Any] = {}

    @router.get("/openapi.json")
    def openapi() -> Response:
        """Every path of every domain, as OpenAPI."""
        if not made:
            made.update(merged([app.openapi() for app in apps.values()]))
        return JSONResponse(made)

    @router.get(f"{STATIC_PATH}/redoc.standalone.js")
    def redoc_script() -> Response:
        """ReDoc, asking for nothing from elsewhere."""
        script = (_readers() / "redoc.standalone.js").read_bytes()
        own = script.replace(_FOREIGN_PICTURE, _FAVICON.encode())
        return Response(own, media_type="text/javascript", headers=_KEPT_AN_HOUR)

    @router.get("/docs")
    def swagger() -> Response:
        """The document to try things out in (Swagger UI)."""
        made = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="benchwire",
            swagger_js_url=f"{STATIC_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{STATIC_PATH}/swagger-ui.css",
            swagger_favicon_url=_FAVICON,
        )
        return own_page(bytes(made.body).decode())

    @router.get("/redoc")
    def redoc() -> Response:
        """The document to read (ReDoc)."""
        made = get_redoc_html(
            openapi_url="/openapi.json",
            title="benchwire",
            redoc_js_url=f"{STATIC_PATH}/redoc.standalone.js",
            redoc_favicon_url=_FAVICON,
            with_google_fonts=False,
        )
        return own_page(bytes(made.body).decode())

    return router


def static_documents() -> StaticFiles:
    """Return the readers' own files, which come with a package and not from a CDN."""
    return StaticFiles(directory=_readers())


def _readers() -> Path:
    return Path(str(files("fastapi_offline"))) / "static"


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return several OpenAPI documents as one.

    Components of the same name but other content are kept apart by the title of their document.
    """
    whole: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "benchwire",
            "version": __version__,
            "description": "One server for the whole lab bench.",
        },
        "paths": {},
        "components": {
            "schemas": {},
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
        "security": [{"key": []}],
        "tags": [],
    }
    for document in documents:
        title = document["info"]["title"]
        schemas = whole["components"]["schemas"]
        own = document.get("components", {}).get("schemas", {})
        renamed = {
            name: f"{title.replace(' ', '')}{name}"
            for name, content in own.items()
            if name in schemas and schemas[name] != content
        }
        for name, content in own.items():
            schemas[renamed.get(name, name)] = _with_references(content, renamed)
        for path, item in document.get("paths", {}).items():
            whole["paths"][path] = _with_references(item, renamed)
        whole["tags"].append({"name": title})
    return whole


def _with_references(node: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {
            key: _reference(value, renamed) if key == "$ref" else _with_references(value, renamed)
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [_with_references(item, renamed) for item in node]
    return node


def _reference(value: str, renamed: Mapping[str, str]) -> str:
    head, _, name = value.rpartition("/")
    return f"{head}/{renamed.get(name, name)}"
