"""A checkout in small: stages as in docker/Dockerfile, made from nothing, so that a build needs neither network nor
base images."""

TAG = "pragmatiq-triton-test:1.2.3"
DOCKERFILE = """\
ARG BASE=cpu
ARG GPU_IMAGE=registry.invalid/tritonserver
FROM scratch AS text-model
WORKDIR /
FROM scratch AS repository
WORKDIR /
FROM ${GPU_IMAGE} AS base-gpu
FROM scratch AS base-cpu
COPY docker/server.py /
FROM base-${BASE} AS environment
COPY . /source
FROM base-${BASE}
COPY --from=environment /source /source
COPY --from=text-model / /text-model
COPY --from=repository / /models
"""


def write_files(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return folder


def make_checkout(folder):
    return write_files(
        folder,
        {
            "docker/Dockerfile": DOCKERFILE,
            "docker/server.py": "serve()\n",
            ".dockerignore": "# Only this.\n*\n!pyproject.toml\n!package\n!docker/*.py\n**/__pycache__\n",
            "pyproject.toml": '[project]\nname = "small"\nversion = "1.2.3"\n',
            "package/__init__.py": "",
            "package/日本.py": "yen = 1\n",
            "package/__pycache__/x.pyc": "stale",
            "secret.txt": "stays here",
            ".venv/lib/big": "stays here",
        },
    )


def make_repository(folder):
    write_files(folder, {"scorer/config.pbtxt": 'name: "scorer"\n', "scoring/config.pbtxt": 'name: "scoring"\n'})
    (folder / "scoring" / "1").mkdir()
    return folder


def make_snapshot(folder):
    """A hub's snapshot: every file is a link to one that lies outside."""
    blobs = write_files(folder / "blobs", {"a1": "{}", "b2": "weights", "c3": "pooling"})
    snapshot = folder / "snapshots" / "0a"
    (snapshot / ".cache").mkdir(parents=True)
    (snapshot / ".cache" / "lock").write_text("", encoding="utf-8")
    (snapshot / "1_Pooling").mkdir()
    for name, blob in {"config.json": "a1", "model.safetensors": "b2", "1_Pooling/config.json": "c3"}.items():
        (snapshot / name).symlink_to(blobs / blob)
    return snapshot
