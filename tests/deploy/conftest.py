"""Renders the chart: with Helm where it is on the PATH, else with Go's own templates (``render/main.go``)."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "pragmatiq-triton"
CASES = {
    "default": [],
    **{case: [CHART / "ci" / f"{case}-values.yaml"] for case in ("full", "gpu", "claim", "openshift", "objectstore")},
}
GO_LIBRARIES = Path("/usr/share/gocode")
RELEASE, NAMESPACE = "fraud", "scoring"
OPEN = {"gateway": {"allowAnonymous": True, "allowPlaintext": True}}
"""What the chart wants to be told where nothing of keys or TLS is."""


class RenderError(Exception):
    """The chart refuses the values; the text says why."""


@pytest.fixture(scope="session")
def render_command(tmp_path_factory):
    """The command that renders the chart's release under files of values."""
    if helm := shutil.which("helm"):
        flags = [f"--namespace={NAMESPACE}", "--kube-version=1.35.0"]
        return lambda files: [helm, "template", RELEASE, CHART, *flags, *(f"--values={file}" for file in files)]
    libraries = ("github.com/Masterminds/sprig", "sigs.k8s.io/yaml")
    if not shutil.which("go") or not all((GO_LIBRARIES / "src" / library).is_dir() for library in libraries):
        pytest.skip(
            "not run: neither helm nor a Go toolchain with sprig"
            " (Debian: apt-get install golang-go golang-github-masterminds-sprig-dev golang-k8s-sigs-yaml-dev)"
        )
    program = tmp_path_factory.mktemp("render") / "render"
    go = os.environ | {"GO111MODULE": "off", "GOPATH": str(GO_LIBRARIES), "GOFLAGS": ""}
    source = Path(__file__).parent / "render" / "main.go"
    subprocess.run(["go", "build", "-o", program, source], env=go, check=True)
    return lambda files: [program, CHART, RELEASE, NAMESPACE, *files]


@pytest.fixture(scope="session")
def render(render_command, tmp_path_factory):
    """The manifests under the chart's values, those of files and ``values``; :class:`RenderError` where it refuses."""
    folder = tmp_path_factory.mktemp("values")

    def run(*files, **values):
        own, base = folder / "values.yaml", folder / "open.yaml"
        own.write_text(json.dumps(values), encoding="utf-8")
        base.write_text(json.dumps({} if files else OPEN), encoding="utf-8")
        done = subprocess.run(render_command([base, *files, own]), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RenderError(done.stderr)
        return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]

    return run


@pytest.fixture(scope="session", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="session")
def manifests(render, case):
    """The manifests of one of the chart's cases."""
    return render(*CASES[case])


def of_kind(manifests, kind):
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def only(manifests, kind):
    """The one manifest of this kind."""
    [found] = of_kind(manifests, kind)
    return found


def pod_of(manifests):
    return only(manifests, "Deployment")["spec"]["template"]


def container_of(manifests):
    [container] = pod_of(manifests)["spec"]["containers"]
    return container
