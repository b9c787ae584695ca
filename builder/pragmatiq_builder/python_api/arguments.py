"""What the commands' functions take: paths, settings, and whether progress is shown."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pragmatiq_builder.progress import Progress, Silent

if TYPE_CHECKING:
    from pragmatiq_builder.shipped_configs import Topic

StrPath = str | os.PathLike[str]


@contextmanager
def shown_if(progress: bool) -> Iterator[Progress]:
    """Progress in a terminal or a notebook, or none."""
    if not progress:
        yield Silent()
        return
    from pragmatiq_builder.cli.console import RichProgress

    with RichProgress() as shown:
        yield shown


def path_of(path: StrPath | None) -> Path | None:
    """A path that may be left out."""
    return None if path is None else Path(path)


def settings_of(config: StrPath | Mapping[str, Any] | None, topic: "Topic | None") -> dict[str, Any]:
    """Settings by name: given as they are, or those of a YAML file or of a shipped config of ``topic``."""
    from pragmatiq_builder.settings import read_settings
    from pragmatiq_builder.shipped_configs import config_file

    if config is None or isinstance(config, Mapping):
        return dict(config or {})
    return read_settings(config_file(os.fspath(config), topic))
