"""A task head: the classifier and the calibration behind one task's probability, and its file form.

A folder holds ``head.json`` (what the head is) and ``head.npz`` (its numbers); the first names the second's hash, so
that files of two heads are never taken for one.
"""

import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass, fields, is_dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from pragmatiq_builder.head_methods import METHODS, MethodName
from pragmatiq_builder.heads.parts import Calibrator, Classifier, Isotonic, Linear, Platt, Stacked, Trees
from pragmatiq_triton.errors import ArtifactError, ConfigError

FORMAT = "1"
INPUTS = ("user_embedding", "event_state", "features")
LOWEST_PROBABILITY, HIGHEST_PROBABILITY = 1e-6, 1 - 1e-6

Arrays = dict[str, npt.NDArray[Any]]
Kind = Literal["user", "event"]

_CLASSIFIERS: dict[str, type[Classifier]] = {"linear": Linear, "trees": Trees, "stacked": Stacked}
_CALIBRATORS: dict[str, type[Calibrator]] = {"platt": Platt, "isotonic": Isotonic}
_TASK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What makes ``task``'s probability of ``inputs``, of :data:`INPUTS` and in their order, concatenated.

    ``method``: what the network's part was fitted by; ``kind``: whether it judges users or single events;
    ``feature_names``: the columns of ``features`` that it reads, in the classifier's order; ``info``: JSON, for people.
    A probability always lies within 1e-6 and 1 - 1e-6. Raises :class:`ConfigError` where these do not fit together.
    """

    task: str
    method: MethodName
    kind: Kind
    inputs: tuple[str, ...]
    feature_names: tuple[str, ...]
    classifier: Classifier
    calibrator: Calibrator
    info: dict[str, Any]

    def __post_init__(self) -> None:
        check_task(self.task)
        for name, value, known in (("method", self.method, MethodName), ("kind", self.kind, Kind)):
            if value not in get_args(known):
                raise ConfigError(f"task {self.task}: {name} {value!r}, expected one of {', '.join(get_args(known))}")
        if not self.inputs or self.inputs != tuple(name for name in INPUTS if name in self.inputs):
            raise ConfigError(f"task {self.task}: inputs {self.inputs}, expected some of {INPUTS} in that order")
        if ("features" in self.inputs) != bool(self.feature_names):
            raise ConfigError(
                f"task {self.task}: inputs {self.inputs} with feature names {self.feature_names}: "
                "name the columns exactly where 'features' is an input"
            )

    @property
    def adapts_network(self) -> bool:
        """Whether it reads a network that was changed for it."""
        return METHODS[self.method].adapts_network


def check_task(task: str) -> None:
    """Raises :class:`ConfigError` unless ``task`` can be a folder's name and a key of the answer."""
    if not _TASK.fullmatch(task):
        raise ConfigError(
            f"task {task!r}: expected 1 to 64 letters (A-Z, a-z), digits, '_', '.' or '-', "
            "the first a letter or a digit; rename the task"
        )


def save_head(head: Head, folder: Path) -> None:
    """Write ``head`` into ``folder``, made where needed; the same head gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {**_arrays("classifier", head.classifier), **_arrays("calibrator", head.calibrator)}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # the stub takes a name for allow_pickle
    description = {
        "format": FORMAT,
        "task": head.task,
        "method": head.method,
        "kind": head.kind,
        "inputs": head.inputs,
        "feature_names": head.feature_names,
        "classifier": type(head.classifier).__name__.lower(),
        "calibrator": type(head.calibrator).__name__.lower(),
        "arrays": sha256(buffer.getvalue()).hexdigest(),
        "info": head.info,
    }
    text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
    (folder / "head.npz").write_bytes(buffer.getvalue())
    (folder / "head.json").write_text(text, encoding="utf-8")


def load_head(folder: Path) -> Head:
    """Read what :func:`save_head` wrote.

    :class:`ArtifactError`, naming the file, where one is missing, damaged, of another format or of another head.
    """
    description_file, arrays_file = folder / "head.json", folder / "head.npz"
    try:
        description = json.loads(description_file.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise ArtifactError(
                f"{description_file}: format {description['format']!r}, expected {FORMAT!r}; fit the head anew"
            )
        expected = description["arrays"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(description_file, error) from error
    try:
        content = arrays_file.read_bytes()
        if sha256(content).hexdigest() != expected:
            raise ValueError(f"not the file that {description_file} was written with")
        with np.load(io.BytesIO(content)) as stored:
            arrays = dict(stored)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(arrays_file, error) from error
    try:
        return Head(
            task=description["task"],
            method=description["method"],
            kind=description["kind"],
            inputs=tuple(description["inputs"]),
            feature_names=tuple(description["feature_names"]),
            classifier=_part(_CLASSIFIERS[description["classifier"]], "classifier", arrays),
            calibrator=_part(_CALIBRATORS[description["calibrator"]], "calibrator", arrays),
            info=description["info"],
        )
    except (ConfigError, ValueError, KeyError, TypeError) as error:
        raise _damaged(description_file, error) from error


def _arrays(name: str, part: Any) -> Arrays:
    """The part's numbers, each by its path."""
    arrays: Arrays = {}
    for field in fields(part):
        value = getattr(part, field.name)
        path = f"{name}.{field.name}"
        arrays.update(_arrays(path, value) if is_dataclass(value) else {path: np.asarray(value)})
    return arrays


def _part(cls: Any, name: str, arrays: Arrays) -> Any:
    values: dict[str, Any] = {}
    for field in fields(cls):
        path = f"{name}.{field.name}"
        if is_dataclass(field.type):
            values[field.name] = _part(field.type, path, arrays)
        else:
            values[field.name] = arrays[path] if arrays[path].ndim else arrays[path].item()
    return cls(**values)


def _damaged(file: Path, error: Exception) -> ArtifactError:
    state = "cannot be read" if file.exists() else "is missing"
    return ArtifactError(f"{file}: {state} ({type(error).__name__}: {error}); restore it or fit the head anew")
