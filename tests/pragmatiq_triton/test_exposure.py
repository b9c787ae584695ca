from pathlib import Path

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.exposure import require_direct_exposure, triton_version


def server(folder: Path, version: str | None) -> Path:
    (folder / "bin").mkdir()
    if version is not None:
        (folder / "TRITON_VERSION").write_text(version, encoding="ascii")
    return folder / "bin" / "tritonserver"


@pytest.mark.parametrize(
    ("version", "found"),
    [("2.58.0\n", "this one is 2.58"), ("2.9.1", "this one is 2.9"), (None, "does not say"), ("main", "does not say")],
)
@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "node.bank.example", "::"])
def test_a_triton_with_known_holes_is_reached_on_loopback_alone(
    tmp_path: Path, version: str | None, found: str, host: str
) -> None:
    program = server(tmp_path, version)
    with pytest.raises(ConfigError, match=rf"^--no-gateway: .* on {host} from 2\.59 .*{found}"):
        require_direct_exposure(host, program, "--no-gateway")
    for loopback in ("127.0.0.1", "127.1.2.3", "localhost", "::1"):
        require_direct_exposure(loopback, program, "--no-gateway")


@pytest.mark.parametrize("version", ["2.59.0", "2.61.0dev", "3.0"])
def test_a_newer_one_may_be_reached(tmp_path: Path, version: str) -> None:
    program = server(tmp_path, version)
    assert (triton_version(program) or (0, 0)) >= (2, 59)
    require_direct_exposure("0.0.0.0", program, "--no-gateway")
