"""A text encoder of one's own in the real server: its module is found where ``PYTHONPATH`` says, and nowhere else."""

import http.client
import json
import shutil
from pathlib import Path

import pytest

from pragmatiq_triton.errors import ServerError
from pragmatiq_triton.server import TritonServer

pytestmark = pytest.mark.triton

TEMPLATE = Path(__file__).parents[2] / "model_repository" / "text_embedder"
ENCODER = """
import numpy as np

class Encoder:
    name, dim, revision = "shop-names", 3, "1"
    def __init__(self, spec, *, device, threads): ...
    def encode(self, texts):
        return np.array([[len(text), 1, 2] for text in texts], np.float32).reshape(-1, 3)
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A text embedder alone; the current folder is another one, where a file has the name of a module of the server."""
    model = tmp_path / "repository" / "text_embedder"
    shutil.copytree(TEMPLATE, model)
    (model / "1" / "text_encoder.json").write_text(json.dumps({"encoder": "shop_names:Encoder", "dim": 3}))
    (tmp_path / "project" / "modules").mkdir(parents=True)
    (tmp_path / "project" / "modules" / "shop_names.py").write_text(ENCODER, encoding="utf-8")
    for name in ("numpy", "secrets", "pragmatiq_triton"):
        (tmp_path / "project" / f"{name}.py").write_text("raise SystemExit('the current folder is no place to import')")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "repository"


def serving(repository):
    return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, trust_remote_code=True, sealed=False)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_module_on_the_python_path_encodes_in_the_server(repository, monkeypatch, absolute):
    monkeypatch.setenv("PYTHONPATH", str(Path("modules").absolute()) if absolute else "modules")
    blob = "RentÄ".encode()
    body = {
        "inputs": [
            {"name": "texts", "shape": [1, len(blob)], "datatype": "UINT8", "data": [*blob]},
            {"name": "text_offsets", "shape": [1, 3], "datatype": "INT32", "data": [0, 4, 6]},
        ]
    }
    with serving(repository) as server:
        connection = http.client.HTTPConnection(server.http_url, timeout=60)
        connection.request("POST", "/v2/models/text_embedder/infer", json.dumps(body))
        answer = json.loads(connection.getresponse().read())
        connection.close()
    assert answer["outputs"][0]["data"] == [4, 1, 2, 1, 1, 2]


def test_a_module_that_only_the_current_folder_holds_is_not_imported(repository, monkeypatch):
    monkeypatch.chdir("modules")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(ServerError, match="'shop_names:Encoder': No module named 'shop_names'"):
        serving(repository).start()
