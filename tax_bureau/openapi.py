"""What the gateway's HTTP interface is, as an OpenAPI 3.1 document. A test holds it against the running thing."""

from __future__ import annotations

from typing import Any, Final

import shared
from shared.model.standing import ReportStatus, Standing

Json = dict[str, Any]

_DIGEST: Final[Json] = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "Report digest: SHA-256 of the signed attributes.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}
_PART_FIELDS: Final[list[Json]] = [
    {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "pattern": pattern},
    }
    for name, description, pattern in (
        (
            "Content-Range",
            "Of a part: its first and last position, and the file's size.",
            "^bytes [0-9]+-[0-9]+/[0-9]+$",
        ),
        ("Repr-Digest", "Beside Content-Range: of the whole file.", "^sha-256=:[A-Za-z0-9+/]{43}=:$"),
    )
]
_RETRY_AFTER: Final[Json] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_REQUEST_ID: Final[Json] = {
    "X-Request-Id": {"description": "The caller's, or a new one.", "schema": {"type": "string"}},
}
_SIGNATURE: Final[list[Json]] = [{"stationKey": []}]
_PROBLEMS: Final[dict[int, str]] = {
    400: "The request is malformed: a header, a parameter, a body unlike its Content-Digest or Content-Range, "
    "parts that together are not what Repr-Digest says.",
    401: "Not signed, signed at another time (`clock-skew`, with `server_time`), or received before.",
    403: "The key is not on file (2734, 0x8204000D), the taxpayer is not enrolled (2735), or it is another taxpayer's.",
    404: "This report was never received.",
    409: "Another report of the same copy of the card is on file; there is no success that this receipt closes; "
    "the part does not begin at `offset` (`part-offset`); or another file of the report is being uploaded in parts "
    "(`other-upload`, with Retry-After).",
    413: "Larger than permitted.",
    422: "The body is not what the path says, or does not prove (2734 with its return value).",
    429: "Not now: nothing was received. Ask again after Retry-After.",
    500: "A defect of the bureau's program; what became of the request is unknown.",
    503: "The store cannot be reached; what became of the request is unknown.",
}


def _problem(status: int) -> Json:
    return {
        "description": _PROBLEMS[status],
        **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _text(description: str, **more: Any) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}, **more}


def _json(description: str, schema: str) -> Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
    }


def _operation(
    name: str, summary: str, answers: dict[int, Json], *problems: int, signed: bool = True, **more: Any
) -> Json:
    # Any request may find the house full, the store away, or a defect.
    found = {**answers, **{status: _problem(status) for status in (*problems, 429, 500, 503)}}
    found = {status: {**said, "headers": {**said.get("headers", {}), **_REQUEST_ID}} for status, said in found.items()}
    return {
        "operationId": name,
        "summary": summary,
        **({"security": _SIGNATURE} if signed else {"security": []}),
        **more,
        "responses": {str(status): found[status] for status in sorted(found)},
    }


def _body(media: str, description: str, limit: int) -> Json:
    return {
        "required": True,
        "description": description,
        "content": {media: {"schema": {"type": "string", "format": "binary", "maxLength": limit}}},
    }


