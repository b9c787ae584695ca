"""The tutorials run, cell by cell, and their pages show the code that ran."""

import re
from pathlib import Path

import nbformat
import pytest

from examples.tutorials import FOLDER, NAMES, executed, lay_out


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each notebook printed; the later ones use what the first has built."""
    folder = lay_out(tmp_path_factory.mktemp("tutorials"))
    return {name: printed(executed(name, folder)) for name in NAMES}


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.triton
def test_own_tables_end_as_scores_of_a_server(outputs):
    assert re.search(r"payments.csv: 35,959 read, 35,\d{3} written", outputs["own_tables"])
    assert re.search(r"\{'0007': 0\.\d+", outputs["own_tables"])


@pytest.mark.triton
def test_embeddings_are_columns_of_another_model(outputs):
    assert "(1715, 64)" in outputs["own_model"]
    assert len(re.findall(r"ROC-AUC with(?:out)? the embedding: 0\.[4-9]\d\d", outputs["own_model"])) == 2


@pytest.mark.triton
def test_the_service_answers_by_the_rule_where_there_is_no_score(outputs):
    counts = re.findall(r"^\{.*\}$", outputs["fraud_service"], re.MULTILINE)
    assert counts == [
        "{'model': 102}",
        "{'rule: late': 3}",
        "{'rule: too many calls under way': 1, 'model': 2}",
        "{'rule: no server': 3}",
        "{'model': 3}",
    ]
    assert "it looks like milliseconds" in outputs["fraud_service"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_shows_its_notebook(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "notebooks are kept without output"
    page = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```(?:python|bash)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [code.rstrip("\n") for code in shown] == [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_links_of_a_page_lead_somewhere(name):
    page = Path(FOLDER / f"{name}.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)", page)
    assert targets
    assert [target for target in targets if not (FOLDER / target).exists()] == []
