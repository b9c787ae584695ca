"""The image, built for real and run from its own filesystem: no network, read-only, unprivileged."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.image.container import LOOPBACK_ALONE, Container, image_config
from pragmatiq_client import ScoringClient
from pragmatiq_triton.gateway.auth.api_keys import add_key
from pragmatiq_triton.server import TritonServer
from tests.conftest import RECORDS
from tests.docker.conftest import ROOT, TEXT_MODEL, TEXT_MODEL_REVISION, Build, built

pytestmark = [pytest.mark.slow, pytest.mark.triton, pytest.mark.timeout(1800)]

PORTS = {"grpc": "localhost:8001", "http": "localhost:8000"}
Run = Callable[..., Container]


def until_healthy(container: Container, seconds: float = 30) -> "subprocess.CompletedProcess[str]":
    give_up = time.monotonic() + seconds
    while (health := container.check_health()).returncode and time.monotonic() < give_up:
        time.sleep(0.2)
    assert health.returncode == 0, health.stdout + health.stderr
    return health


def ask(container: Container, protocol: str, records: list[bytes], tmp_path: Path) -> list[dict]:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"\n".join(records))
    script = [sys.executable, "-m", "tests.docker.ask", protocol, PORTS[protocol], file]
    done = subprocess.run(
        container.inside([str(word) for word in script], filesystem=False),
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def embeddings(answers: list[dict]) -> np.ndarray:
    return np.array([answer["embedding"] for answer in answers])


def outside(repository: Path, records: list[bytes]) -> np.ndarray:
    """What the same repository answers when it is served without the image."""
    with (
        TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0) as server,
        ScoringClient(server.grpc_url, timeout=30) as client,
    ):
        return np.array([answer.embedding for answer in client.score(records)])


def log_of(tmp_path: Path) -> str:
    return (tmp_path / "container.log").read_text(encoding="utf-8")


def kill_model(container: Container, model: str) -> None:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8") for pid in container.pids()}
    (stub,) = [pid for pid, command in commands.items() if f"/models/{model}/" in command]
    os.kill(stub, signal.SIGKILL)


def test_settings_of_the_image(cpu_image: str) -> None:
    config = image_config(cpu_image)
    assert config["User"] == "1000:1000"
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8000/tcp", "8001/tcp", "8002/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "bash", "/opt/pragmatiq/healthcheck.sh"]
    assert "HF_HUB_OFFLINE=1" in config["Env"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, encoding="utf-8")
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == head.stdout.strip()


def test_the_build_prints_a_size_under_a_gigabyte(make_image: Build, cpu_image: str) -> None:
    last = make_image(IMAGE=cpu_image).stdout.splitlines()[-1]
    found = re.fullmatch(rf"{cpu_image}: ([\d.]+) MB", last)
    assert found, last
    assert float(found[1]) < 1000


def test_what_only_building_needs_is_not_there(cpu_image: str, run_image: Run, repository: Path) -> None:
    container = run_image(cpu_image, repository)
    absent = "torch transformers pip setuptools"
    find = f"import importlib.util as u; print([n for n in '{absent}'.split() if u.find_spec(n)])"
    found = subprocess.run(container.inside(["python", "-c", find]), capture_output=True, encoding="utf-8")
    assert found.stdout.strip() == "[]", found
    left = subprocess.run(
        container.inside(["sh", "-c", "command -v gcc cc make pip pip3; ls /source /root/.cache /var/lib/apt/lists"]),
        capture_output=True,
        encoding="utf-8",
    )
    assert left.stdout.replace("/var/lib/apt/lists:", "").strip() == "", left.stdout


def test_the_list_of_packages_is_in_the_image(cpu_image: str, run_image: Run, repository: Path) -> None:
    container = run_image(cpu_image, repository)
    sbom = subprocess.run(container.inside(["cat", "/opt/pragmatiq/sbom.cdx.json"]), capture_output=True)
    components = {part["name"]: part for part in json.loads(sbom.stdout)["components"]}
    assert {"pragmatiq-triton", "numpy", "onnxruntime", "libc6", "nvidia-pytriton"} <= set(components)
    assert components["libc6"]["purl"].startswith("pkg:deb/debian/libc6@2.36")
    assert components["numpy"]["version"].startswith("1.")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_it_answers_as_the_repository_does_outside(
    cpu_image: str, run_image: Run, repository: Path, tmp_path: Path, protocol: str
) -> None:
    container = run_image(cpu_image, repository)
    until_healthy(container)
    answers = ask(container, protocol, RECORDS, tmp_path)
    np.testing.assert_allclose(embeddings(answers), outside(repository, RECORDS), rtol=0, atol=1e-6)


def test_a_baked_in_repository_needs_no_mount(
    make_image: Build, run_image: Run, repository: Path, variant: str, tmp_path: Path
) -> None:
    container = run_image(built(make_image, REPOSITORY=repository))
    until_healthy(container)
    assert len(ask(container, "grpc", RECORDS[:1], tmp_path)) == 1


def test_it_runs_without_rights(cpu_image: str, run_image: Run, repository: Path, tmp_path: Path) -> None:
    container = run_image(cpu_image, repository)
    until_healthy(container)
    for pid in container.pids():
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        assert re.search(r"^Uid:\s1000\s1000\s1000\s1000$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE)
    before = {path for path in repository.rglob("*") if "__pycache__" in path.name}
    ask(container, "http", RECORDS, tmp_path)
    assert {path for path in repository.rglob("*") if "__pycache__" in path.name} == before
    touched = subprocess.run(container.inside(["touch", "/models/x", "/opt/x"]), capture_output=True, encoding="utf-8")
    assert touched.stderr.count("Read-only file system") == 2


def test_it_runs_under_any_user(cpu_image: str, run_image: Run, repository: Path, tmp_path: Path) -> None:
    """A cluster assigns a user that the image does not know, in group 0."""
    container = run_image(
        cpu_image, repository, user="1000680000:0", variables={"PRAGMATIQ_CACHE_FOLDER": "/tmp/cache"}
    )
    until_healthy(container)
    assert len(ask(container, "grpc", RECORDS, tmp_path)) == len(RECORDS)
    writable = "import os; print(os.stat('/cache').st_gid, oct(os.stat('/cache').st_mode & 0o070))"
    found = subprocess.run(container.inside(["python", "-c", writable]), capture_output=True, encoding="utf-8")
    assert found.stdout == "0 0o70\n"
    assert container.stop(60) == 0


def status(container: Container, method: str, path: str, *headers: str) -> int:
    words = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, *headers, f"localhost:8000{path}"]
    return int(subprocess.run(container.inside(words, filesystem=False), capture_output=True).stdout)


ADMINISTRATION = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/scoring/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/trace/setting"),
    ("GET", "/v2/logging"),
]


def test_callers_reach_the_gateway_alone(cpu_image: str, run_image: Run, repository: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.yaml"
    key = add_key(keys, "fraud")
    keys.chmod(0o644)
    variables = {"PRAGMATIQ_GATEWAY_AUTH_API_KEYS": "/run/secrets/callers"}
    container = run_image(cpu_image, repository, volumes={"/run/secrets/callers": keys}, variables=variables)
    until_healthy(container)
    known = ("-H", f"authorization: Bearer {key}")
    assert status(container, "GET", "/v2/health/ready") == 200
    assert status(container, "GET", "/v2/models/scoring") == 401
    assert status(container, "GET", "/v2/models/scoring", *known) == 200
    for method, path in [*ADMINISTRATION, ("GET", "/v2/models/scorer"), ("POST", "/v2/models/scorer/infer")]:
        assert status(container, method, path, *known) == 404, path
    listening = subprocess.run(
        container.inside(["cat", "/proc/net/tcp", "/proc/net/tcp6"]), capture_output=True, encoding="utf-8"
    ).stdout
    everywhere = {int(line.split()[1].rpartition(":")[2], 16) for line in listening.splitlines()
                  if re.match(r"\s*\d+: 0+:[0-9A-F]{4} 0+:0000 0A ", line)}  # fmt: skip
    assert everywhere == {8000, 8001, 8002}, "Triton itself listens on loopback"
    assert key not in log_of(tmp_path)


def test_without_the_gateway_health_metadata_and_inference_alone_are_open(
    cpu_image: str, run_image: Run, repository: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "key"
    secret.write_text("s3cret", encoding="utf-8")
    direct = {"PRAGMATIQ_GATEWAY": "0", **LOOPBACK_ALONE}
    container = run_image(cpu_image, repository, volumes={"/run/secrets/pragmatiq_api_key": secret}, variables=direct)
    until_healthy(container)
    assert status(container, "GET", "/v2/health/ready") == 200
    assert status(container, "GET", "/v2/models/scoring") == 200
    for method, path in [*ADMINISTRATION, ("GET", "/v2/models/scoring/config"), ("GET", "/v2/models/scoring/stats")]:
        assert status(container, method, path) == 403, path
        assert status(container, method, path, "-H", "x-api-key: guess") == 403, path
    assert status(container, "GET", "/v2/models/scoring/config", "-H", "x-api-key: s3cret") == 200
    assert "s3cret" not in log_of(tmp_path)


def test_open_to_the_network_it_wants_to_be_told_so(
    cpu_image: str, run_image: Run, repository: Path, tmp_path: Path
) -> None:
    for missing, words in (
        ("PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS", "everybody who reaches it could call"),
        ("PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT", "would pass in plain text"),
    ):
        container = run_image(cpu_image, repository, variables={missing: "0"})
        assert container.wait(30) == 2
        assert words in log_of(tmp_path).splitlines()[-1]


@pytest.mark.parametrize("model", ["tokenizer", "scorer"])
def test_a_killed_model_is_named_within_ten_seconds_and_ends_the_container(
    cpu_image: str, run_image: Run, repository: Path, model: str, tmp_path: Path
) -> None:
    container = run_image(cpu_image, repository)
    until_healthy(container)
    kill_model(container, model)
    give_up = time.monotonic() + 10
    while f"stopping: {model}: Stub process" not in log_of(tmp_path) and time.monotonic() < give_up:
        time.sleep(0.1)
    assert f"stopping: {model}: Stub process" in log_of(tmp_path)
    assert container.check_health().returncode == 1
    # Triton waits for the dead process all the time that it has to unload models.
    assert container.wait(30) == 6
    assert log_of(tmp_path).splitlines()[-1].startswith(f"error: {model}: Stub process")


@pytest.mark.parametrize("model", ["tokenizer", "scorer"])
def test_without_the_gateway_a_killed_model_makes_it_unhealthy_within_ten_seconds(
    cpu_image: str, run_image: Run, repository: Path, model: str
) -> None:
    container = run_image(cpu_image, repository, variables={"PRAGMATIQ_GATEWAY": "0", **LOOPBACK_ALONE})
    until_healthy(container)
    check = container.config["Healthcheck"]
    killed = time.monotonic()
    kill_model(container, model)
    failures = 0
    # As an engine does: one check after each interval, unhealthy after so many failures in a row.
    while failures < check["Retries"]:
        time.sleep(check["Interval"] / 1e9)
        health = container.check_health()
        failures = failures + 1 if health.returncode else 0
        assert time.monotonic() - killed < 10
    assert health.stdout.startswith(f"unhealthy: {model}: Stub process"), health.stdout


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_sigterm_under_load_loses_no_accepted_request(
    cpu_image: str, run_image: Run, repository: Path, protocol: str
) -> None:
    container = run_image(cpu_image, repository, variables={"PRAGMATIQ_DRAIN_SECONDS": "10"})
    until_healthy(container)
    load = subprocess.Popen(
        container.inside(
            [sys.executable, "-m", "tests.docker.under_load", protocol, PORTS[protocol], "16", "200"], filesystem=False
        ),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
    )
    assert load.stdout is not None
    assert load.stdout.readline() == "started\n"
    time.sleep(1)
    assert container.stop(15) == 0
    outcomes = json.loads(load.communicate(timeout=60)[0])
    assert set(outcomes) <= {"answered", "refused"}, outcomes
    assert outcomes["answered"] >= 16
    assert outcomes["refused"] == 16


def test_a_broken_repository_fails_soon_with_the_reason_last(
    cpu_image: str, run_image: Run, repository: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(repository, tmp_path / "broken")
    (broken / "scorer" / "1" / "history_encoder.onnx").write_bytes(b"no graph")
    container = run_image(cpu_image, broken)
    assert container.wait(30) == 4
    assert "changed: scorer/1/history_encoder.onnx." in log_of(tmp_path)
    container = run_image(cpu_image, broken, variables={"PRAGMATIQ_SKIP_VERIFICATION": "1"})
    assert container.wait(30) == 6
    tail = log_of(tmp_path).rpartition("error: the Triton server ended with exit code 1:\n")[2]
    assert tail.startswith("failed to load 'scorer' version 1")
    assert "history_encoder.onnx" in tail


def test_no_repository_is_one_line(cpu_image: str, run_image: Run, tmp_path: Path) -> None:
    container = run_image(cpu_image)
    assert container.wait(30) == 4
    assert log_of(tmp_path).splitlines()[-1].startswith("error: /models holds no models")


def test_little_shared_memory_is_said(cpu_image: str, run_image: Run, repository: Path, tmp_path: Path) -> None:
    container = run_image(cpu_image, repository, shm_bytes=64 << 20)
    until_healthy(container)
    assert "warning: /dev/shm has 64 MiB" in log_of(tmp_path)


@pytest.fixture(scope="module")
def nemotron_repository(tmp_path_factory: pytest.TempPathFactory, minilm_folder: Path) -> Path:
    """A tiny run whose strings MiniLM reads, with the model's folder inside, as export writes it."""
    folder = tmp_path_factory.mktemp("nemotron")
    config = ROOT / "configs" / "data" / "tokenizer_nemotron.yaml"
    commands = [
        "synth --out data --users 5",
        f"tokenize data --out tok --config {config} --text-model {minilm_folder}",
        "pretrain tok --name nemo --model-size nano --max-steps 2",
        "export runs/nemo --out repository",
    ]
    for command in commands:
        subprocess.run([sys.executable, "-m", "pragmatiq_builder.cli", *command.split()], cwd=folder, check=True)
    return folder / "repository"


