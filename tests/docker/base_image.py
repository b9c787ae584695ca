"""A Debian base image for buildah, made by debootstrap: what `CPU_IMAGE` is where no image registry can be reached.

    python tests/docker/base_image.py [NAME]

It carries this machine's certificates and where its pip looks for wheels, so that pip works inside. Needs root,
buildah and debootstrap.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "localhost/pragmatiq-test-base:bookworm"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def make_base_image(name: str = NAME, mirror: str = "http://deb.debian.org/debian") -> None:
    """Make the image ``name`` unless it is there."""
    if subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        subprocess.run(
            ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root, mirror],
            check=True,
            stdout=sys.stderr,
        )
        shutil.rmtree(root / "var/cache/apt/archives")
        shutil.rmtree(root / "var/lib/apt/lists")
        shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        container = _buildah("from", "scratch")
        try:
            _buildah("add", container, str(root), "/")
            for variable in (
                f"PIP_CERT={CERTIFICATES}",
                f"SSL_CERT_FILE={CERTIFICATES}",
                f"PIP_FIND_LINKS={' '.join(wheel_folders())}",
            ):
                _buildah("config", "--env", variable, container)
            _buildah("commit", container, name)
        finally:
            _buildah("rm", container)


def wheel_folders() -> list[str]:
    """Folders of wheels on this machine that its pip settings name, which a build has to be given as volumes."""
    settings = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, encoding="utf-8")
    pairs = (line.partition("=") for line in settings.stdout.splitlines())
    values = [value.strip("'") for name, _, value in pairs if name.endswith("find-links")]
    return sorted({folder for value in values for folder in value.split() if Path(folder).is_dir()})


def _buildah(*arguments: str) -> str:
    return subprocess.run(["buildah", *arguments], check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.strip()


if __name__ == "__main__":
    make_base_image(*sys.argv[1:])
