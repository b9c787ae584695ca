"""Plain REST: records as objects in, named scores out."""

import asyncio
from importlib.metadata import version as installed_version
from typing import Any

import msgspec

from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.door import Door
from pragmatiq_triton.gateway.errors import MalformedError, RequestError, TooLargeError
from pragmatiq_triton.gateway.identity import Ensemble, Identity
from pragmatiq_triton.gateway.outputs import SCORES, output_tensors
from pragmatiq_triton.gateway.over_http.exchange import Headers
from pragmatiq_triton.gateway.triton.messages import EMBEDDING

DEFAULT_ENSEMBLE = "scoring"
_AT_ONCE = 8
_NO_RECORD = msgspec.Raw()


class ScoreRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /v1/score``: one ``record`` or several ``records``.

    ``tasks`` names the scores that are wanted, all of the default model where it is missing; ``embedding`` asks for the
    user embedding.
    """

    record: msgspec.Raw = _NO_RECORD
    records: list[msgspec.Raw] | None = None
    tasks: list[str] | None = None
    embedding: bool = False


_decode = msgspec.json.Decoder(ScoreRequest).decode
_encode = msgspec.json.Encoder().encode


async def score(door: Door, call: Call, body: bytes, timeout: float | None) -> bytes:
    """The answer to a body.

    One record: its scores, or an error. Several: each its scores or its error, in their order.
    """
    asked = _read(body, door.limits.max_records)
    wanted = _ensembles(door.identity, asked.tasks)
    if asked.record:
        found = await _score_one(door, call, bytes(asked.record), wanted, asked, timeout)
        return _encode({"request_id": call.request_id, "model": _model_of(door), **found})
    assert asked.records is not None
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(document: bytes) -> dict[str, Any]:
        async with places:
            try:
                return await _score_one(door, call, document, wanted, asked, timeout)
            except RequestError as error:
                return {"error": described(error)}

    answers = await asyncio.gather(*(one(bytes(record)) for record in asked.records))
    return _encode({"request_id": call.request_id, "model": _model_of(door), "answers": answers})


def error_body(error: RequestError, call: Call) -> bytes:
    """An error's body."""
    return _encode({"request_id": call.request_id, "error": described(error)})


def described(error: RequestError) -> dict[str, Any]:
    """An error as callers read it; ``retry_after`` is seconds."""
    found: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.retry_after is not None:
        found["retry_after"] = round(error.retry_after, 1)
    return found


def timeout_of(headers: Headers) -> float | None:
    """Seconds that the caller waits, by the header ``x-timeout-ms``."""
    value = headers.get(b"x-timeout-ms")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 9 or int(value) == 0:
        raise MalformedError("x-timeout-ms: expected milliseconds as a whole number above 0")
    return int(value) / 1000


def version() -> str:
    """This package's version."""
    return installed_version("pragmatiq-triton")


def model(door: Door) -> dict[str, Any]:
    """What ``GET /v1/model`` says."""
    manifest = door.identity.manifest
    return {
        "run": manifest.run,
        "hash": door.identity.manifest_hash,
        "variant": manifest.variant,
        "precision": manifest.precision,
        "dim": manifest.dim,
        "models": {name: list(each.tasks) for name, each in door.identity.ensembles.items()},
        "versions": {**manifest.versions, "gateway": version()},
    }


async def _score_one(
    door: Door,
    call: Call,
    document: bytes,
    wanted: dict[str, Ensemble],
    asked: ScoreRequest,
    timeout: float | None,
) -> dict[str, Any]:
    outputs = (SCORES, EMBEDDING) if asked.embedding else (SCORES,)
    scores: dict[str, float] = {}
    found: dict[str, Any] = {"scores": scores}
    for position, ensemble in enumerate(dict.fromkeys(wanted.values())):
        names = outputs if position == 0 else (SCORES,)
        answer = await door.score(call, ensemble, [document], names, timeout)
        by_name = {tensor.name: tensor.values() for tensor in output_tensors(answer, names)}
        scores |= dict(zip(ensemble.tasks, by_name[SCORES], strict=True))
        if EMBEDDING in by_name:
            found["embedding"] = by_name[EMBEDDING]
    if asked.tasks is not None:
        found["scores"] = {task: scores[task] for task in asked.tasks}
    return found


def _read(body: bytes, most: int) -> ScoreRequest:
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise MalformedError(f'expected {{"record": {{...}}}} or {{"records": [...]}} in JSON: {said}') from None
    if bool(asked.record) == (asked.records is not None):
        raise MalformedError("expected either `record` or `records`")
    if asked.records is not None and len(asked.records) > most:
        raise TooLargeError(f"records: expected at most {most:,}")
    return asked


def _ensembles(identity: Identity, tasks: list[str] | None) -> dict[str, Ensemble]:
    """Which ensemble answers which task; the default one first, or alone where no task is named."""
    ensembles = identity.ensembles
    default = ensembles.get(DEFAULT_ENSEMBLE) or next(iter(ensembles.values()))
    if not tasks:
        return {"": default}
    by_task = {task: each for each in ensembles.values() for task in each.tasks}
    if unknown := [task for task in tasks if task not in by_task]:
        raise MalformedError(f"tasks: no task {unknown[0][:80]!r}; there are {', '.join(by_task) or 'none'}")
    return {task: by_task[task] for task in tasks}


def _model_of(door: Door) -> dict[str, str]:
    return {"run": door.identity.manifest.run, "hash": door.identity.manifest_hash}
