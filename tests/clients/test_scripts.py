"""The shell examples against a real server."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pragmatiq_triton.server import TritonServer

CLIENTS = Path(__file__).parents[2] / "clients"
RECORDS = '{"n": 1, "name": "ab"}\n\n{"n": 2.50, "name": "日本語"}\n'

pytestmark = [
    pytest.mark.triton,
    pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="the scripts need jq and curl"),
]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text(RECORDS, encoding="utf-8")
    return path


def run(script: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [CLIENTS / script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | variables, check=False)


def test_curl(server: TritonServer, records: Path) -> None:
    done = run("curl/score.sh", records, server.http_url)
    assert done.returncode == 0, done.stderr
    outputs = {output["name"]: output for output in json.loads(done.stdout)["outputs"]}
    assert outputs["scores"]["shape"] == [2, 2]
    assert outputs["scores"]["data"] == [1.0, 2.0, 2.5, 2.0]
    assert outputs["tasks"]["data"] == ["fraud", "churn"] * 2
    assert outputs["embedding"]["data"] == [2.0, 0.25, -1.0, 3.0, 0.25, -1.0]


def test_curl_shows_what_is_wrong_with_a_record(server: TritonServer, records: Path) -> None:
    records.write_text('{"bad": "text"}\n', encoding="utf-8")
    done = run("curl/score.sh", records, server.http_url)
    assert done.returncode == 22
    assert "$.events[0].ts: expected int, got text" in done.stdout


def test_grpcurl(server: TritonServer, records: Path, tmp_path: Path) -> None:
    """With a stand-in for grpcurl that speaks protobuf's JSON form through Triton's own message classes."""
    stand_in = tmp_path / "bin" / "grpcurl"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f"""#!{sys.executable}
import sys
import grpc
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

assert sys.argv[-1] == "inference.GRPCInferenceService/ModelInfer"
request = json_format.Parse(sys.stdin.read(), service_pb2.ModelInferRequest())
stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[-2]))
print(json_format.MessageToJson(stub.ModelInfer(request)))
""",
        encoding="utf-8",
    )
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    done = run("grpcurl/score.sh", records, server.grpc_url, PATH=f"{stand_in.parent}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    scores, embedding, tasks = (json.loads(line) for line in done.stdout.splitlines())
    assert scores == {"name": "scores", "shape": [2, 2], "data": [1.0, 2.0, 2.5, 2.0]}
    assert tasks == {"name": "tasks", "shape": [2, 2], "data": ["fraud", "churn"] * 2}
    assert embedding["data"] == [2.0, 0.25, -1.0, 3.0, 0.25, -1.0]
