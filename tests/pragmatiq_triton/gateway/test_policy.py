"""What an operator decides: from a file and the environment, each wrong word refused by its name; secure by default."""

import re

import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth.settings import Auth, Jwt, Tls
from pragmatiq_triton.gateway.limits import Limits
from pragmatiq_triton.gateway.policy import GatewayPolicy, check_policy, read_policy, read_policy_file

NEITHER = "gateway.auth.allow_anonymous"


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text(
        "gateway:\n"
        "  limits: {max_records: 5, request_seconds: 2}\n"
        "  callers: {callers: {batch: {records_per_second: 50}}}\n"
        "scorer: {threads: 2}\n"
    )
    variables = {
        "PRAGMATIQ_GATEWAY": "1",
        "PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "7",
        "PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS": "1",
        "PRAGMATIQ_GATEWAY_AUTH_CERTIFICATES": "dns:a.example, uri:spiffe://b.example/c",
        "PRAGMATIQ_GATEWAY_AUTH_JWT_AUDIENCE": "scoring",
        "PRAGMATIQ_GATEWAY_AUTH_JWT_ISSUER": "https://id",
        # What Kubernetes adds where a service is called pragmatiq-gateway.
        "PRAGMATIQ_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "PRAGMATIQ_GATEWAY_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PRAGMATIQ_GATEWAY_PORT": "tcp://10.0.0.1:8000",
    }
    policy = read_policy_file(file, variables)
    assert policy.limits == Limits(max_records=7, request_seconds=2)
    assert policy.callers.callers["batch"].records_per_second == 50
    assert policy.auth == Auth(
        certificates=("dns:a.example", "uri:spiffe://b.example/c"),
        jwt=Jwt("scoring", "https://id"),
        allow_anonymous=True,
    )
    assert read_policy_file(None, {}) == GatewayPolicy()


