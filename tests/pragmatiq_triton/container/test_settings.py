from pathlib import Path

import pytest

from pragmatiq_triton.container.settings import Settings
from pragmatiq_triton.errors import ConfigError

CLOSED = "shared-memory,model-config,model-repository,statistics,trace,logging"


def test_nothing_set_opens_health_metadata_and_inference_alone() -> None:
    command = Settings.read({}).command("")
    assert command[0] == "/opt/tritonserver/bin/tritonserver"
    assert {
        "--model-repository=/models",
        "--model-control-mode=none",
        "--disable-auto-complete-config",
        "--exit-on-error=true",
        "--strict-readiness=true",
        "--exit-timeout-secs=30",
        "--http-port=8000",
        "--grpc-port=8001",
        "--metrics-port=8002",
    } < set(command)
    for flag in ("--http-restricted-api", "--grpc-restricted-protocol"):
        (value,) = [word for word in command if word.startswith(flag)]
        assert value.startswith(f"{flag}={CLOSED}:x-api-key=")


def test_the_key_that_nobody_was_given_is_another_one_each_time() -> None:
    keys = {Settings.read({}).api_key for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) >= 32 for key in keys)


def test_the_key_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret\n", encoding="utf-8")
    command = Settings.read({"PRAGMATIQ_API_KEY_FILE": str(file)}).command("")
    assert f"--http-restricted-api={CLOSED}:x-api-key=s3cret" in command


@pytest.mark.parametrize("key", ["", " \n", "two words", "a,b", "a:b", "a=b", "schlüssel", 'quo"te'])
def test_a_key_that_a_flag_cannot_hold_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key, encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a key of printable ASCII"):
        Settings.read({"PRAGMATIQ_API_KEY_FILE": str(file)})


def test_a_named_key_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PRAGMATIQ_API_KEY_FILE: .*absent cannot be read"):
        Settings.read({"PRAGMATIQ_API_KEY_FILE": str(tmp_path / "absent")})


def test_metrics_have_an_address_of_their_own() -> None:
    settings = Settings.read({"PRAGMATIQ_ADDRESS": "10.0.0.1", "PRAGMATIQ_METRICS_ADDRESS": "127.0.0.1"})
    assert {"--http-address=10.0.0.1", "--grpc-address=10.0.0.1", "--metrics-address=127.0.0.1"} < set(
        settings.command("")
    )


def test_the_input_limit_is_set_where_the_server_has_one() -> None:
    settings = Settings.read({"PRAGMATIQ_HTTP_INPUT_BYTES": "1000"})
    assert "--http-max-input-size=1000" in settings.command("  --http-max-input-size <integer>\n")
    assert not any("max-input" in word for word in settings.command("  --http-port <integer>\n"))


@pytest.mark.parametrize("value", ["0", "-1", "3.5", "soon"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="PRAGMATIQ_DRAIN_SECONDS: expected a whole number of at least 1"):
        Settings.read({"PRAGMATIQ_DRAIN_SECONDS": value})


def test_an_operators_flags_come_last() -> None:
    assert Settings.read({}).command("", ["--log-verbose=1"])[-1] == "--log-verbose=1"


def test_verification_is_skipped_on_an_explicit_word_alone() -> None:
    assert not Settings.read({}).skip_verification
    assert Settings.read({"PRAGMATIQ_SKIP_VERIFICATION": "1"}).skip_verification
    with pytest.raises(ConfigError, match="PRAGMATIQ_SKIP_VERIFICATION: expected 1 or 0, got 'yes'"):
        Settings.read({"PRAGMATIQ_SKIP_VERIFICATION": "yes"})
