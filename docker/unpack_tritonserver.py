"""Lay the server of an nvidia-pytriton wheel out as NVIDIA's image has it, with the backend stub of this Python.

unpack_tritonserver.py FOLDER-WITH-THE-WHEEL /opt/tritonserver
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

# auditwheel's own libpython is for the stub of Python 3.13; the others are linked against the system's.
_OTHER_PYTHONS = "libpython3-*"


def unpack(wheel: Path, target: Path) -> None:
    """Copy the binary, its libraries and its Python backend out of ``wheel`` into ``target``."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as files:
        files.extractall(folder)
        server = Path(folder, "pytriton", "tritonserver")
        backend = target / "backends" / "python"
        shutil.copytree(server / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
        stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
        if not stub.exists():
            raise SystemExit(f"{wheel.name} has no backend stub for Python {version}")
        shutil.copytree(server / "bin", target / "bin")
        shutil.copy(stub, backend)
        for program in (target / "bin" / "tritonserver", backend / stub.name):
            program.chmod(0o755)
        ignored = shutil.ignore_patterns() if version == "3.13" else shutil.ignore_patterns(_OTHER_PYTHONS)
        shutil.copytree(Path(folder, "nvidia_pytriton.libs"), target / "lib", ignore=ignored)
        for notice in Path(folder).glob("nvidia_pytriton-*.dist-info"):
            shutil.copytree(notice, target / notice.name)


if __name__ == "__main__":
    unpack(next(Path(sys.argv[1]).glob("*.whl")), Path(sys.argv[2]))
