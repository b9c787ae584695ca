"""JSON web tokens: one that holds names its caller; whatever does not hold opens nothing."""

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.gateway.auth import tokens as module
from pragmatiq_triton.gateway.auth.settings import Jwt
from pragmatiq_triton.gateway.auth.tokens import Tokens
from pragmatiq_triton.gateway.errors import UnauthenticatedError, UnavailableError

RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(65537, 2048)


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwks(**keys):
    entries = []
    for kid, key in keys.items():
        kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
        entries.append({**json.loads(kind.to_jwk(key.public_key())), "kid": kid, "use": "sig"})
    return json.dumps({"keys": entries}).encode()


def claims(**other):
    now = int(time.time())
    found = {"sub": "fraud-service", "aud": "scoring", "iss": "https://id.bank.example", "exp": now + 300, **other}
    return {name: value for name, value in found.items() if value is not None}


def token(key=RSA, algorithm="RS256", headers=None, **other):
    return jwt.encode(claims(**other), key, algorithm, headers)


def by_hand(head, body, sign=lambda signed: b""):
    """A token that no library would make."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (head, body)]
    signed = b".".join(parts)
    return b".".join([signed, base64.urlsafe_b64encode(sign(signed)).rstrip(b"=")]).decode()


@pytest.fixture
def file(tmp_path):
    found = tmp_path / "keys.pem"
    found.write_bytes(pem(RSA))
    return found


@pytest.fixture
def tokens(file):
    return Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", keys=str(file)))


def test_one_that_holds_names_its_caller(tokens):
    for _ in range(2):  # the second time from memory
        assert tokens.caller_of(token()) == "fraud-service"
    assert tokens.caller_of(token(aud=["other", "scoring"], algorithm="PS384")) == "fraud-service"
    assert tokens.caller_of(token(exp=int(time.time()) - 20)) == "fraud-service", "clocks may differ by 30 s"


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: token(aud="billing"), "Audience"),
        (lambda: token(aud=None), "aud"),
        (lambda: token(iss="https://id.elsewhere.example"), "issuer"),
        (lambda: token(iss=None), "iss"),
        (lambda: token(exp=int(time.time()) - 60), "expired"),
        (lambda: token(exp=None), "exp"),
        (lambda: token(exp="soon"), "does not hold|cannot be read"),
        (lambda: token(nbf=int(time.time()) + 120), "not yet valid"),
        (lambda: token(sub=None), "sub"),
        (lambda: token(sub=""), "names nobody"),
        (lambda: token(sub="x" * 129), "names nobody"),
        (lambda: token(sub="a\nb"), "names nobody"),
        (lambda: token(sub="cn:fraud"), "names its caller as certificates do"),
        (lambda: token(sub=7), "does not hold|names nobody"),
        (lambda: token(key=STRANGER), "Signature"),
        (lambda: token(key=EC, algorithm="ES256"), "does not hold|cannot be read"),
        (lambda: by_hand({"alg": "none", "typ": "JWT"}, claims()), "does not hold"),
        (lambda: by_hand({"alg": "None"}, claims()), "does not hold"),
        (
            lambda: by_hand({"alg": "HS256"}, claims(), lambda s: hmac.new(pem(RSA), s, hashlib.sha256).digest()),
            "does not hold",
        ),
        (lambda: token()[:-4] + "AAAA", "Signature"),
        (lambda: "a.b.c", "does not hold"),
        (lambda: "..", "does not hold"),
        (lambda: by_hand([], claims()), "does not hold|cannot be read"),
        (lambda: by_hand({"alg": "RS256", "kid": [1]}, claims()), "does not hold|not known"),
        (lambda: by_hand({"alg": "RS256", "crit": ["x"], "x": 1}, claims()), "does not hold"),
        (lambda: f"{'a' * 20_000}.b.c", "too long"),
        (lambda: "\udcff.b.c", "does not hold|cannot be read"),
    ],
)
def test_one_that_does_not_hold_opens_nothing(tokens, made, problem):
    with pytest.raises(UnauthenticatedError, match=problem) as raised:
        tokens.caller_of(made())
    assert len(str(raised.value)) <= 200


def test_a_key_that_is_replaced_ends_its_tokens_even_those_that_were_good(tokens, file, replaced, monkeypatch):
    monkeypatch.setattr("pragmatiq_triton.gateway.auth.files._LOOK_SECONDS", 0.0)
    tokens.keys._due = 0
    good = token()
    assert tokens.caller_of(good) == "fraud-service"
    replaced(file, pem(STRANGER))
    with pytest.raises(UnauthenticatedError):
        tokens.caller_of(good)
    assert tokens.caller_of(token(key=STRANGER)) == "fraud-service"


def test_a_good_token_expires_in_memory_too(tokens, monkeypatch):
    short = token(exp=int(time.time()) + 5)
    assert tokens.caller_of(short) == "fraud-service"
    monkeypatch.setattr(module, "time", lambda: time.time() + 6)
    # From here on it is checked anew; PyJWT's own clock still lets it pass, and the memory no more.
    seen = []
    monkeypatch.setattr(module.jwt, "decode", lambda *args, **more: seen.append(1) or claims())
    tokens.caller_of(short)
    assert seen == [1]


def test_keys_by_their_id(file):
    file.write_bytes(jwks(one=RSA, two=EC))
    tokens = Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", keys=str(file)))
    assert tokens.caller_of(token(headers={"kid": "one"})) == "fraud-service"
    assert tokens.caller_of(token(key=EC, algorithm="ES256", headers={"kid": "two"})) == "fraud-service"
    for bad in (token(headers={"kid": "two"}), token(headers={"kid": "three"}), token()):
        with pytest.raises(UnauthenticatedError):
            tokens.caller_of(bad)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected a public key in PEM"),
        (b"{}", "expected a JWKS"),
        (b'{"keys": []}', "expected a JWKS|no public key"),
        (b'{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"}]}', "no public key"),
        (b"{" * 5000, "expected a JWKS"),
    ],
)
def test_a_file_without_public_keys_is_refused(file, content, problem):
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=problem):
        Tokens(Jwt(audience="a", issuer="b", keys=str(file)))


def test_edwards_curves_are_known(file):
    key = ed25519.Ed25519PrivateKey.generate()
    file.write_bytes(pem(key))
    tokens = Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", keys=str(file)))
    assert tokens.caller_of(token(key=key, algorithm="EdDSA")) == "fraud-service"


NO_HTTP = b"garbage nonsense\r\n\r\n"


@pytest.fixture
def issuer():
    """Serves ``issuer.content`` as its JWKS; nothing of it is an outage."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.n_asked += 1
            if server.content == NO_HTTP:
                self.wfile.write(server.content)
                return
            self.send_response(200 if server.content else 500)
            self.end_headers()
            self.wfile.write(server.content)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.n_asked = jwks(one=RSA), 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("outage", [b"", b"no JSON", NO_HTTP])
