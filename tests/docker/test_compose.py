"""The compose stack, as far as it can be checked without an engine."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from pragmatiq_triton.container.settings import Settings
from pragmatiq_triton.container.supervisor import ANSWER_SECONDS, UNLOAD_SECONDS
from tests.debian import unpack

DOCKER = Path(__file__).parents[2] / "docker"
VARIABLES = {"PRAGMATIQ_TAG": "0.1.0-cpu", "PRAGMATIQ_REPOSITORY": "/srv/repository"}
COMPOSE = DOCKER / "compose.yaml"
STACK = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))
SERVICES = STACK["services"]


def every_service(test):
    return pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)(test)


def mounts(service, kind):
    return {mount["source"]: mount["target"] for mount in service.get("volumes", []) if mount["type"] == kind}


def environment_of(service):
    """Its variables as compose makes them where nothing is set."""
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in service["environment"].items()}


def seconds(duration):
    return int(re.fullmatch(r"(\d+)s", duration)[1])


def test_it_is_a_compose_file():
    """Against the schema that Debian's docker-compose carries; the specification's `name` is younger."""
    package = unpack("docker-compose", wanted="compose schema")
    (schema,) = package.rglob("compose_spec.json")
    plain = {key: value for key, value in STACK.items() if key != "name"}
    jsonschema.Draft201909Validator(json.loads(schema.read_text(encoding="utf-8"))).validate(plain)


def test_compose_takes_it():
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("not run: no docker compose (Docker's plugin docker-compose-plugin)")
    command = [docker, "compose", "--file", COMPOSE, "config", "--quiet"]
    assert not subprocess.run(command, env=VARIABLES, capture_output=True, encoding="utf-8").stderr


def test_what_must_be_set_is_in_the_example():
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text(encoding="utf-8")))
    known = set(re.findall(r"\$\{(\w+):", COMPOSE.read_text(encoding="utf-8")))
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    assert required == {line.split("=")[0] for line in lines if re.match(r"\w+=.", line)} == set(VARIABLES)
    assert known == {line.lstrip("#").split("=")[0] for line in lines if re.match(r"#?\w+=.", line)}


@every_service
def test_versions_are_pinned(service):
    tag = service["image"].partition(":")[2]
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?|\$\{PRAGMATIQ_TAG:\?.+\}", tag)


@every_service
def test_a_service_can_do_little(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "user", "devices"} & set(service)
    assert "docker.sock" not in json.dumps(service)


@every_service
def test_what_is_mounted_is_there(service):
    for source, target in mounts(service, "bind").items():
        if "PRAGMATIQ_REPOSITORY" in source:
            assert target == str(Settings().repository)
        else:
            assert (DOCKER / source).is_dir()
    assert set(mounts(service, "volume")) <= set(STACK["volumes"])
    assert all(mount.get("read_only") for mount in service["volumes"] if mount["type"] == "bind")


@every_service
def test_published_ports_are_local_by_default(service):
    for port in service.get("ports", []):
        assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1\}:(8000:8000|8001:8001|3000:3000)", port)


def test_prometheus_alone_shares_a_network_with_the_metrics_port():
    networks = SERVICES["triton"]["networks"]
    assert {name for name, each in SERVICES.items() if set(networks) & set(each["networks"])} == {
        "triton",
        "prometheus",
    }
    assert all(STACK["networks"][name]["internal"] for name in SERVICES["prometheus"]["networks"])
    assert "ports" not in SERVICES["prometheus"]


def test_triton_has_time_and_room():
    triton = SERVICES["triton"]
    settings = Settings.read(environment_of(triton))
    assert seconds(triton["stop_grace_period"]) > settings.drain_seconds + ANSWER_SECONDS + UNLOAD_SECONDS
    assert settings.policy.auth.api_keys == f"/run/secrets/{triton['secrets'][0]}"
    assert not settings.policy.auth.allow_anonymous
    assert triton["shm_size"] == "1gb"
    assert triton["tmpfs"][0].startswith("/tmp:")
    assert triton["environment"]["PRAGMATIQ_CACHE_FOLDER"] in mounts(triton, "volume").values()
    # The image's own health check and entry point hold.
    assert not {"healthcheck", "entrypoint", "command"} & set(triton)


def test_nobody_gets_into_grafana_without_the_password_from_the_secret():
    grafana = SERVICES["grafana"]
    settings = grafana["environment"]
    assert settings["GF_AUTH_ANONYMOUS_ENABLED"] == settings["GF_USERS_ALLOW_SIGN_UP"] == "false"
    (password_file,) = (value for name, value in settings.items() if "PASSWORD" in name)
    assert password_file == f"/run/secrets/{grafana['secrets'][0]}"
    for name, secret in STACK["secrets"].items():
        assert secret == {"file": f"${{PRAGMATIQ_SECRETS:-./secrets}}/{name}"}
