"""Code that comes with data: a tokenizer, a run or a repository may name it, and the operator alone lets it run."""

import os
from pathlib import Path

import msgspec

from pragmatiq_triton.errors import ArtifactError, ConfigError
from pragmatiq_triton.text_encoders.protocol import TextEncoderSpec

TRUST_VARIABLE = "PRAGMATIQ_TRUST_REMOTE_CODE"
OPTION = "--trust-remote-code"
ENCODER_FILE = "text_encoder.json"
"""The settings of a repository's text encoder, in its model's version folder."""


def code_of(spec: TextEncoderSpec) -> str | None:
    """The code that the encoder, or its fallback, runs beside this project's own, in words; None if there is none."""
    if ":" in spec.encoder:
        return f"the Python module that the text encoder {spec.encoder!r} names"
    if spec.encoder == "nemotron" and spec.trust_remote_code:
        return f"the Python code in the text model's folder {spec.text_model}"
    return code_of(spec.fallback) if spec.fallback else None


def require_trust(spec: TextEncoderSpec, trusted: bool | None, where: str = "these settings") -> None:
    """Raise :class:`ConfigError` where ``spec``, read from ``where``, runs code that the operator did not allow.

    ``trusted``: the operator's word; None if it is the environment variable's to say.
    """
    code = code_of(spec)
    if code and not (_trusted_by_environment() if trusted is None else trusted):
        raise ConfigError(
            f"{where}: would run {code}, which came with the data: read it, and if you trust it, pass {OPTION} "
            f"(or set {TRUST_VARIABLE}=1)"
        )


def require_trusted_repository(repository: Path, trusted: bool | None) -> None:
    """Raise :class:`ConfigError` where a model of ``repository`` runs code that the operator did not allow."""
    for path in sorted(repository.glob(f"*/*/{ENCODER_FILE}")):
        require_trust(read_spec(path), trusted, str(repository))


def read_spec(path: Path) -> TextEncoderSpec:
    """The settings that export wrote; :class:`ArtifactError` where they cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=TextEncoderSpec)
    except (OSError, msgspec.DecodeError) as error:
        raise ArtifactError(f"{path}: expected a text encoder's settings: {error}") from None


def _trusted_by_environment() -> bool:
    value = os.environ.get(TRUST_VARIABLE, "")
    if value not in ("", "0", "1"):
        raise ConfigError(f"{TRUST_VARIABLE}: expected 1, 0 or nothing, got {value!r}")
    return value == "1"
