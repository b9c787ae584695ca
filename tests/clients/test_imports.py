"""What importing and making a client loads, in a fresh interpreter."""

import subprocess
import sys

import pytest

HEAVY = ("grpc", "gevent", "aiohttp", "tritonclient.grpc", "tritonclient.http")


def loaded(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_loads_no_protocol() -> None:
    assert loaded("import pragmatiq_client") == set()


@pytest.mark.parametrize(
    ("kind", "protocol", "expected", "others"),
    [
        ("ScoringClient", "grpc", "grpc", {"gevent", "aiohttp"}),
        ("ScoringClient", "http", None, {"gevent", "grpc", "aiohttp"}),
        ("AsyncScoringClient", "http", "aiohttp", {"gevent", "grpc"}),
    ],
)
def test_a_client_loads_its_own_protocol_only(kind: str, protocol: str, expected: str | None, others: set[str]) -> None:
    modules = loaded(f"from pragmatiq_client import {kind}\n{kind}('localhost:1', protocol='{protocol}')")
    assert expected is None or expected in modules
    assert not modules & others


@pytest.mark.parametrize(
    ("protocol", "package", "install"), [("grpc", "grpc", '"tritonclient[grpc]"'), ("http", "aiohttp", "aiohttp")]
)
def test_missing_package_says_what_to_install(protocol: str, package: str, install: str) -> None:
    code = f"sys.modules[{package!r}] = None\nfrom pragmatiq_client import AsyncScoringClient\n"
    code += f"AsyncScoringClient('localhost:1', protocol={protocol!r})"
    failed = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=False)
    assert "ImportError: " in failed.stderr
    assert f'protocol "{protocol}" needs' in failed.stderr
    assert f"pip install {install}" in failed.stderr
