"""Makes the documents: the record's schema from the type that decodes records, the rest by hand."""

from typing import Any

import msgspec

from pragmatiq_triton.records import Record

_ID = "/v1/record.schema.json"
_HEADERS = {
    "x-request-id": {"schema": {"type": "string"}, "description": "The caller's request id, or one of ours."},
    "x-model-run": {"schema": {"type": "string"}, "description": "The run that answered."},
    "x-model-hash": {"schema": {"type": "string"}, "description": "SHA-256 of its manifest."},
}
_STATUSES = {
    "400": "The request or the record breaks the contract; the message says where and what was expected.",
    "401": "The caller is not known.",
    "403": "The caller is known and may not.",
    "408": "The request took too long to arrive.",
    "413": "The body, the headers or the number of records is over a limit.",
    "429": "More at once than there is room for, of all callers or of this one: see retry-after.",
    "500": "A fault of the server's; its log has the request id.",
    "503": "The models are starting, stopping or dead.",
    "504": "No answer in the time that the caller or the server allows.",
}


def record_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of one record."""
    [whole], parts = msgspec.json.schema_components([Record], ref_template="#/$defs/{name}")
    assert whole == {"$ref": "#/$defs/Record"}
    parts = _by_name(parts)
    record = parts.pop("Record")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _ID, "title": "Record"}
    return {**head, **{name: value for name, value in record.items() if name != "title"}, "$defs": parts}


def openapi() -> dict[str, Any]:
    """The OpenAPI 3.1 document of the REST API; KServe's protocol has its own description."""
    [_], records = msgspec.json.schema_components([Record], ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pragmatiq-triton",
            "version": "1",
            "summary": "Scores and embeddings of customers' histories.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}, {"clientCertificate": []}, {}],
        "paths": {"/v1/score": {"post": _score()}, "/v1/model": {"get": _model()}},
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JSON web token."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "clientCertificate": {"type": "mutualTLS"},
            },
            "schemas": {**_by_name(records), **_schemas()},
        },
    }


def _by_name(parts: dict[str, Any]) -> dict[str, Any]:
    """Schemas by name, with descriptions for readers who do not write reStructuredText."""
    found = {name: dict(parts[name]) for name in sorted(parts)}
    for each in found.values():
        if "description" in each:
            each["description"] = " ".join(each["description"].replace("``", "`").split())
    return found


def _score() -> dict[str, Any]:
    timeout = {
        "name": "x-timeout-ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        "description": "How long the caller waits; what it does not wait for is not computed.",
    }
    request_id = {
        "name": "x-request-id",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
        "description": "Comes back with the answer and stands in log and traces.",
    }
    answers = {"oneOf": [_ref("OneAnswer"), _ref("ManyAnswers")]}
    return {
        "operationId": "score",
        "summary": "Score one record, or many; of many a bad one gets its own error beside the others' answers.",
        "parameters": [timeout, request_id],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("ScoreRequest")}}},
        "responses": {
            "200": {"description": "Scores by task.", "headers": _HEADERS, "content": _json(answers)},
            **{code: _error(words) for code, words in _STATUSES.items()},
        },
    }


def _model() -> dict[str, Any]:
    return {
        "operationId": "model",
        "summary": "What answers: run, hashes, tasks and what they were fitted to, limits, versions.",
        "responses": {
            "200": {"description": "The model.", "headers": _HEADERS, "content": _json(_ref("Model"))},
            **{code: _error(_STATUSES[code]) for code in ("401", "403")},
        },
    }


def _schemas() -> dict[str, Any]:
    text, number, whole = {"type": "string"}, {"type": "number"}, {"type": "integer"}
    identity = _object({"run": text, "hash": text})
    scores = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}}
    answer = {"scores": scores, "embedding": {"type": "array", "items": number}}
    error = _object({"code": text, "message": text, "retry_after": number}, optional=("retry_after",))
    wanted = {
        "tasks": {"type": ["array", "null"], "items": text, "description": "Which scores; all of the default model."},
        "embedding": {"type": "boolean", "default": False, "description": "The user embedding as well."},
    }
    one = {**_object({"record": _ref("Record"), **wanted}, optional=tuple(wanted)), "title": "One record"}
    many = {"type": "array", "items": _ref("Record"), "minItems": 0}
    several = {**_object({"records": many, **wanted}, optional=tuple(wanted)), "title": "Several records"}
    told = {"request_id": text, "model": identity}
    task = {
        "task": text,
        "method": text,
        "kind": text,
        "model": text,
        "sha256": text,
        "fitted": {"type": "object", "description": "Calibrator, rows of training, calibration and test, cut-off."},
    }
    limits = {
        "max_body_bytes": whole,
        "max_records": whole,
        "request_seconds": number,
        "record": {"type": "object", "additionalProperties": whole},
    }
    names = ("run", "hash", "origin", "variant", "precision", "tokenizer_hash", "weights_hash")
    model = {
        **dict.fromkeys(names, text),
        "dim": whole,
        "text_encoder": {"type": ["string", "null"]},
        "models": {"type": "object", "additionalProperties": {"type": "array", "items": text}},
        "tasks": {"type": "array", "items": _object(task)},
        "limits": _object(limits),
        "versions": {"type": "object", "additionalProperties": text},
    }
    single = {"type": "object", "oneOf": [_object(answer, optional=("embedding",)), _object({"error": error})]}
    return {
        "ScoreRequest": {"oneOf": [one, several]},
        "OneAnswer": _object({**told, **answer}, optional=("embedding",)),
        "ManyAnswers": _object({**told, "answers": {"type": "array", "items": single}}),
        "Error": _object(
            {
                "request_id": text,
                "error": error,
                "answers": {
                    "type": "array",
                    "items": _object({"error": error}),
                    "description": "Of several records, none of which has an answer: each one's error.",
                },
            },
            optional=("answers",),
        ),
        "Model": _object(model),
    }


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _error(words: str) -> dict[str, Any]:
    return {"description": words, "content": _json(_ref("Error"))}
