"""Run the tutorials one after the other, and write each as a page with its output beside its notebook.

python -m examples.tutorials
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from rich.console import Console

from bench.report import machine

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "tutorials"
NAMES = ("own_tables", "own_model", "fraud_service")
"""In this order: the later ones use what the first has built."""


def lay_out(work: Path) -> Path:
    """A folder with the parts of the clone that the notebooks name, so that the clone itself stays clean."""
    for name in ("examples", "tests"):
        (work / name).symlink_to(ROOT / name)
    (work / "docs" / "tutorials").mkdir(parents=True)
    return work / "docs" / "tutorials"


def executed(name: str, folder: Path) -> NotebookNode:
    """The notebook after all its cells ran in ``folder``; an error in a cell is raised."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    environment = {
        "PRAGMATIQ_SERVER_ENV": str(ROOT / ".venv-serve"),
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute(env=environment)


def page(notebook: NotebookNode) -> str:
    """Markdown of text, code and what the code printed."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        # Frames as HTML bring a style sheet each.
        output.get("data", {}).pop("text/html", None)
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    return "\n".join(line.rstrip() for line in body.strip().splitlines()) + "\n"


def main() -> None:
    console = Console()
    found = machine()
    measured = f"Output of `make tutorials`, {found['date'][:10]}, {found['cpu']}, {found['cores']} cores."
    with tempfile.TemporaryDirectory(prefix="pragmatiq-tutorials-") as work:
        folder = lay_out(Path(work))
        for name in NAMES:
            text = f"{page(executed(name, folder))}\n---\n{measured}\n"
            (FOLDER / f"{name}.md").write_text(text, encoding="utf-8")
            console.print(FOLDER.relative_to(ROOT) / f"{name}.md")


if __name__ == "__main__":
    main()
