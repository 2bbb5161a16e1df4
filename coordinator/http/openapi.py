"""The OpenAPI 3.1 document, made from the routing table and the types of requests and answers.

Owns the translation. Nothing in it is written by hand that the code knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec
from tornado.web import RequestHandler

from coordinator.http.base import ApiHandler
from coordinator.http.errors import ErrorAnswer
from coordinator.http.identity import COOKIE, CSRF_HEADER
from coordinator.http.operations import Operation, operation, operation_of, role_needed
from coordinator.people.roles import Role

REFERENCE = "#/components/schemas/{name}"
SECURITY_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "bearerFormat": "mf_<id>_<secret>"},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": f"Set by POST /login. What changes something also needs {CSRF_HEADER}.",
    },
}
ERROR_REFERENCE = {"$ref": REFERENCE.format(name="ErrorAnswer")}


class RouteLike(Protocol):
    """A row of the routing table, which itself names the handler of this document."""

    @property
    def path(self) -> str: ...

    @property
    def handler(self) -> type[RequestHandler]: ...


class OpenApiHandler(ApiHandler):
    """/openapi.json."""

    @operation()
    async def get(self) -> None:
        """This document."""
        self.finish(self.application.settings["openapi"])


def document(routes: Iterable[RouteLike], base: str, version: str) -> bytes:
    """The whole document as JSON."""
    found = [
        (route, method, told)
        for route in routes
        for method in sorted(route.handler.SUPPORTED_METHODS)
        if (told := operation_of(getattr(route.handler, method.lower()))) is not None
    ]
    kinds = [ErrorAnswer]
    for _, _, told in found:
        kinds += [kind for kind in (told.answer, told.body, told.query) if kind is not None]
    kinds = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REFERENCE)
    by_kind = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, Any] = {}
    for route, method, told in found:
        at = paths.setdefault(base + route.path, {})
        at[method.lower()] = _operation(route.path, method, told, by_kind, components)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Moonfleet",
                "version": version or "0",
                "license": {"name": "GPL-3.0-or-later", "identifier": "GPL-3.0-or-later"},
            },
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": SECURITY_SCHEMES},
        }
    )


def _operation(
    path: str, method: str, told: Operation, by_kind: dict[Any, Any], components: dict[str, Any]
) -> dict[str, Any]:
    needs = role_needed(method, told)
    described: dict[str, Any] = {
        "operationId": _operation_id(path, method),
        "summary": told.description,
        "security": [] if needs is Role.NOBODY else [{name: []} for name in SECURITY_SCHEMES],
        "x-role": needs.word,
        "tags": [path.split("/")[1]],
        "responses": {
            str(told.status): _response(told, by_kind),
            "default": {
                "description": "An error.",
                "content": {"application/json": {"schema": ERROR_REFERENCE}},
            },
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if told.query is not None:
        parameters += _query_parameters(components[told.query.__name__])
    if parameters:
        described["parameters"] = parameters
    if told.takes_file:
        described["requestBody"] = _file_body()
    elif told.body is not None:
        required = bool(components[told.body.__name__].get("required"))
        described["requestBody"] = {
            "required": required,
            "content": {"application/json": {"schema": by_kind[told.body]}},
        }
    return described


def _response(told: Operation, by_kind: dict[Any, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {"description": told.description}
    if told.status == 101:
        return response
    if told.answer is not None:
        response["content"] = {told.media: {"schema": by_kind[told.answer]}}
    else:
        response["content"] = {told.media: {}}
    return response


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """One per field; lists are given as values divided by commas."""
    found = []
    for name, of_field in schema["properties"].items():
        parameter = {"name": name, "in": "query", "required": False, "schema": of_field}
        if of_field.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        found.append(parameter)
    return found


def _file_body() -> dict[str, Any]:
    """A G-code file, as the body itself or in a form."""
    return {
        "required": True,
        "content": {
            "application/octet-stream": {},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "contentMediaType": "text/x.gcode"},
                        "name": {"type": "string"},
                    },
                    "required": ["file"],
                }
            },
        },
    }


def _operation_id(path: str, method: str) -> str:
    words = re.findall(r"\w+", path)
    return "_".join([method.lower(), *words])
