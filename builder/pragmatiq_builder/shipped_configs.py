"""The configs that come with the package, by name: ``--config hash`` is ``configs/data/tokenizer_hash.yaml``.

They lie in ``configs/`` of a checkout and inside the packages of an installed wheel.
"""

from pathlib import Path
from typing import Literal

from pragmatiq_builder.shared_folders import shared_folder
from pragmatiq_triton.errors import ConfigError

Topic = Literal["data", "train"]
"""What a config is of: ``tokenize`` reads those of data, ``pretrain`` those of training."""
_PREFIX = "tokenizer_"


def shipped_configs(topic: Topic) -> dict[str, Path]:
    """The files by name, in the order of their names: of data ``bpe``, ``hash`` and ``nemotron``."""
    files = sorted((shared_folder("configs") / topic).glob("*.yaml"))
    return {file.stem.removeprefix(_PREFIX): file for file in files}


def config_file(given: str, topic: Topic | None) -> Path:
    """The file that ``--config`` means: a shipped one of ``topic`` by its name, else the one at this path.

    A name wins over a file of the same name in the current folder, which is ``./NAME``.

    Raises :class:`ConfigError`, with the known names, where it is neither.
    """
    known = shipped_configs(topic) if topic else {}
    if given in known:
        return known[given]
    path = Path(given)
    if path.is_file():
        return path
    if path.exists():
        raise ConfigError(f"--config {given}: is a folder, expected a YAML file{_or_one_of(known)}")
    raise ConfigError(f"--config {given}: there is no such file; give the path of a YAML file{_or_one_of(known)}")


def _or_one_of(known: dict[str, Path]) -> str:
    return f", or the name of a config that comes with the package: {', '.join(known)}" if known else ""
