"""Encoders by name: the built-in ones, imported on first use, those that you register, and import paths."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec
import numpy as np

from pragmatiq_triton.batch import Float32
from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders.protocol import TextEncoder, TextEncoderSpec
from pragmatiq_triton.text_encoders.trust import require_trust


class TextEncoderFactory(Protocol):
    """What makes an encoder: a function, or the encoder's class.

    ``device`` and ``threads`` say where it runs; they are no part of ``spec``, for the vectors do not depend on them.
    """

    def __call__(self, spec: TextEncoderSpec, *, device: str, threads: int | None) -> TextEncoder: ...


_Factory = TypeVar("_Factory", bound=TextEncoderFactory)

# Each of these modules registers its name when it is imported.
_BUILT_IN = {name: f"{__package__}.{name.replace('-', '_')}" for name in ("hash", "nemotron", "table", "upstream-hash")}
_FACTORIES: dict[str, TextEncoderFactory] = {}


def register_text_encoder(name: str) -> Callable[[_Factory], _Factory]:
    """Decorator that makes ``encoder: name`` in a config choose the decorated factory.

    Raises:
        ConfigError: The name is taken, or reads as an import path.
    """

    def register(factory: _Factory) -> _Factory:
        if ":" in name:
            raise ConfigError(f"text encoder name {name!r}: a ':' marks an import path; choose a name without one")
        if name in _FACTORIES or factory.__module__ != _BUILT_IN.get(name, factory.__module__):
            raise ConfigError(f"text encoder name {name!r} is taken; choose another")
        _FACTORIES[name] = factory
        return factory

    return register


def create_text_encoder(
    spec: TextEncoderSpec,
    *,
    text_model_folder: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    trusted: bool | None = None,
) -> TextEncoder:
    """The encoder that ``spec`` describes, ready to encode.

    Args:
        spec: The encoder's settings.
        text_model_folder: A local model folder in place of ``spec.text_model`` (of the fallback's, where there is one).
        device: A torch device, as ``cpu`` or ``cuda:0``, for encoders that run a model.
        threads: Set torch's intra-op threads, process-wide; left alone if None.
        trusted: Whether code that ``spec`` names may run; None if it is ``PRAGMATIQ_TRUST_REMOTE_CODE``'s to say.

    Raises:
        ConfigError: No such encoder, settings that do not fit it, or code that may not run.
        ArtifactError: A model or table that is damaged or not the pinned one.
        MissingDependencyError: A package or a model that is not here.
    """
    if text_model_folder is not None:
        spec = _with_folder(spec, text_model_folder)
    require_trust(spec, trusted)
    factory = _factory(spec.encoder)
    try:
        inspect.signature(factory).bind(spec, device=device, threads=threads)
    except TypeError as error:
        raise ConfigError(
            f"text encoder {spec.encoder!r}: expected a factory to call as (spec, *, device, threads), "
            f"got {inspect.signature(factory)}"
        ) from error
    encoder = factory(spec, device=device, threads=threads)
    if spec.encoder not in _BUILT_IN:
        _check_protocol(spec.encoder, encoder)
        encoder = _CheckedEncoder(encoder)
    if spec.dim not in (None, encoder.dim):
        raise ConfigError(
            f"text encoder {spec.encoder!r}: text_encoder.dim is {spec.dim}, but its vectors have {encoder.dim} numbers"
        )
    return encoder


def _with_folder(spec: TextEncoderSpec, folder: Path) -> TextEncoderSpec:
    """``spec`` with a model folder in place of its model; a commit hash says nothing about a folder and goes."""
    if spec.fallback is not None:
        return msgspec.structs.replace(spec, fallback=_with_folder(spec.fallback, folder))
    if not folder.is_dir():
        raise ConfigError(f"text model folder {folder}: no such folder")
    pinned = spec.revision if (spec.revision or "").startswith("sha256:") else None
    return msgspec.structs.replace(spec, text_model=str(folder), revision=pinned)


def _factory(name: str) -> TextEncoderFactory:
    if ":" in name:
        return _imported(name)
    if name not in _FACTORIES and name in _BUILT_IN:
        importlib.import_module(_BUILT_IN[name])
    if name not in _FACTORIES:
        choices = ", ".join(sorted(_BUILT_IN.keys() | _FACTORIES.keys()))
        raise ConfigError(f"no text encoder named {name!r}; choose {choices}, or an import path 'package.module:Class'")
    return _FACTORIES[name]


def _imported(path: str) -> TextEncoderFactory:
    module, _, attribute = path.partition(":")
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"text encoder {path!r}: {error}; expected 'package.module:Class' to be importable here"
        ) from error
    if not callable(factory):
        raise ConfigError(f"text encoder {path!r}: expected a class or a function, got {type(factory).__name__}")
    made: TextEncoderFactory = factory
    return made


def _check_protocol(name: str, encoder: object) -> None:
    for attribute, kind in (("name", str), ("dim", int), ("revision", str)):
        value = getattr(encoder, attribute, None)
        if not isinstance(value, kind):
            got = type(value).__name__ if hasattr(encoder, attribute) else "nothing"
            raise ConfigError(f"text encoder {name!r}: expected an attribute {attribute}: {kind.__name__}, got {got}")
    if not callable(getattr(encoder, "encode", None)):
        raise ConfigError(f"text encoder {name!r}: expected a method encode(texts), got none")


class _CheckedEncoder:
    """An encoder that is not ours, whose vectors are looked at before anyone reads them."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self.name = encoder.name
        self.dim = encoder.dim
        self.revision = encoder.revision

    def encode(self, texts: Sequence[str]) -> Float32:
        vectors = self._encoder.encode(texts)
        got = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        expected = f"float32 {[len(texts), self.dim]}"
        if got != expected:
            raise ConfigError(f"text encoder {self.name!r}: expected encode() to return {expected}, got {got}")
        return vectors
