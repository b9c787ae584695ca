"""``pragmatiq api-key`` and ``serve --settings``: what the network reaches is closed unless it is said to be open."""

import json
import os
import shutil
import socket
import stat

import pytest

from pragmatiq_client import TLS, ProtocolError, ScoringClient
from tests.conftest import RECORDS
from tests.pragmatiq_triton.gateway.authority import Authority
from tests.pragmatiq_triton.server.test_ends import serving

SKIP = ("--skip-verification",)


def test_a_key_is_made_once_and_replaced_only_if_asked(pragmatiq, tmp_path):
    file = tmp_path / "keys.yaml"
    first = pragmatiq("api-key", "fraud", "--file", file, "--json")
    assert first.json["caller"] == "fraud"
    assert first.json["key"] not in file.read_text()
    assert "shown this once" in first.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "say --replace" in pragmatiq("api-key", "fraud", "--file", file, expect=2).err
    second = pragmatiq("api-key", "fraud", "--file", file, "--replace", "--json")
    assert second.json["key"] != first.json["key"]
    assert "expected a name" in pragmatiq("api-key", "a b", "--file", file, expect=2).err


@pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")
class TestServe:
    def test_an_open_address_is_refused_before_models_are_loaded(self, pragmatiq, repository, tmp_path):
        nothing = pragmatiq("serve", repository, "--host", "0.0.0.0", expect=2)
        assert "everybody who reaches it could call" in nothing.err
        assert "loading models" not in nothing.err
        settings = tmp_path / "settings.yaml"
        settings.write_text("gateway: {auth: {allow_anonymous: true}}\n")
        half = pragmatiq("serve", repository, "--host", "0.0.0.0", "--settings", settings, expect=2)
        assert "would pass in plain text" in half.err
        settings.write_text("gateway: {auht: {}}\n")
        wrong = pragmatiq("serve", repository, "--settings", settings, expect=2)
        assert f"{settings}: gateway: " in wrong.err
        assert "unknown field auht" in wrong.err

    @pytest.mark.triton
    def test_keys_and_tls_on_an_open_address(self, pragmatiq, repository, tmp_path):
        keys, settings = tmp_path / "keys.yaml", tmp_path / "settings.yaml"
        key = pragmatiq("api-key", "fraud", "--file", keys, "--json").json["key"]
        authority = Authority(tmp_path)
        certificate, private = authority.write("server", "server", dns=("localhost",))
        settings.write_text(
            f"gateway:\n  auth: {{api_keys: {keys}}}\n  tls: {{certificate: {certificate}, key: {private}}}\n"
        )
        copy = shutil.copytree(repository, tmp_path / "repository")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = (*SKIP, "--host", "0.0.0.0", "--settings", str(settings), "--http-port", str(port))
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
        logs = tmp_path / "state" / "pragmatiq"
        with serving(copy, options=options, env=environment) as run:
            run.ready()
            for scheme, name in (("https", "http"), ("grpcs", "grpc")):
                url = f"{scheme}://localhost:{run.urls[name].rpartition(':')[2]}"
                tls = TLS(ca=str(authority.file))
                with ScoringClient(url, tls=tls, headers={"authorization": f"Bearer {key}"}) as client:
                    assert len(client.score_one(RECORDS[0]).embedding) > 0
                with ScoringClient(url, tls=tls) as client, pytest.raises(ProtocolError, match="say who calls"):
                    client.score_one(RECORDS[0])
            run.process.terminate()
            err = run.end()
        assert run.process.returncode == 0, err
        access = logs / f"access-{port}.jsonl"
        assert f"callers: API keys, over TLS; access log: {access}" in err
        assert f"the server's log: {logs / f'server-{port}.log'}" in err
        told = [json.loads(line) for line in access.read_text().splitlines()]
        assert [line["caller"] for line in told if line["records"]] == ["fraud"] * 2
        assert [line["status"] for line in told if line["caller"] == ""] == [401] * 2
        assert (logs / f"server-{port}.log").stat().st_size > 0
        assert stat.S_IMODE(logs.stat().st_mode) == 0o700
