"""The other side of the comparison: a run served by the upstream toolkit's own code, on the same ``tritonserver``."""

import shutil
from dataclasses import replace
from pathlib import Path

from bench.toolkits import upstream_environment
from pragmatiq_triton.server import TritonServer, find_server_environment

MODEL = "upstream"
TEMPLATE = Path(__file__).with_name("upstream_model")


def upstream_server(run: Path, work: Path, environment: Path) -> TritonServer:
    """A server over ``run`` on free ports, not started yet.

    Args:
        run: a run in upstream's format.
        work: folder for the model repository, whose content is replaced.
        environment: virtual environment of the upstream toolkit, which is made on first use.

    Returns:
        A server of the model ``upstream``: input ``records_json`` BYTES [1], a JSON list of records; output
        ``embeddings`` FP32 [users, dim]. It has two instances, as upstream's own repository has.
    """
    packages = next((upstream_environment(environment) / "lib").glob("python3*")) / "site-packages"
    repository = work / "repository"
    shutil.rmtree(repository, ignore_errors=True)
    shutil.copytree(TEMPLATE, repository / MODEL, ignore=shutil.ignore_patterns("__pycache__"))
    (repository / MODEL / "run").symlink_to(run.resolve())
    server = replace(find_server_environment(), package_folders=(packages,))
    return TritonServer(
        repository, environment=server, http_port=0, grpc_port=0, metrics_port=0, log_file=work / "server.log"
    )