@pytest.mark.parametrize(
    ("section", "variables", "problem"),
    [
        ({"limit": {}}, {}, "settings: gateway: .*unknown field limit"),
        ({"limits": {"max_body": 1}}, {}, r"unknown field max_body at \$.limits"),
        ({"limits": {"max_records": "5"}}, {}, r"Expected int, got str at \$.limits.max_records"),
        ({"limits": {"max_records": 0}}, {}, "max_records: expected more than 0 and at most .*, got 0"),
        ({"limits": {"body_seconds": float("inf")}}, {}, "body_seconds: expected .* at most 1,000,000, got inf"),
        ({"limits": {"idle_seconds": float("nan")}}, {}, "idle_seconds: expected .* got nan"),
        ({"limits": {"max_body_bytes": 2**40}}, {}, "expected at most 2,147,483,647, as gRPC takes"),
        ({"callers": {"default": {"max_under_way": -1}}}, {}, r"max_under_way: expected from 0 \(no limit\)"),
        ({"callers": {"callers": {"a": {"records_per_second": float("nan")}}}}, {}, "records_per_second: .* got nan"),
        (
            {"auth": {"certificates": ["a.example"]}},
            {},
            r"'a.example': expected a name behind its kind, uri, dns, .*'dns:a.ex",
        ),
        ({"auth": {"certificates": ["dns:"]}}, {}, "'dns:': expected a name behind its kind"),
        ({"auth": {"stale_seconds": -1}}, {}, "stale_seconds: expected from 0 to"),
        ({"auth": {"jwt": {"issuer": "x"}}}, {}, "missing required field audience"),
        ({"callers": {"callers": {"a": {"rate": 3}}}}, {}, "unknown field rate"),
        ([], {}, "Expected object, got array"),
        (
            None,
            {"PRAGMATIQ_GATEWAY_LIMITS_MAX_BODY": "1"},
            "MAX_BODY: no such setting; expected one of .*MAX_BODY_BYTES",
        ),
        (
            None,
            {"PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "many"},
            "MAX_RECORDS: expected a whole number, got 'many'",
        ),
        (None, {"PRAGMATIQ_GATEWAY_LIMITS_BODY_SECONDS": "1s"}, "BODY_SECONDS: expected a number, got '1s'"),
        *[
            (
                None,
                {f"PRAGMATIQ_GATEWAY_{name}": empty},
                f"{name} is set but empty: expected {what}; give ",
            )
            for name, empty, what in (
                ("LIMITS_MAX_RECORDS", "", "a whole number"),
                ("TRACES_SAMPLE", " ", "a number"),
                ("AUTH_ALLOW_ANONYMOUS", "", "1 or 0"),
                ("AUTH_API_KEYS", "", "a word"),
                ("AUTH_CERTIFICATES", "", "words between commas"),
            )
        ],
        (None, {"PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "-1"}, "max_records: expected more than 0 .* got -1"),
        (None, {"PRAGMATIQ_GATEWAY_AUTH_ALLOW_ANONYMOUS": "yes"}, "ALLOW_ANONYMOUS: expected 1 or 0, got 'yes'"),
        (None, {"PRAGMATIQ_GATEWAY_AUTH_JWT_ISSUER": "x"}, "missing required field audience"),
    ],
)
def test_a_wrong_word_is_refused_by_its_name(section, variables, problem):
    with pytest.raises(ConfigError, match=problem):
        read_policy(section, variables)


@pytest.mark.parametrize("content", ["- 1", "gateway: [", "\xff"])
def test_a_file_that_is_no_settings_is_refused_by_its_name(tmp_path, content):
    file = tmp_path / "settings.yaml"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError, match=re.escape(str(file))):
        read_policy_file(file, {})


def test_files_are_named_from_the_current_folder_of_who_starts_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = {
        "auth": {"api_keys": "keys", "jwt": {"issuer": "a", "audience": "b", "keys": "/etc/jwks"}},
        "tls": {"certificate": "tls/crt", "key": "../key"},
        "access_log": {"file": "log"},
    }
    policy = read_policy(section, {})
    assert (policy.auth.api_keys, policy.auth.jwt.keys) == (f"{tmp_path}/keys", "/etc/jwks")
    assert (policy.tls.certificate, policy.tls.client_ca) == (f"{tmp_path}/tls/crt", "")
    assert policy.access_log.file == f"{tmp_path}/log"
    for file in ("-", "off", ""):
        assert read_policy({"access_log": {"file": file}}, {}).access_log.file == file


KEYS = Auth(api_keys="keys")
PAIR = Tls(certificate="c", key="k")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_on_loopback_nothing_has_to_be_said(host):
    check_policy(GatewayPolicy(), host)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3"])
def test_off_loopback_each_protection_that_is_missing_has_to_be_given_up_by_its_own_word(host):
    open_to_all, in_plain_text = "everybody who reaches it could call", "would pass in plain text"
    for policy, problem in (
        (GatewayPolicy(), open_to_all),
        (GatewayPolicy(tls=PAIR), open_to_all),
        (GatewayPolicy(auth=KEYS), in_plain_text),
        (GatewayPolicy(auth=Auth(allow_anonymous=True)), in_plain_text),
        (GatewayPolicy(tls=Tls(allow_plaintext=True)), open_to_all),
    ):
        with pytest.raises(ConfigError, match=f"^{host} is open to the network.*{problem}"):
            check_policy(policy, host)
    for policy in (
        GatewayPolicy(auth=KEYS, tls=PAIR),
        GatewayPolicy(auth=KEYS, tls=Tls(allow_plaintext=True)),
        GatewayPolicy(auth=Auth(allow_anonymous=True), tls=PAIR),
        GatewayPolicy(auth=Auth(allow_anonymous=True), tls=Tls(allow_plaintext=True)),
    ):
        check_policy(policy, host)


@pytest.mark.parametrize(
    ("auth", "tls", "problem"),
    [
        (Auth(), Tls(certificate="c"), "expected certificate and key, got one of them"),
        (Auth(), Tls(key="k"), "expected certificate and key, got one of them"),
        (Auth(), Tls(client_ca="ca"), "need TLS"),
        (Auth(certificates=("*",)), PAIR, "set gateway.tls.client_ca"),
        (Auth(jwt=Jwt("a", "b")), PAIR, "expected keys or jwks_url"),
        (Auth(jwt=Jwt("a", "b", keys="k", jwks_url="https://x")), PAIR, "expected keys or jwks_url"),
    ],
)
def test_what_does_not_go_together_is_refused_on_every_address(auth, tls, problem):
    with pytest.raises(ConfigError, match=problem):
        check_policy(GatewayPolicy(auth=auth, tls=tls), "127.0.0.1")