@pytest.fixture(scope="module")
def hub_repository(nemotron_repository: Path) -> Path:
    """The same with the model named by hub id and commit, as export writes it for a hub model."""
    copy = shutil.copytree(nemotron_repository, nemotron_repository.parent / "hub")
    settings = copy / "text_embedder" / "1" / "text_encoder.json"
    spec = json.loads(settings.read_text(encoding="utf-8"))
    spec["fallback"] |= {"text_model": TEXT_MODEL, "revision": TEXT_MODEL_REVISION}
    settings.write_text(json.dumps(spec), encoding="utf-8")
    shutil.rmtree(copy / "text_embedder" / "1" / "text_model")
    return copy


class TestNemotron:
    @pytest.mark.parametrize("weights", ["nemotron_repository", "hub_repository"], ids=["carried", "baked_in"])
    def test_it_answers_offline_as_outside(
        self,
        nemotron_image: str,
        nemotron_repository: Path,
        weights: str,
        run_image: Run,
        tmp_path: Path,
        request: pytest.FixtureRequest,
    ) -> None:
        # The second one was edited by hand, which its manifest tells.
        skip = {"PRAGMATIQ_SKIP_VERIFICATION": "1"}
        container = run_image(nemotron_image, request.getfixturevalue(weights), variables=skip)
        until_healthy(container, 60)
        expected = outside(nemotron_repository, RECORDS)
        for protocol in PORTS:
            answers = ask(container, protocol, RECORDS, tmp_path)
            np.testing.assert_allclose(embeddings(answers), expected, rtol=0, atol=1e-6)

    def test_without_the_extra_it_refuses_and_names_the_build_argument(
        self, cpu_image: str, nemotron_repository: Path, run_image: Run, tmp_path: Path
    ) -> None:
        container = run_image(cpu_image, nemotron_repository)
        assert container.wait(30) == 6
        assert "build it with PRAGMATIQ_TRITON_EXTRAS=nemotron" in log_of(tmp_path).rpartition("\nerror: ")[2]

    def test_the_build_fails_without_weights(self, make_image: Build, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{}", encoding="utf-8")
        done = make_image(
            IMAGE="localhost/pragmatiq-test:none",
            EXTRAS="nemotron",
            TEXT_MODEL=TEXT_MODEL,
            TEXT_MODEL_REVISION=TEXT_MODEL_REVISION,
            TEXT_MODEL_FOLDER=tmp_path,
        )
        assert done.returncode != 0
        assert f"the weights of {TEXT_MODEL} are missing: no *.safetensors" in done.stdout + done.stderr


def test_an_unknown_extra_fails_the_build(make_image: Build) -> None:
    done = make_image(IMAGE="localhost/pragmatiq-test:none", EXTRAS="nemo")
    assert done.returncode != 0
    assert "PRAGMATIQ_TRITON_EXTRAS: expected nemotron or nothing, got nemo" in done.stdout + done.stderr


def test_gpu_stages_over_a_stand_in_for_nvidias_image(
    make_image: Build, run_image: Run, repository: Path, tmp_path: Path
) -> None:
    """The stand-in has what theirs has: /opt/tritonserver and a Python. Theirs itself cannot be had here."""
    stand_in = "localhost/pragmatiq-test:stand-in"
    done = make_image(IMAGE=stand_in, BUILD_FLAGS="--target base-cpu")
    assert done.returncode == 0, done.stderr[-2000:]
    container = run_image(built(make_image, BASE="gpu", GPU_IMAGE=stand_in), repository)
    until_healthy(container)
    assert container.config["Labels"]["pragmatiq-triton.base"] == "gpu"
    assert len(ask(container, "grpc", RECORDS, tmp_path)) == len(RECORDS)
