"""Plain REST: records as objects in, named scores out."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed_version
from typing import Any

import msgspec

from pragmatiq_triton.gateway.bounded import bounded_list, elements
from pragmatiq_triton.gateway.call import Call
from pragmatiq_triton.gateway.door import Deadline, Door
from pragmatiq_triton.gateway.errors import MalformedError, RequestError, TooLargeError
from pragmatiq_triton.gateway.identity import Ensemble, Identity
from pragmatiq_triton.gateway.outputs import SCORES, output_tensors
from pragmatiq_triton.gateway.over_http.exchange import Headers
from pragmatiq_triton.gateway.triton.messages import EMBEDDING

DEFAULT_ENSEMBLE = "scoring"
_AT_ONCE = 8
_MOST_TASKS = 256
_NO_RECORD = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The body of ``POST /v1/score``: one ``record`` or several ``records``.

    ``tasks`` names the scores that are wanted, all of the default model where it is None; ``embedding`` asks for the
    user embedding.
    """

    record: bytes
    records: list[bytes] | None
    tasks: list[str] | None
    embedding: bool


@cache
def _decoder(most_records: int) -> Callable[[bytes], Any]:
    optional = [("records", bounded_list(msgspec.Raw, most_records)), ("tasks", bounded_list(str, _MOST_TASKS))]
    fields = [("record", msgspec.Raw, _NO_RECORD), *((name, kind | None, None) for name, kind in optional)]
    body = msgspec.defstruct("ScoreRequest", [*fields, ("embedding", bool, False)], forbid_unknown_fields=True)
    return msgspec.json.Decoder(body).decode


_encode = msgspec.json.Encoder().encode


class NoAnswerError(RequestError):
    """Not one of several records has an answer; status and code are those of the gravest of their errors."""

    def __init__(self, errors: Sequence[RequestError]) -> None:
        gravest = max(errors, key=lambda error: error.status)
        super().__init__(f"none of {len(errors):,} records has an answer; one of their errors: {gravest}")
        self.status, self.code = gravest.status, gravest.code
        self.retry_after = gravest.retry_after
        self.errors = errors


async def score(door: Door, call: Call, body: bytes, timeout: float | None) -> bytes:
    """The answer to a body.

    One record: its scores, or an error. Several: each its scores or its error, in their order;
    :class:`NoAnswerError` if all are errors. All records of a call have one deadline.
    """
    deadline = door.deadline(timeout)
    asked = _read(body, door.limits.max_records)
    wanted = _ensembles(door.identity, asked.tasks)
    with door.counted(call, 1 if asked.records is None else len(asked.records)):
        if asked.records is None:
            found = await _score_one(door, call, asked.record, wanted, asked, deadline)
        else:
            found = {"answers": await _score_all(door, call, asked.records, wanted, asked, deadline)}
    return _encode({"request_id": call.request_id, "model": _model_of(door), **found})


async def _score_all(
    door: Door, call: Call, records: list[bytes], wanted: dict[str, Ensemble], asked: ScoreRequest, deadline: Deadline
) -> list[dict[str, Any]]:
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(document: bytes) -> dict[str, Any] | RequestError:
        async with places:
            try:
                return await _score_one(door, call, document, wanted, asked, deadline)
            except RequestError as error:
                return error

    answers = await asyncio.gather(*(one(record) for record in records))
    errors = [each for each in answers if isinstance(each, RequestError)]
    if errors and len(errors) == len(answers):
        raise NoAnswerError(errors)
    return [{"error": described(each)} if isinstance(each, RequestError) else each for each in answers]


def error_body(error: RequestError, call: Call) -> bytes:
    """An error's body."""
    found: dict[str, Any] = {"request_id": call.request_id, "error": described(error)}
    if isinstance(error, NoAnswerError):
        found["answers"] = [{"error": described(each)} for each in error.errors]
    return _encode(found)


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
    manifest, limits = door.identity.manifest, door.limits
    return {
        "run": manifest.run,
        "hash": door.identity.manifest_hash,
        "origin": manifest.origin,
        "variant": manifest.variant,
        "precision": manifest.precision,
        "dim": manifest.dim,
        "tokenizer_hash": manifest.tokenizer_hash,
        "weights_hash": manifest.weights_hash,
        "text_encoder": manifest.text_encoder_name,
        "models": {name: list(each.tasks) for name, each in door.identity.ensembles.items()},
        "tasks": [msgspec.to_builtins(head) for head in manifest.heads],
        "limits": {
            "max_body_bytes": limits.max_body_bytes,
            "max_records": limits.max_records,
            "request_seconds": limits.request_seconds,
            "record": dict(door.identity.record_limits),
        },
        "versions": {**manifest.versions, "gateway": version()},
    }


async def _score_one(
    door: Door,
    call: Call,
    document: bytes,
    wanted: dict[str, Ensemble],
    asked: ScoreRequest,
    deadline: Deadline,
) -> dict[str, Any]:
    outputs = (SCORES, EMBEDDING) if asked.embedding else (SCORES,)
    scores: dict[str, float] = {}
    found: dict[str, Any] = {"scores": scores}
    for position, ensemble in enumerate(dict.fromkeys(wanted.values())):
        names = outputs if position == 0 else (SCORES,)
        answer = await door.ask(call, ensemble, [document], names, deadline)
        by_name = {tensor.name: tensor.values() for tensor in output_tensors(answer, names)}
        scores |= dict(zip(ensemble.tasks, by_name[SCORES], strict=True))
        if EMBEDDING in by_name:
            found["embedding"] = by_name[EMBEDDING]
    if asked.tasks is not None:
        found["scores"] = {task: scores[task] for task in asked.tasks}
    return found


def _read(body: bytes, most: int) -> ScoreRequest:
    try:
        found = _decoder(most)(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        if said.startswith(f"Expected `array` of at most length {most}"):
            raise TooLargeError(f"records: expected at most {most:,}") from None
        raise MalformedError(f'expected {{"record": {{...}}}} or {{"records": [...]}} in JSON: {said}') from None
    if bool(found.record) == (found.records is not None):
        raise MalformedError("expected either `record` or `records`")
    records = None if found.records is None else [bytes(each) for each in elements(found.records)]
    tasks = None if found.tasks is None else elements(found.tasks)
    return ScoreRequest(bytes(found.record), records, tasks, found.embedding)


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
