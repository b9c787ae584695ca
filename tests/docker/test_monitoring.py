"""Prometheus over the running server: the alert rules, the dashboard, and that every metric they name exists."""

import json
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from pragmatiq_builder.export.repository import export_repository
from pragmatiq_client import InvalidRecordError, ProtocolError, ScoringClient
from pragmatiq_triton.gateway.auth.api_keys import add_key
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.policy import GatewayPolicy
from pragmatiq_triton.gateway.seen.settings import AccessLog
from pragmatiq_triton.server import ScoringServer
from pragmatiq_triton.server.ports import reserve_ports
from tests.builder.export.heads_case import hybrid_head, run_with
from tests.conftest import RECORDS
from tests.debian import find_program

DOCKER = Path(__file__).parents[2] / "docker"
PROMETHEUS = DOCKER / "prometheus"
ALERTS = {
    rule["alert"]: rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
DASHBOARD = json.loads((DOCKER / "grafana" / "dashboards" / "serving.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
VARIABLES = {"$instance": ".*", "$ensemble": ".*", "$task": ".*", "$__rate_interval": "20s"}


class Monitor:
    """A Prometheus with the stack's configuration, but of another server and with little patience."""

    def __init__(self, folder, target):
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
        (scrape,) = config["scrape_configs"]
        scrape["static_configs"] = [{"targets": [target]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        (port,) = reserve_ports("127.0.0.1", [0])
        self._url = f"http://127.0.0.1:{port}/api/v1/"
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    find_program("prometheus", "prometheus"),
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def get(self, path, **parameters):
        with urllib.request.urlopen(f"{self._url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression):
        """The values of an expression now, as floats."""
        return [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]

    def wait_for(self, expression, seconds=20):
        """Until the expression has a value."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                if self.query(expression):
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.2)
        raise AssertionError(f"Prometheus has no value of {expression} after {seconds} s")

    def stop(self):
        self._process.terminate()
        self._process.wait(timeout=20)


def send(server, records, key):
    """Records that are scored, one that is refused, a stranger's, and no request at all; canaries come anyway."""
    with ScoringClient(server.grpc_url, timeout=60, headers={"x-api-key": key}) as client:
        for raw in records:
            client.score_one(raw)
        with pytest.raises(InvalidRecordError):
            client.score_one(b'{"events": [{"ts": -1}]}')
    with ScoringClient(server.http_url, timeout=60) as stranger, pytest.raises(ProtocolError):
        stranger.score_one(records[0])
    host, _, port = server.http_url.partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"no request\r\n\r\n")
        while connection.recv(4096):
            pass


@pytest.fixture(scope="module")
def monitor(variant, tmp_path_factory):
    """Prometheus after some traffic on a server with a task that reads a feature of the bank's own."""
    find_program("prometheus", "prometheus")
    folder = tmp_path_factory.mktemp("monitored")
    keys = folder / "keys.yaml"
    key = add_key(keys, "fraud")
    policy = GatewayPolicy(auth=Auth(api_keys=str(keys)), access_log=AccessLog(file=str(folder / "access.jsonl")))
    ports = {"http_port": 0, "grpc_port": 0, "metrics_port": 0}
    export_repository(run_with(folder / "run", variant, hybrid_head("churn", ("own:bureau",))), folder / "repository")
    with ScoringServer(folder / "repository", **ports, policy=policy) as server:
        watching = Monitor(folder, server.metrics_url.split("/")[2])
        try:
            watching.wait_for('pragmatiq_requests_total{outcome="answered"} == 0')
            # A rate needs a value before and one after.
            for n_scored, records in ((10, RECORDS[:10]), (20, RECORDS[5:15])):
                send(server, records, key)
                watching.wait_for(f'pragmatiq_requests_total{{model="scorer", outcome="answered"}} == {n_scored}')
            yield watching
        finally:
            watching.stop()


@pytest.mark.parametrize(
    "check", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts.test.yml"]
)
def test_promtool_passes(check):
    command = [find_program("promtool", "prometheus"), *check.split()]
    done = subprocess.run(command, cwd=PROMETHEUS, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_every_alert_says_what_to_do(alert):
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert alert["for"]


def test_every_alert_is_seen_to_fire_and_to_rest():
    cases = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    fired, rested = set(), 0
    for case in cases:
        fired |= {each["alertname"] for each in case.get("alert_rule_test", ()) if each["exp_alerts"]}
        for each in case.get("promql_expr_test", ()):
            fired |= set(re.findall(r'alertname="(\w+)"', json.dumps(each["exp_samples"]).replace("\\", "")))
            rested += each == {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "90m", "exp_samples": []}
    assert fired == set(ALERTS)
    assert rested == 2


@pytest.mark.triton
def test_the_rules_are_evaluated(monitor):
    (group,) = monitor.get("rules")["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == dict.fromkeys(ALERTS, "ok")


@pytest.mark.triton
@pytest.mark.parametrize("name", ALERTS)
def test_every_metric_of_an_alert_exists(monitor, name):
    named = set(re.findall(r"\b(?:(?:nv|pragmatiq)_\w+|up)\b", ALERTS[name]["expr"]))
    assert named
    assert named <= set(monitor.get("label/__name__/values"))


@pytest.mark.triton
@pytest.mark.parametrize("title", PANELS)
def test_every_panel_has_data(monitor, title):
    for target in PANELS[title]["targets"]:
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        assert "$" not in expression
        values = monitor.query(expression)
        assert [value for value in values if value == value], f"no data: {expression}"


@pytest.mark.triton
@pytest.mark.parametrize("variable", [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"])
def test_every_variable_has_values(monitor, variable):
    series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
    assert monitor.get(f"label/{label}/values", **{"match[]": series})


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS)
def test_every_panel_says_what_it_shows(panel):
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_cover_one_another():
    covered = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not covered & cells
        covered |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_grafana_finds_dashboard_and_data_source():
    """What is provisioned, the dashboard and the mounts of the stack name the same places."""
    grafana = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"]["grafana"]
    mounts = {mount["source"]: mount["target"] for mount in grafana["volumes"]}
    provisioning = DOCKER / "grafana" / "provisioning"
    source, provider = (
        yaml.safe_load((provisioning / path).read_text(encoding="utf-8"))
        for path in ("datasources/prometheus.yml", "dashboards/pragmatiq.yml")
    )
    (folder,) = (each["options"]["path"] for each in provider["providers"])
    assert mounts["./grafana/dashboards"] == folder
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/serving.json"
    (uid,) = (each["uid"] for each in source["datasources"])
    (chosen,) = (each["current"]["value"] for each in DASHBOARD["templating"]["list"] if each["type"] == "datasource")
    assert chosen == uid
    assert {panel["datasource"]["uid"] for panel in PANELS.values()} == {"${datasource}"}