def document() -> Json:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "taxferry reference gateway",
            "version": shared.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "The reference implementation of a bureau for remote tax reports (远程抄报). Every call ends "
            "as accepted, refused or unknown; after unknown, ask before sending again.",
        },
        "paths": {
            "/v1/reports/{digest}": {
                "parameters": [_DIGEST],
                "put": _operation(
                    "putReport",
                    "Upload a report (.dat), whole or in parts. A failure that may be resent is judged again.",
                    {
                        202: _json("The part counts; `offset` is where the next one begins.", "ReportStatus"),
                        201: _text("Taken: the signed receipt."),
                        200: _text("On file already: the same receipt, octet by octet."),
                    },
                    *(400, 401, 403, 409, 413, 422, 429),
                    parameters=_PART_FIELDS,
                    requestBody=_body(
                        "application/octet-stream",
                        "The whole file; or, with Content-Range, a part of at most 8 MiB.",
                        1 << 30,
                    ),
                ),
                "get": _operation(
                    "getReport",
                    "Where a report stands.",
                    {200: _json("Its status.", "ReportStatus")},
                    *(400, 401, 403, 404),
                ),
            },
            "/v1/reports/{digest}/result": {
                "parameters": [_DIGEST],
                "get": _operation(
                    "getResult",
                    "The newest result (.txt).",
                    {
                        200: _text("The signed result."),
                        202: _text("`Y`: the bureau is still processing it.", headers=_RETRY_AFTER),
                    },
                    *(400, 401, 403, 404),
                ),
            },
            "/v1/reports/{digest}/ack": {
                "parameters": [_DIGEST],
                "put": _operation(
                    "putAck",
                    "Deliver the clear receipt (.ack) of a report. May be repeated.",
                    {200: _json("The report's status after it.", "ReportStatus")},
                    *(400, 401, 403, 404, 409, 413, 422),
                    requestBody=_body("text/plain", "The signed clear receipt.", 1 << 16),
                ),
            },
            "/v1/taxpayers/{taxpayer_id}/standing": {
                "parameters": [
                    {
                        "name": "taxpayer_id",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string", "pattern": "^[0-9A-Z]{15,20}$"},
                    },
                    {
                        "name": "period",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "string", "pattern": "^[0-9]{4}-(0[1-9]|1[0-2])$"},
                    },
                ],
                "get": _operation(
                    "getStanding",
                    "Enrolled? declared? who has reported? Answered also to an issued key that is not on file.",
                    {200: _json("The taxpayer's month.", "Standing")},
                    *(400, 401, 403),
                ),
            },
            "/v1/trust": {
                "get": _operation(
                    "getTrust", "The current trust file; it proves itself.", {200: _text("trust.txt")}, signed=False
                )
            },
            "/healthz": {
                "get": _operation("getHealth", "The program runs.", {200: _json("It does.", "Health")}, signed=False)
            },
            "/readyz": {
                "get": _operation("getReady", "The store answers.", {200: _json("It does.", "Health")}, signed=False)
            },
            "/metrics": {
                "get": _operation(
                    "getMetrics",
                    "Numbers for monitoring.",
                    {200: _text("Prometheus exposition format.")},
                    signed=False,
                )
            },
            "/openapi.json": {
                "get": _operation(
                    "getOpenapi",
                    "This document.",
                    {200: {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {}}}}},
                    signed=False,
                )
            },
        },
        "components": {
            "securitySchemes": {
                "stationKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Signature",
                    "description": "HTTP Message Signature (RFC 9421), label and tag `taxferry`, over @method, @authority, "
                    "@path, @query, content-digest (RFC 9530), content-range and repr-digest where present, with created (300 s), nonce, keyid (SHA-256 of the "
                    "station certificate) and alg (rsa-v1_5-sha256 or ecdsa-p256-sha256).",
                }
            },
            "schemas": {
                "ReportStatus": ReportStatus.model_json_schema(mode="serialization"),
                "Standing": Standing.model_json_schema(mode="serialization"),
                "Health": {
                    "type": "object",
                    "required": ["status"],
                    "properties": {"status": {"enum": ["ok", "ready"]}},
                },
                "Problem": {
                    "type": "object",
                    "description": "RFC 9457.",
                    "required": ["type", "title", "status", "detail", "detail_en", "code"],
                    "properties": {
                        "type": {"type": "string", "format": "uri"},
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string", "description": "In Chinese."},
                        "detail_en": {"type": "string"},
                        "code": {"type": "string", "description": "The field's error code, or a name of ours."},
                        "field_code": {"type": "string", "description": "The return value shown beside 2734."},
                        "error": {"type": "string", "description": "The permanent code of the program's own error."},
                        "server_time": {"type": "string", "format": "date-time"},
                        "report_digest": {"type": "string"},
                        "request_id": {"type": "string", "description": "As in X-Request-Id."},
                        "offset": {"type": "integer", "description": "How many octets of the upload count."},
                    },
                },
            },
        },
    }
