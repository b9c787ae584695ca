"""The schema takes the chart's own values and refuses what is misspelt or of the wrong kind."""

import json

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.deploy.conftest import CASES, CHART

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
VALUES = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
SECTIONS = [name for name, schema in SCHEMA["properties"].items() if schema.get("additionalProperties") is False]


def refused(values):
    return [error.json_path for error in Draft7Validator(SCHEMA).iter_errors(values)]


def test_the_schema_is_one():
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("files", CASES.values(), ids=CASES)
def test_the_charts_own_values_are_taken(files):
    for file in (CHART / "values.yaml", *files):
        assert refused(yaml.safe_load(file.read_text(encoding="utf-8"))) == []


def test_schema_and_values_know_the_same_names():
    assert SCHEMA["properties"].keys() - {"global"} == VALUES.keys()
    for section in SECTIONS:
        assert SCHEMA["properties"][section]["properties"].keys() == VALUES[section].keys(), section


@pytest.mark.parametrize("section", SECTIONS)
def test_a_misspelt_name_is_refused(section):
    assert refused({section: {"mispelt": 1}}) == [f"$.{section}"]


def test_a_misspelt_section_is_refused():
    assert refused({"autoscalling": {}}) == ["$"]


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"image": {"tag": "latest"}}, "$.image.tag"),
        ({"image": {"digest": "sha256:abc"}}, "$.image.digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "$.image.pullPolicy"),
        ({"modelRepository": {"image": "registry.example.com/models:latest"}}, "$.modelRepository.image"),
        ({"modelRepository": {"subPath": "../etc"}}, "$.modelRepository.subPath"),
        ({"modelRepository": {"existingClaim": "My_Claim"}}, "$.modelRepository.existingClaim"),
        ({"image": {"extras": "torch"}}, "$.image.extras"),
        ({"gateway": {"tls": {"clientCertificates": ["a.svc"]}}}, "$.gateway.tls.clientCertificates[0]"),
        ({"gateway": {"apiKey": {}}}, "$.gateway"),
        ({"httpRoute": {"hosts": []}}, "$.httpRoute"),
        ({"extraEnv": ["A=1"]}, "$.extraEnv[0]"),
        ({"replicaCount": "2"}, "$.replicaCount"),
        ({"resources": {"limits": {"memory": "4 GB"}}}, "$.resources.limits.memory"),
        ({"sharedMemory": {"sizeLimit": 1}}, "$.sharedMemory.sizeLimit"),
        ({"securityContext": {"runAsUser": 0}}, "$.securityContext.runAsUser"),
        ({"securityContext": {"fsGroup": "1000"}}, "$.securityContext.fsGroup"),
        ({"gpu": {"count": 0.5}}, "$.gpu.count"),
        ({"drainSeconds": 0}, "$.drainSeconds"),
        ({"extraArgs": ["log-verbose"]}, "$.extraArgs[0]"),
        ({"ringHash": {"header": "X User"}}, "$.ringHash.header"),
        ({"autoscaling": {"queueSecondsPerRequest": "10ms"}}, "$.autoscaling.queueSecondsPerRequest"),
        ({"podDisruptionBudget": {"maxUnavailable": 0}}, "$.podDisruptionBudget.maxUnavailable"),
        ({"networkPolicy": {"clients": ["everyone"]}}, "$.networkPolicy.clients[0]"),
        ({"prometheusRule": {"groups": [{"name": "a"}]}}, "$.prometheusRule.groups"),
        ({"nodeSelector": {"gpu": True}}, "$.nodeSelector.gpu"),
        ({"topologySpreadConstraints": [{"topologyKey": "zone"}]}, "$.topologySpreadConstraints[0]"),
    ],
)
def test_what_cannot_be_is_refused(values, path):
    assert path in refused(values)
