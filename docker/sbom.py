"""A CycloneDX list of all packages: those of the Python environment, the system's, and the server itself.

sbom.py PYTHON.cdx.json /var/lib/dpkg/status > SBOM.cdx.json
"""

import json
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

SERVER = Path("/opt/tritonserver")


def debian_components(status: str) -> Iterator[dict[str, Any]]:
    """The installed packages of dpkg's status file, as CycloneDX components."""
    for paragraph in status.split("\n\n"):
        package = HeaderParser().parsestr(paragraph)
        if package.get("Status", "").endswith(" installed"):
            name, version = package["Package"], package["Version"]
            purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B')}?arch={package['Architecture']}"
            yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def server_components(folder: Path) -> Iterator[dict[str, Any]]:
    """The wheel that the server was taken from; NVIDIA's own image has none."""
    for notice in folder.glob("*.dist-info"):
        name, _, version = notice.name.removesuffix(".dist-info").partition("-")
        purl = f"pkg:pypi/{name.replace('_', '-')}@{version}"
        yield {"type": "application", "name": name.replace("_", "-"), "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    sbom = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sbom["components"] += debian_components(Path(sys.argv[2]).read_text(encoding="utf-8"))
    sbom["components"] += server_components(SERVER)
    json.dump(sbom, sys.stdout, indent=1, ensure_ascii=False)
