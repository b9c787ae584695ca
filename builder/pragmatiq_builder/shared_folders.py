"""Folders that lie beside the packages in a checkout, and inside them where they are installed from a wheel."""

from importlib import resources
from pathlib import Path


def shared_folder(name: str) -> Path:
    """The folder ``name``: ``configs`` or ``model_repository``."""
    packaged = Path(str(resources.files("pragmatiq_builder"))) / "_share" / name
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / name
