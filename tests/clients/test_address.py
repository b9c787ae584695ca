"""URLs, proxies of the environment, headers and request ids."""

import pytest

from pragmatiq_client import TLS, AsyncScoringClient, ScoringClient
from pragmatiq_client.address import find_proxy, parse_address
from pragmatiq_client.headers import call_headers, check_headers


@pytest.mark.parametrize(
    ("url", "protocol", "expected"),
    [
        ("localhost:8001", None, "grpc://localhost:8001"),
        ("localhost:8000", "http", "http://localhost:8000"),
        ("http://localhost:8000", None, "http://localhost:8000"),
        ("HTTP://LocalHost:8000/", None, "http://localhost:8000"),
        ("http://localhost:8001", "grpc", "grpc://localhost:8001"),
        ("https://gateway:443/scoring/", None, "https://gateway:443/scoring"),
        ("https://gateway:443", "grpc", "grpcs://gateway:443"),
        ("grpcs://gateway:443", None, "grpcs://gateway:443"),
        ("[::1]:8001", None, "grpc://[::1]:8001"),
        ("http://[::1]:8000", "http", "http://[::1]:8000"),
    ],
)
def test_url_says_protocol_and_encryption(url: str, protocol: str | None, expected: str) -> None:
    for kind in (ScoringClient, AsyncScoringClient):
        assert kind(url, protocol=protocol).url == expected  # type: ignore[arg-type]


def test_certificates_turn_encryption_on() -> None:
    assert ScoringClient("gateway:443", tls=TLS()).url == "grpcs://gateway:443"
    with pytest.raises(ValueError, match="without TLS, but tls= is given: write http"):
        ScoringClient("http://gateway:443", tls=TLS())


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("localhost", "the port is missing.*8001 for gRPC and 8000 for HTTP"),
        ("http://localhost", "the port is missing"),
        ("https://gateway/scoring", "the port is missing"),
        ("localhost:", "the port is missing"),
        ("localhost:0", "the port is missing"),
        ("localhost:eight", "expected host:port"),
        ("localhost:70000", "out of range"),
        ("", "expected host:port"),
        (":8001", "expected host:port"),
        ("local host:8001", "expected host:port"),
        ("ftp://localhost:21", "expected host:port"),
        ("http:/localhost:8000", "expected host:port"),
        ("http://localhost:8000/a b", "expected host:port"),
        ("http://localhost:8000/é", "expected host:port"),
        ("http://localhost:8000/?a=b", "expected host:port"),
        ("grpc://localhost:8001/scoring", "no path for gRPC"),
        ("http://me:secret@localhost:8000", "send them by headers"),
    ],
)
def test_url_that_cannot_be_meant(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        ScoringClient(url)
    assert "secret" not in str(caught.value)


def test_url_of_the_other_protocol() -> None:
    with pytest.raises(ValueError, match="is a URL for the protocol 'grpc', not 'http'"):
        ScoringClient("grpc://localhost:8001", protocol="http")


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("grpc", "https", "http", "all", "no", "no_grpc"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "app.localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
@pytest.mark.parametrize("scheme", ["grpc", "grpcs", "http", "https"])
def test_this_machine_is_never_reached_through_a_proxy(proxies: pytest.MonkeyPatch, scheme: str, host: str) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        proxies.setenv(name, "http://proxy:3128")
    assert find_proxy(parse_address(f"{scheme}://{host}:8001", None, None)) is None


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("grpc://far:1", "grpc_proxy"),
        ("grpcs://far:1", "grpc_proxy"),
        ("http://far:1", "http_proxy"),
        ("https://far:1", "https_proxy"),
    ],
)
def test_proxy_is_named_without_its_password(proxies: pytest.MonkeyPatch, url: str, variable: str) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        proxies.setenv(name, f"http://me:secret@{name.replace('_', '-')}:3128")
    proxy = find_proxy(parse_address(url, None, None))
    assert proxy is not None
    assert proxy.variable == variable
    assert f"{variable}={variable.replace('_', '-')}:3128 is set" in proxy.cause
    assert "secret" not in proxy.cause
    assert "use_proxy=False" in proxy.cause
    proxies.setenv("no_proxy", "near,far")
    assert find_proxy(parse_address(url, None, None)) is None


def test_headers_are_checked_without_showing_their_values() -> None:
    assert check_headers({"Authorization": "Bearer x", "x-api-key": "1"}) == {
        "authorization": "Bearer x",
        "x-api-key": "1",
    }
    for headers in (
        {"": "a"},
        {"a b": "a"},
        {"content-length": "1"},
        {"grpc-timeout": "1"},
        {"a-bin": "a"},
        {"é": "a"},
    ):
        with pytest.raises(ValueError, match="expected a name"):
            check_headers(headers)
    for value in ("sécret", "secret\n", "", " secret", "secret\r\nx: y"):
        with pytest.raises(ValueError, match="authorization: expected a value") as caught:
            check_headers({"authorization": value})
        assert "cret" not in str(caught.value)
    with pytest.raises(ValueError, match="there twice"):
        check_headers({"A": "1", "a": "2"})


def test_request_id_is_the_callers_or_a_new_one() -> None:
    headers, made = call_headers({"a": "1", "b": "1"}, {"B": "2"}, "u1", None)
    assert headers == {"a": "1", "b": "2", "x-user-id": "u1", "x-request-id": made}
    assert call_headers({}, None, None, None)[1] != made
    assert call_headers({}, None, None, "trace-7")[1] == "trace-7"
    assert call_headers({}, {"X-Request-Id": "trace-8"}, None, None)[1] == "trace-8"
    for wrong in ("", "a b", "a]b", "é", "a\n", "a" * 201):
        with pytest.raises(ValueError, match="request_id: expected"):
            call_headers({}, None, None, wrong)


def test_arguments_are_checked() -> None:
    for options, name in (
        ({"protocol": "ftp"}, "protocol"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"retries": -1}, "retries"),
        ({"timeout": -1.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"headers": {"a b": "c"}}, "headers"),
    ):
        with pytest.raises(ValueError, match=name):
            ScoringClient("localhost:8000", **options)  # type: ignore[arg-type]
