"""Pages made from templates that lie beside the module that fills them, in one style (``page.css``)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment(folder: Path, **options: Any) -> "Environment":
    """The templates in ``folder``; an unknown name is an error, and tags leave no blank lines. Needs jinja2."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader([folder, Path(__file__).parent]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
