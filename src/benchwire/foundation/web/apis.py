"""One application per API: its error shape, the size of its bodies, and how it documents both."""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from benchwire.foundation.web import error_handlers
from benchwire.foundation.web.bodies import LimitedBodies
from benchwire.foundation.web.error_handlers import RenderError
from benchwire.foundation.web.problems import Problem

BODY_BYTES = 8_000_000

_WORDS = {
    400: "The request cannot be used as it is.",
    401: "The API key is missing or wrong.",
    403: "Refused: a path outside the allowed folders, a page of another site, or the key's role.",
    404: "There is no such thing.",
    409: "The request is right, the moment is not.",
    413: "The body is larger than is accepted here.",
    422: "The request breaks a rule; nothing has changed.",
    429: "Too many wrong keys came from that address.",
    500: "The work was begun and went wrong.",
    503: "A part that the request needs is not there at the moment.",
}


class Api(FastAPI):
    """An application that answers every failure in one shape and says so in its document.

    Parameters
    ----------
    render
        Writes a problem in the API's error shape.
    refusal
        That shape.
    is_public
        Whether a path needs no key.
    body_bytes
        Largest request body.
    """

    def __init__(
        self,
        title: str,
        version: str,
        *,
        render: RenderError,
        refusal: type[BaseModel],
        is_public: Callable[[str], bool],
        body_bytes: int = BODY_BYTES,
    ) -> None:
        super().__init__(
            title=title, version=version, docs_url=None, redoc_url=None, openapi_url=None
        )
        self._refusal = refusal
        self._is_public = is_public
        self._invalid_status, _ = render(Problem(422, "", "", kind="validation"))
        self.add_middleware(LimitedBodies, limit=body_bytes)
        error_handlers.install(self, render)

    def openapi(self) -> dict[str, Any]:
        """Return the document; each operation names the ways in which it may refuse."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            # The framework's own shape, which no answer here has.
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            name = self._refusal.__name__
            schemas[name] = self._refusal.model_json_schema()
            content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    if self._is_public(path):
                        operation["security"] = []
                    answers = operation["responses"]
                    answers.pop("422", None)
                    for status in self._refusals(path, operation):
                        refused = {"description": _WORDS[status], "content": content}
                        answers.setdefault(str(status), refused)
        return self.openapi_schema or {}

    def _refusals(self, path: str, operation: Mapping[str, Any]) -> list[int]:
        found = {403, 500, 503}
        if not self._is_public(path):
            found |= {401, 429}
        if "parameters" in operation or "requestBody" in operation:
            found |= {400, 404, 409, self._invalid_status}
        if "requestBody" in operation:
            found.add(413)
        return sorted(found)