def test_an_issuers_new_key_is_fetched_once_a_token_names_it_and_an_outage_changes_nothing(issuer, monkeypatch, outage):
    monkeypatch.setattr(module, "_UNKNOWN_KEY_SECONDS", 0.2)
    url = f"http://127.0.0.1:{issuer.server_port}/jwks"
    tokens = Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", jwks_url=url))
    old = token(headers={"kid": "one"})
    assert tokens.caller_of(old) == "fraud-service"
    issuer.content = outage
    new = token(key=EC, algorithm="ES256", headers={"kid": "two"})
    assert refused_until(tokens, new, lambda: issuer.n_asked >= 2)
    assert tokens.caller_of(old) == "fraud-service"
    issuer.content = jwks(two=EC)
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        try:
            assert tokens.caller_of(new) == "fraud-service"
            break
        except UnauthenticatedError:
            time.sleep(0.05)
    with pytest.raises(UnauthenticatedError):
        tokens.caller_of(old)


def test_an_issuer_that_is_silent_for_too_long_has_no_keys_any_more(issuer, monkeypatch, caplog):
    monkeypatch.setattr(module, "_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(module, "_UNKNOWN_KEY_SECONDS", 0.05)
    monkeypatch.setattr(module, "_OUTAGE_SECONDS", 0.3)
    url = f"http://127.0.0.1:{issuer.server_port}/jwks"
    tokens = Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", jwks_url=url))
    good = token(headers={"kid": "one"})
    assert tokens.caller_of(good) == "fraud-service"
    assert tokens.unreadable_seconds == 0
    issuer.content = b""
    assert refused_until(tokens, good, lambda: True, error=UnavailableError, patient=True)
    tokens.look()
    assert tokens.unreadable_seconds >= 0.3
    assert caplog.text.count(f"{url}: keys of tokens cannot be fetched") == 2, "at once, and once it counts no more"
    issuer.content = jwks(one=RSA)
    give_up = time.monotonic() + 20
    while tokens.unreadable_seconds and time.monotonic() < give_up:
        time.sleep(0.02)
    assert tokens.caller_of(good) == "fraud-service"


def test_tokens_of_unknown_keys_do_not_make_the_gateway_ask_more_than_once_in_ten_seconds(issuer):
    url = f"http://127.0.0.1:{issuer.server_port}/jwks"
    tokens = Tokens(Jwt(audience="scoring", issuer="https://id.bank.example", jwks_url=url))
    refused_until(tokens, token(headers={"kid": "none such"}), lambda: False, rounds=50)
    assert issuer.n_asked == 1


@pytest.mark.parametrize(
    "url",
    ["http://id.bank.example/jwks", "ftp://x", "file:///etc/passwd", "http://localhost.evil", "http://127.0.0.1.evil"],
)
def test_keys_are_not_fetched_in_plain_text_or_from_files(url):
    with pytest.raises(ConfigError, match="expected https://"):
        Tokens(Jwt(audience="a", issuer="b", jwks_url=url))


def test_an_issuer_that_sends_elsewhere_is_not_followed(issuer):
    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("location", f"http://127.0.0.1:{issuer.server_port}/jwks")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ConfigError, match="302"):
            Tokens(Jwt(audience="a", issuer="b", jwks_url=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
    assert issuer.n_asked == 0


def refused_until(tokens, bad, condition, rounds=400, error=UnauthenticatedError, patient=False):
    for _ in range(rounds):
        tokens.look()
        try:
            tokens.caller_of(bad)
        except error:
            pass
        else:
            assert patient
            time.sleep(0.02)
            continue
        if condition():
            return True
        time.sleep(0.02)
    return False
