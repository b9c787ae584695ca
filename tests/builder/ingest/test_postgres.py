"""A query on a real PostgreSQL, which this test starts; skipped where none is installed."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pragmatiq_triton.errors import ConfigError, DataError
from tests.builder.ingest.conftest import CARDS

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
EVENTS = {key: value for key, value in CARDS.items() if key != "table"} | {"user": "customer"}
QUERY = "SELECT customer, at, amount, note FROM payments WHERE amount > 0 ORDER BY at"
PASSWORD = "s3cret"


def program(name: str) -> str:
    found = shutil.which(name) or next((str(folder / name) for folder in BINARIES if (folder / name).exists()), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    return found


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The address of a database that holds payments, as its user and with a password."""
    folder = tmp_path_factory.mktemp("postgres")
    as_user: list[str] = []
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres to run PostgreSQL as")
        as_user = ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
        shutil.chown(folder, user.pw_uid, user.pw_gid)
        for parent in folder.parents:
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)
    data, port = folder / "data", free_port()
    (folder / "password").write_text(PASSWORD, encoding="utf-8")
    (folder / "password").chmod(0o644)
    initdb = [
        program("initdb"),
        "-D",
        str(data),
        "-U",
        "bank",
        "--auth=scram-sha-256",
        f"--pwfile={folder / 'password'}",
    ]
    subprocess.run([*as_user, *initdb], check=True, capture_output=True, cwd=folder)
    server = [program("pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log")]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c timezone=Asia/Tokyo"
    subprocess.run([*as_user, *server, "-o", options, "start"], check=True, capture_output=True, cwd=folder)
    rows = """
        CREATE TABLE payments (customer text, at timestamptz, amount numeric(12, 2), note text);
        INSERT INTO payments VALUES ('c1', '2025-01-01 10:00+01', 12.50, 'Käse'), ('c2', '2025-01-02 10:00Z', 7, NULL),
            ('c2', '2025-01-03 10:00Z', 7000000000.01, 'x'), ('c3', '2025-01-03', -1, 'refund');
    """
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    psql = [program("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "bank", "-d", "postgres", "-c", rows]
    subprocess.run(psql, check=True, capture_output=True, env=environment)
    yield {"address": f"postgresql://bank:{PASSWORD}@127.0.0.1:{port}/postgres"}
    subprocess.run([*as_user, *server, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder)


def test_a_query_on_postgresql(tables, postgres, monkeypatch):
    monkeypatch.setenv("BANK_DATABASE", postgres["address"])
    event = EVENTS | {"fields": ["amount", "note"], "database": "$BANK_DATABASE", "query": QUERY}
    report = tables.ingest(events=[event])
    assert [(row["user_id"], row["ts"].isoformat(), row["fields"]) for row in tables.events()] == [
        ("c1", "2025-01-01T09:00:00", {"amount": "12.50", "note": "Käse"}),
        ("c2", "2025-01-02T10:00:00", {"amount": "7.00"}),
        ("c2", "2025-01-03T10:00:00", {"amount": "7000000000.01", "note": "x"}),
    ]
    assert report.tables[0].table == "query on $BANK_DATABASE"


def test_what_the_database_says_is_one_line_without_the_password(tables, postgres):
    event = EVENTS | {"database": postgres["address"], "query": "SELECT * FROM nothing"}
    with pytest.raises(DataError, match='relation "nothing" does not exist') as raised:
        tables.ingest(events=[event])
    assert PASSWORD not in str(raised.value)
    wrong = event | {"database": postgres["address"].replace(PASSWORD, "wr0ng")}
    with pytest.raises(DataError, match="password authentication failed") as raised:
        tables.ingest(events=[wrong])
    assert "wr0ng" not in str(raised.value)


def test_an_address_whose_variable_is_not_set(tables, monkeypatch):
    monkeypatch.delenv("BANK_DATABASE", raising=False)
    with pytest.raises(ConfigError, match=r"an environment variable of '\$BANK_DATABASE' is not set"):
        tables.ingest(events=[EVENTS | {"database": "$BANK_DATABASE", "query": QUERY}])


def test_a_signal_ends_a_query_of_the_database(tmp_path, postgres):
    event = EVENTS | {"database": postgres["address"], "query": "SELECT pg_sleep(600)::text AS customer"}
    (tmp_path / "ingest.yaml").write_text(json.dumps({"events": [event]}), encoding="utf-8")
    command = [sys.executable, "-m", "pragmatiq_builder.cli", "ingest", "ingest.yaml", "--out", "raw"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("Reading events[0]: query")
            time.sleep(2)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, said) == (143, "stopped by SIGTERM\n")
