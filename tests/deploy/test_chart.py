"""What the chart renders to, held against Kubernetes' schemas, against itself and against the image."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from pragmatiq_client.headers import ROUTING_HEADER
from pragmatiq_triton.cache.folder import CACHE_FOLDER_VARIABLE
from pragmatiq_triton.container.settings import API_KEY_FILE, REPOSITORY, Settings
from pragmatiq_triton.container.supervisor import ANSWER_SECONDS, UNLOAD_SECONDS
from pragmatiq_triton.text_encoders.trust import TRUST_VARIABLE
from tests.deploy.conftest import (
    CASES,
    CHART,
    NAMESPACE,
    RELEASE,
    ROOT,
    RenderError,
    container_of,
    of_kind,
    only,
    pod_of,
)

OPERATORS_KINDS = {"ServiceMonitor", "PrometheusRule", "DestinationRule", "HTTPRoute", "GRPCRoute"}
# Cases that need a newer Kubernetes than the chart: image volumes.
NEWER = {"full": "1.35"}


def selected_by(selector, labels):
    return bool(selector) and selector.items() <= labels.items()


def mounts_of(manifests):
    return {mount["mountPath"]: mount for mount in container_of(manifests)["volumeMounts"]}


def volume_at(manifests, path):
    name = mounts_of(manifests)[path]["name"]
    [volume] = [volume for volume in pod_of(manifests)["spec"]["volumes"] if volume["name"] == name]
    return volume


def variables_of(manifests):
    return {variable["name"]: variable["value"] for variable in container_of(manifests)["env"]}


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_helm_lints_the_chart(values):
    if not shutil.which("helm"):
        pytest.skip("not run: no helm on the PATH")
    flags = [f"--values={file}" for file in values]
    done = subprocess.run(["helm", "lint", "--strict", CHART, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_manifests_are_what_kubernetes_takes(manifests, case):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    oldest = NEWER.get(case, chart["kubeVersion"].removeprefix(">="))
    for manifest in manifests:
        if manifest["kind"] not in OPERATORS_KINDS:
            for version in (oldest, kubernetes_validate.latest_version()):
                kubernetes_validate.validate(manifest, version, strict=True)


def test_the_case_with_everything_has_everything(render):
    kinds = [manifest["kind"] for manifest in render(*CASES["full"])]
    assert sorted(kinds) == [
        "ConfigMap", "Deployment", "DestinationRule", "GRPCRoute", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress",
        "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Service", "Service", "Service", "ServiceAccount",
        "ServiceMonitor",
    ]  # fmt: skip


def test_the_claim_case_has_only_what_it_asks_for(render):
    kinds = [manifest["kind"] for manifest in render(*CASES["claim"])]
    assert sorted(kinds) == ["Deployment", "Service", "Service"]


def test_selectors_find_the_pods(manifests):
    labels = pod_of(manifests)["metadata"]["labels"]
    selectors = [
        only(manifests, "Deployment")["spec"]["selector"]["matchLabels"],
        *(spread["labelSelector"]["matchLabels"] for spread in pod_of(manifests)["spec"]["topologySpreadConstraints"]),
        *(service["spec"]["selector"] for service in of_kind(manifests, "Service")),
        *(budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")),
        *(policy["spec"]["podSelector"]["matchLabels"] for policy in of_kind(manifests, "NetworkPolicy")),
    ]
    assert all(selected_by(selector, labels) for selector in selectors)


def test_selectors_tell_releases_apart(manifests):
    selector = only(manifests, "Deployment")["spec"]["selector"]["matchLabels"]
    assert selector["app.kubernetes.io/instance"] == RELEASE


def test_services_lead_to_the_containers_ports(manifests):
    ports = {port["name"] for port in container_of(manifests)["ports"]}
    reached = {port["targetPort"] for service in of_kind(manifests, "Service") for port in service["spec"]["ports"]}
    assert reached == ports


def test_what_names_others_names_what_is_there(render):
    manifests = render(*CASES["full"])
    name = only(manifests, "Deployment")["metadata"]["name"]
    assert only(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": name,
    }
    services = {service["metadata"]["name"]: service for service in of_kind(manifests, "Service")}
    assert only(manifests, "DestinationRule")["spec"]["host"] == f"{name}.{NAMESPACE}.svc.cluster.local"
    assert name in services
    monitor = only(manifests, "ServiceMonitor")["spec"]
    [scraped] = [
        service
        for service in services.values()
        if selected_by(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    ]
    assert [end["port"] for end in monitor["endpoints"]] == [port["name"] for port in scraped["spec"]["ports"]]


def test_service_names_fit_and_differ_however_long_the_releases_is(render):
    manifests = render(fullnameOverride="a" * 80, service={"headless": True})
    names = [service["metadata"]["name"] for service in of_kind(manifests, "Service")]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 63


def test_probes_ask_the_gateway_on_the_port_that_wants_no_keys(render):
    container = container_of(render())
    ready = {"path": "/v2/health/ready", "port": "metrics"}
    assert container["startupProbe"]["httpGet"] == ready
    assert container["readinessProbe"]["httpGet"] == ready
    assert container["livenessProbe"] == {
        "httpGet": {"path": "/v2/health/live", "port": "metrics"},
        "periodSeconds": 3,
        "timeoutSeconds": 10,
        "failureThreshold": 2,
    }


def test_without_the_gateway_a_canary_tells_whether_models_live(render):
    container = container_of(render(gateway={"enabled": False}))
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert container["livenessProbe"]["exec"]["command"][:3] == ["python", "-m", "pragmatiq_triton.probe"]
    assert variables_of(render(gateway={"enabled": False}))["PRAGMATIQ_GATEWAY"] == "0"


SERVED_WITH = {
    "apiKeys": {"existingSecret": "callers", "key": "fraud"},
    "tls": {"existingSecret": "scoring-tls", "clientCertificates": ["dns:a.svc", "uri:spiffe://b/c"]},
}


def test_callers_and_tls_are_files_of_secrets_that_the_gateway_takes_anew(render):
    manifests = render(gateway={**SERVED_WITH, "allowAnonymous": False, "allowPlaintext": False})
    policy = Settings.read(variables_of(manifests)).policy
    assert policy.auth.certificates == ("dns:a.svc", "uri:spiffe://b/c")
    assert not policy.auth.allow_anonymous
    assert not policy.tls.allow_plaintext
    mounts = mounts_of(manifests)
    for file in (policy.auth.api_keys, policy.tls.certificate, policy.tls.key, policy.tls.client_ca):
        mount = mounts[str(Path(file).parent)]
        assert "subPath" not in mount, "a subPath keeps the file that was there at the start"
    items = volume_at(manifests, str(Path(policy.auth.api_keys).parent))["secret"]["items"]
    assert items == [{"key": "fraud", "path": Path(policy.auth.api_keys).name}]
    service = next(each for each in of_kind(manifests, "Service") if each["metadata"]["name"].endswith("triton"))
    assert [port.get("appProtocol") for port in service["spec"]["ports"]] == ["https", "grpc"]


def test_settings_are_a_file_that_the_server_reads_and_a_change_rolls_the_pods(render, tmp_path):
    settings = {"gateway": {"limits": {"max_records": 7}}}
    manifests = render(settings=settings)
    file = Path(variables_of(manifests)["PRAGMATIQ_SETTINGS"])
    assert (
        volume_at(manifests, str(file.parent))["configMap"]["name"] == only(manifests, "ConfigMap")["metadata"]["name"]
    )
    (tmp_path / file.name).write_text(only(manifests, "ConfigMap")["data"][file.name])
    variables = {**variables_of(manifests), "PRAGMATIQ_SETTINGS": str(tmp_path / file.name)}
    assert Settings.read(variables).policy.limits.max_records == 7
    other = render(settings={"gateway": {"limits": {"max_records": 8}}})
    sums = [pod_of(each)["metadata"]["annotations"]["checksum/settings"] for each in (manifests, other)]
    assert sums[0] != sums[1]
    assert "PRAGMATIQ_SETTINGS" not in variables_of(render())


def test_switches_reach_the_server(render):
    variables = variables_of(render(skipVerification=True, trustRemoteCode=True))
    assert Settings.read(variables).skip_verification
    assert variables[TRUST_VARIABLE] == "1"
    assert not Settings.read(variables_of(render())).skip_verification
    assert variables_of(render())[TRUST_VARIABLE] == "0"


def test_a_repository_from_an_object_store(render):
    manifests = render(*CASES["objectstore"])
    pod = pod_of(manifests)["spec"]
    [fetch] = pod["initContainers"]
    written = {mount["mountPath"]: mount["name"] for mount in fetch["volumeMounts"]}
    assert written[str(REPOSITORY)] == mounts_of(manifests)[str(REPOSITORY)]["name"]
    assert mounts_of(manifests)[str(REPOSITORY)]["readOnly"] is True
    account = only(manifests, "ServiceAccount")
    assert account["metadata"]["name"] == pod["serviceAccountName"]
    assert account["metadata"]["annotations"]
    assert pod_of(render())["spec"]["serviceAccountName"] == "default"
    assert pod_of(render(serviceAccount={"name": "own"}))["spec"]["serviceAccountName"] == "own"


def test_routes_from_outside_lead_to_the_services_ports(render):
    manifests = render(*CASES["full"])
    service = next(each for each in of_kind(manifests, "Service") if each["metadata"]["name"].endswith("triton"))
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    name = service["metadata"]["name"]
    [path] = only(manifests, "Ingress")["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": name, "port": {"name": "http"}}
    for kind, port in (("HTTPRoute", "http"), ("GRPCRoute", "grpc")):
        [rule] = only(manifests, kind)["spec"]["rules"]
        assert rule["backendRefs"] == [{"name": name, "port": ports[port]}]


def test_the_pod_has_no_rights(manifests):
    pod, container = pod_of(manifests)["spec"], container_of(manifests)
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_is_stopped_only_after_accepted_requests_have_ended(manifests):
    pod, container = pod_of(manifests)["spec"], container_of(manifests)
    drain = int(variables_of(manifests)["PRAGMATIQ_DRAIN_SECONDS"])
    program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
    assert program == "sleep"
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + drain + ANSWER_SECONDS + UNLOAD_SECONDS


def test_drain_seconds_reach_the_server(render):
    assert Settings.read(variables_of(render(drainSeconds=77))).drain_seconds == 77


@pytest.mark.parametrize("left", [(), ("runAsUser",), ("runAsUser", "runAsGroup", "fsGroup")])
def test_users_and_groups_are_values_and_null_leaves_them_to_the_cluster(render, left):
    ids = {"runAsUser": 1000680000, "runAsGroup": 0, "fsGroup": 1000680000}
    security = pod_of(render(securityContext={**ids, **dict.fromkeys(left)}))["spec"]["securityContext"]
    assert {name: security.get(name) for name in ids} == {name: None if name in left else ids[name] for name in ids}
    assert not set(left) & security.keys()
    assert security["runAsNonRoot"] is True


def test_the_images_contract(render):
    manifests = render()
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8").splitlines()
    exposed = [line.split()[1:] for line in dockerfile if line.startswith("EXPOSE")]
    users = [line.split()[1] for line in dockerfile if line.startswith("USER")]
    security = pod_of(manifests)["spec"]["securityContext"]
    assert [[str(port["containerPort"]) for port in container_of(manifests)["ports"]]] == exposed
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == users[-1]
    assert {"/tmp", "/dev/shm"} <= mounts_of(manifests).keys()


def test_shared_memory_is_memory_with_a_limit(manifests):
    assert volume_at(manifests, "/dev/shm")["emptyDir"].keys() == {"medium", "sizeLimit"}
    assert volume_at(manifests, "/dev/shm")["emptyDir"]["medium"] == "Memory"


def test_the_repository_is_in_the_image_unless_a_volume_is_named(render):
    assert str(REPOSITORY) not in mounts_of(render())


def test_the_repository_comes_read_only_from_a_claim(render):
    manifests = render(modelRepository={"existingClaim": "models", "subPath": "fraud"})
    assert volume_at(manifests, str(REPOSITORY))["persistentVolumeClaim"] == {"claimName": "models", "readOnly": True}
    assert mounts_of(manifests)[str(REPOSITORY)]["readOnly"] is True
    assert mounts_of(manifests)[str(REPOSITORY)]["subPath"] == "fraud"


def test_the_repository_comes_read_only_from_an_oci_image(render):
    manifests = render(modelRepository={"image": "registry.example.com/models:1"})
    volume = volume_at(manifests, str(REPOSITORY))["image"]
    assert volume == {"reference": "registry.example.com/models:1", "pullPolicy": "IfNotPresent"}
    assert mounts_of(manifests)[str(REPOSITORY)]["readOnly"] is True


@pytest.mark.parametrize("claim", ["", "vectors"])
def test_the_cache_folder(render, claim):
    manifests = render(cache={"enabled": True, "existingClaim": claim})
    folder = variables_of(manifests)[CACHE_FOLDER_VARIABLE]
    kind = "persistentVolumeClaim" if claim else "emptyDir"
    assert kind in volume_at(manifests, folder)
    assert CACHE_FOLDER_VARIABLE not in variables_of(render())


def test_the_api_key_is_a_file_that_the_server_looks_for(render):
    manifests = render(apiKey={"existingSecret": "triton", "key": "admin"}, gateway={"enabled": False})
    assert mounts_of(manifests)[str(API_KEY_FILE)]["subPath"] == API_KEY_FILE.name
    secret = volume_at(manifests, str(API_KEY_FILE))["secret"]
    assert secret["secretName"] == "triton"
    assert secret["items"] == [{"key": "admin", "path": API_KEY_FILE.name}]
    assert secret["defaultMode"] == 0o440
    assert "secretKeyRef" not in str(container_of(manifests)["env"])


def test_the_images_tag(render):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    digest = f"sha256:{'a' * 64}"
    assert container_of(render())["image"] == f"pragmatiq-triton:{version}-cpu"
    assert container_of(render(gpu={"count": 1}))["image"] == f"pragmatiq-triton:{version}-gpu"
    assert container_of(render(image={"extras": "nemotron"}))["image"] == f"pragmatiq-triton:{version}-cpu-nemotron"
    assert container_of(render(image={"tag": "9"}))["image"] == "pragmatiq-triton:9"
    assert container_of(render(image={"tag": "9", "digest": digest}))["image"] == f"pragmatiq-triton@{digest}"


def test_a_gpu_is_asked_for_and_its_taint_borne(render):
    manifests = render(*CASES["gpu"])
    pod = pod_of(manifests)["spec"]
    assert container_of(manifests)["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": 1}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["tolerations"]
    assert {"key": "dedicated", "operator": "Exists"} in pod["tolerations"]
    assert "nvidia.com/gpu" not in container_of(render())["resources"]["limits"]


def test_the_autoscaler_alone_sets_the_number_of_pods(render):
    assert only(render(replicaCount=5), "Deployment")["spec"]["replicas"] == 5
    assert "replicas" not in only(render(autoscaling={"enabled": True}), "Deployment")["spec"]


def test_the_autoscaler_goes_by_queue_time_and_by_cpu_if_asked(render):
    [queue] = only(render(autoscaling={"enabled": True}), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert queue["pods"]["target"] == {"type": "AverageValue", "averageValue": "10m"}
    _, cpu = only(render(*CASES["full"]), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}


def test_the_network_policy_lets_in_the_named_and_nothing_out(render):
    client, prometheus = {"podSelector": {"matchLabels": {"a": "b"}}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}
    policy = only(render(networkPolicy={"clients": [client], "monitoring": [prometheus]}), "NetworkPolicy")["spec"]
    assert policy["ingress"] == [
        {"from": [client], "ports": [{"port": 8000}, {"port": 8001}]},
        {"from": [prometheus], "ports": [{"port": 8002}]},
    ]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy


def test_a_network_policy_without_peers_lets_nobody_in(render):
    policy = only(render(networkPolicy={"clients": [], "monitoring": []}), "NetworkPolicy")["spec"]
    assert "ingress" not in policy
    assert "Ingress" in policy["policyTypes"]


def test_ring_hash_goes_by_the_clients_header(render):
    rule = only(render(ringHash={"enabled": True}), "DestinationRule")["spec"]
    assert rule["trafficPolicy"]["loadBalancer"]["consistentHash"]["httpHeaderName"] == ROUTING_HEADER


def test_the_alert_rules_are_taken_as_they_are(render):
    text = (ROOT / "docker" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    rules = only(render(prometheusRule={"groups": text}), "PrometheusRule")
    assert rules["spec"] == yaml.safe_load(text)


def test_the_monitor_gives_the_job_name_that_the_alert_rules_know(render):
    prometheus = yaml.safe_load((ROOT / "docker" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    [endpoint] = only(render(serviceMonitor={"enabled": True}), "ServiceMonitor")["spec"]["endpoints"]
    [relabeling] = endpoint["relabelings"]
    assert relabeling["targetLabel"] == "job"
    assert relabeling["replacement"] in {scraped["job_name"] for scraped in prometheus["scrape_configs"]}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"modelRepository": {"existingClaim": "a", "image": "b:1"}}, "existingClaim and image are both given"),
        ({"autoscaling": {"enabled": True, "minReplicas": 11}}, r"minReplicas \(11\) is above maxReplicas \(10\)"),
        ({"gateway": {"allowAnonymous": False}}, "everybody in the cluster could call"),
        ({"gateway": {"allowPlaintext": False}}, "would pass in plain text"),
        ({"gateway": {"tls": {"clientCertificates": ["cn:a"]}}}, "set tls.existingSecret, whose ca.crt signs them"),
        ({"gateway": {"enabled": False}, "settings": {"gateway": {"limits": {}}}}, "would have no use"),
        ({"gateway": {"enabled": False, "apiKeys": {"existingSecret": "a"}}}, "would have no use"),
        ({"apiKey": {"existingSecret": "a"}}, "which nobody reaches behind the gateway"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"grpcRoute": {"enabled": True}}, "grpcRoute.parentRefs"),
        ({"prometheusRule": {"groups": "rules: []"}}, "expected the text of a Prometheus rule file"),
        ({"prometheusRule": {"groups": "groups: ]"}}, "expected the text of a Prometheus rule file"),
    ],
)
def test_values_that_contradict_each_other_are_refused(render, values, reason):
    with pytest.raises(RenderError, match=reason):
        render(**values)


def test_the_charts_versions_are_the_projects():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["appVersion"] == version
