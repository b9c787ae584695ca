"""The scripts that the Dockerfile runs, on small inputs; the image tests run them for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10
Description: shared libraries
 of the C library

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


def run(script: str, *arguments: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, ROOT / "docker" / script, *map(str, arguments)]
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment)


def test_sbom_adds_the_system_s_packages(tmp_path: Path) -> None:
    python, status = tmp_path / "python.json", tmp_path / "status"
    python.write_text(json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "numpy"}]}), encoding="utf-8")
    status.write_text(STATUS, encoding="utf-8")
    sbom = json.loads(run("sbom.py", python, status).stdout)
    assert [part["name"] for part in sbom["components"]] == ["numpy", "libc6"]
    assert sbom["components"][1]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64"


class TestPlaceWeights:
    COMMIT = 40 * "a"

    def test_a_folder_becomes_the_snapshot_of_the_commit(self, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "pytorch_model.bin", ".gitattributes"):
            (folder / name).write_text(name, encoding="utf-8")
        done = run("place_weights.py", folder, "owner/name", self.COMMIT, HF_HOME=str(tmp_path / "home"))
        assert done.returncode == 0, done.stderr
        snapshot = tmp_path / "home" / "hub" / "models--owner--name" / "snapshots" / self.COMMIT
        assert {path.name for path in snapshot.iterdir()} == {"config.json", "model.safetensors"}

    @pytest.mark.parametrize("missing", ["config.json", "*.safetensors"])
    def test_a_folder_that_is_no_model_is_refused(self, tmp_path: Path, missing: str) -> None:
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / ("model.safetensors" if missing == "config.json" else "config.json")).touch()
        done = run("place_weights.py", folder, "owner/name", self.COMMIT, HF_HOME=str(tmp_path / "home"))
        assert done.returncode == 1
        assert f"the weights of owner/name are missing: no {missing}" in done.stderr

    def test_without_folder_and_hub_it_says_what_to_give(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        offline = {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": "http://127.0.0.1:9"}
        done = run("place_weights.py", tmp_path / "empty", "owner/name", self.COMMIT, **offline)
        assert done.returncode == 1
        assert "PRAGMATIQ_TRITON_EXTRAS=nemotron needs the weights of owner/name" in done.stderr
        assert "make image EXTRAS=nemotron TEXT_MODEL_FOLDER=FOLDER" in done.stderr
