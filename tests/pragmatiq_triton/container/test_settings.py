from pathlib import Path

import pytest

from pragmatiq_triton.container.settings import Settings
from pragmatiq_triton.errors import ConfigError

CLOSED = "shared-memory,model-config,model-repository,statistics,trace,logging"


DIRECT = {"PRAGMATIQ_GATEWAY": "0"}
OPEN = {"PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS": "1", "PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT": "1"}


def test_without_the_gateway_health_metadata_and_inference_alone_are_open() -> None:
    command = Settings.read(DIRECT).command("")
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
    keys = {Settings.read(variables).api_key for variables in (OPEN, OPEN, DIRECT, DIRECT)}
    assert len(keys) == 4
    assert all(len(key) >= 32 for key in keys)


def test_the_key_comes_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("s3cret\n", encoding="utf-8")
    command = Settings.read({"PRAGMATIQ_API_KEY_FILE": str(file), **DIRECT}).command("")
    assert f"--http-restricted-api={CLOSED}:x-api-key=s3cret" in command


@pytest.mark.parametrize("key", ["", " \n", "two words", "a,b", "a:b", "a=b", "schlüssel", 'quo"te'])
def test_a_key_that_a_flag_cannot_hold_is_refused(tmp_path: Path, key: str) -> None:
    file = tmp_path / "key"
    file.write_text(key, encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a key of printable ASCII"):
        Settings.read({"PRAGMATIQ_API_KEY_FILE": str(file), **DIRECT})


def test_a_named_key_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"PRAGMATIQ_API_KEY_FILE: .*absent cannot be read"):
        Settings.read({"PRAGMATIQ_API_KEY_FILE": str(tmp_path / "absent"), **DIRECT})


def test_metrics_have_an_address_of_their_own() -> None:
    settings = Settings.read({"PRAGMATIQ_ADDRESS": "10.0.0.1", "PRAGMATIQ_METRICS_ADDRESS": "127.0.0.1", **DIRECT})
    assert {"--http-address=10.0.0.1", "--grpc-address=10.0.0.1", "--metrics-address=127.0.0.1"} < set(
        settings.command("")
    )


def test_the_input_limit_is_set_where_the_server_has_one() -> None:
    settings = Settings.read({"PRAGMATIQ_HTTP_INPUT_BYTES": "1000", **DIRECT})
    assert "--http-max-input-size=1000" in settings.command("  --http-max-input-size <integer>\n")
    assert not any("max-input" in word for word in settings.command("  --http-port <integer>\n"))


@pytest.mark.parametrize("value", ["0", "-1", "3.5", "soon"])
def test_a_number_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="PRAGMATIQ_DRAIN_SECONDS: expected a whole number of at least 1"):
        Settings.read({"PRAGMATIQ_DRAIN_SECONDS": value, **OPEN})


def test_an_operators_flags_come_last() -> None:
    assert Settings.read(OPEN).command("", ["--log-verbose=1"])[-1] == "--log-verbose=1"


def test_verification_is_skipped_on_an_explicit_word_alone() -> None:
    assert not Settings.read(OPEN).skip_verification
    assert Settings.read({"PRAGMATIQ_SKIP_VERIFICATION": "1", **OPEN}).skip_verification
    with pytest.raises(ConfigError, match="PRAGMATIQ_SKIP_VERIFICATION: expected 1 or 0, got 'yes'"):
        Settings.read({"PRAGMATIQ_SKIP_VERIFICATION": "yes", **OPEN})


def test_behind_the_gateway_triton_listens_on_loopback_and_what_callers_reach_is_the_gateways() -> None:
    variables = {
        "PRAGMATIQ_ADDRESS": "10.0.0.1",
        "PRAGMATIQ_DRAIN_SECONDS": "7",
        "PRAGMATIQ_GATEWAY_LIMITS_MAX_BODY_BYTES": "1000",
        **OPEN,
    }
    settings = Settings.read(variables)
    command = settings.command("", ["--log-verbose=1"], ports=(1, 2, 3))
    addresses = [word for word in command if "-address=" in word]
    assert addresses == [f"--{service}-address=127.0.0.1" for service in ("http", "grpc", "metrics")]
    assert {"--http-port=1", "--grpc-port=2", "--metrics-port=3"} < set(command)
    told = settings.gateway_settings((1, 2, 3), Path("/tmp/board"), Path("/tmp/view"))
    assert (told.repository, told.served) == ("/models", "/tmp/view")
    assert (told.triton.http, told.triton.metrics) == ("127.0.0.1:1", "127.0.0.1:3")
    assert (told.host, told.metrics_host, told.drain_seconds) == ("10.0.0.1", "0.0.0.0", 7)
    assert (told.http_port, told.grpc_port, told.metrics_port) == (8000, 8001, 8002)
    assert told.policy.limits.max_body_bytes == 1000
    assert settings.http_input_bytes > 1000, "what the gateway lets in has to fit into Triton"


@pytest.mark.parametrize(
    "flag",
    [
        "--http-port=8000",
        "--http-address",
        "--grpc-addr=0.0.0.0",
        "--allow-sagemaker=true",
        "--metrics-address=::",
        "--h",
    ],
)
def test_a_flag_that_opens_triton_beside_the_gateway_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{flag.partition('=')[0]}: .*PRAGMATIQ_GATEWAY=0"):
        Settings.read(OPEN).command("", ["--log-verbose=1", flag], ports=(1, 2, 3))
    assert Settings.read(DIRECT).command("", [flag])[-1] == flag


def test_flags_that_leave_triton_where_it_is_are_taken() -> None:
    extra = ["--metrics-config=summary_latencies=false", "--log-verbose=1", "--host-policy=a,b=c", "--rate-limit=off"]
    assert Settings.read(OPEN).command("", extra, ports=(1, 2, 3))[-4:] == extra


@pytest.mark.parametrize("missing", OPEN)
def test_a_container_that_is_open_to_the_network_has_to_be_told_so(missing: str) -> None:
    with pytest.raises(ConfigError, match=rf"^0\.0\.0\.0 is open to the network.*{missing}=1"):
        Settings.read({name: value for name, value in OPEN.items() if name != missing})
    Settings.read({"PRAGMATIQ_ADDRESS": "127.0.0.1"})


def test_what_an_operator_decides_comes_from_the_file_and_variables(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("gateway: {limits: {max_records: 3, max_waiting: 9}, auth: {api_keys: /run/secrets/keys}}\n")
    variables = {
        "PRAGMATIQ_SETTINGS": str(file),
        "PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "5",
        "PRAGMATIQ_GATEWAY_TLS_ALLOW_PLAINTEXT": "1",
    }
    policy = Settings.read(variables).policy
    assert (policy.limits.max_records, policy.limits.max_waiting) == (5, 9)
    assert policy.auth.api_keys == "/run/secrets/keys"


def test_the_limit_of_a_bare_triton_is_not_taken_behind_the_gateway_in_silence() -> None:
    with pytest.raises(ConfigError, match="say PRAGMATIQ_GATEWAY_LIMITS_MAX_BODY_BYTES"):
        Settings.read({"PRAGMATIQ_HTTP_INPUT_BYTES": "1000", **OPEN})
