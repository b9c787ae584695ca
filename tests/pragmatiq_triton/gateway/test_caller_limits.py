"""One caller's share: requests under way and records a second, by name; 429 with a time to retry beyond it."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from pragmatiq_triton.gateway import caller_limits
from pragmatiq_triton.gateway.auth.api_keys import add_key
from pragmatiq_triton.gateway.auth.settings import Auth
from pragmatiq_triton.gateway.caller_limits import CallerAccounts, CallerLimit, CallerLimits, OwnLimit
from pragmatiq_triton.gateway.errors import BusyError
from pragmatiq_triton.gateway.policy import GatewayPolicy, read_policy
from tests.conftest import RECORDS


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(caller_limits, "monotonic", lambda: now[0])
    return now


def test_requests_under_way_are_bounded_by_caller(clock):
    accounts = CallerAccounts(CallerLimits(CallerLimit(max_under_way=2), {"big": OwnLimit(max_under_way=3)}))
    for caller, most in (("a", 2), ("b", 2), ("big", 3)):
        for _ in range(most):
            accounts.enter(caller, 1)
        with pytest.raises(BusyError, match=f"{caller} has {most} requests under way"):
            accounts.enter(caller, 1)
    accounts.leave("a")
    accounts.enter("a", 1)


@pytest.mark.parametrize(
    ("own", "whole"),
    [
        ({}, (4, 10.0, 20.0)),
        ({"max_under_way": 9}, (9, 10.0, 20.0)),
        ({"max_under_way": 0}, (0, 10.0, 20.0)),
        ({"burst": 50}, (4, 10.0, 50.0)),
        ({"records_per_second": 500}, (4, 500.0, 0.0)),
        ({"records_per_second": 500, "burst": 1000}, (4, 500.0, 1000.0)),
        ({"records_per_second": 0}, (4, 0.0, 0.0)),
    ],
)
def test_what_a_caller_is_not_given_of_its_own_is_the_defaults(own, whole):
    section = {"default": {"max_under_way": 4, "records_per_second": 10, "burst": 20}, "callers": {"a": own}}
    told = msgspec.json.encode(read_policy({"callers": section}, {"PRAGMATIQ_GATEWAY_LIMITS_MAX_RECORDS": "5"}))
    limits = msgspec.json.decode(told, type=GatewayPolicy).callers
    assert msgspec.structs.astuple(limits.of("a")) == whole
    assert msgspec.structs.astuple(limits.of("b")) == (4, 10.0, 20.0)


def test_a_default_of_the_environment_is_inherited_too():
    section = {"callers": {"callers": {"a": {"records_per_second": 500}}}}
    limits = read_policy(section, {"PRAGMATIQ_GATEWAY_CALLERS_DEFAULT_MAX_UNDER_WAY": "3"}).callers
    assert msgspec.structs.astuple(limits.of("a")) == (3, 500.0, 0.0)


def test_records_a_second_are_bounded_and_the_wait_is_told(clock):
    accounts = CallerAccounts(CallerLimits(CallerLimit(records_per_second=10, burst=20)))
    accounts.enter("a", 15)
    with pytest.raises(BusyError, match="may bring 10 records a second") as raised:
        accounts.enter("a", 15)
    assert raised.value.retry_after == pytest.approx(1.0)
    clock[0] += 1.0
    accounts.enter("a", 15)
    accounts.enter("other", 20)


def test_a_request_larger_than_the_burst_passes_on_a_full_account_and_is_paid_for_afterwards(clock):
    accounts = CallerAccounts(CallerLimits(CallerLimit(records_per_second=10)))
    accounts.enter("a", 60)
    clock[0] += 5.0
    with pytest.raises(BusyError) as raised:
        accounts.enter("a", 1)
    assert raised.value.retry_after == pytest.approx(0.1)
    clock[0] += 0.1
    accounts.enter("a", 1)


def test_callers_without_anything_under_way_are_forgotten_once_there_are_many(clock, monkeypatch):
    monkeypatch.setattr(CallerAccounts, "_MOST", 10)
    accounts = CallerAccounts(CallerLimits(CallerLimit(max_under_way=1)))
    accounts.enter("stays", 1)
    for number in range(100):
        accounts.enter(f"passing {number}", 1)
        accounts.leave(f"passing {number}")
    assert len(accounts._accounts) <= 11
    with pytest.raises(BusyError):
        accounts.enter("stays", 1)


@pytest.mark.triton
@pytest.mark.parametrize("variant", ["bpe"], indirect=True, scope="session")
def test_who_brings_too_much_is_told_to_come_back_and_the_others_are_not(start_gateway, tmp_path):
    keys = tmp_path / "keys.yaml"
    greedy, modest = add_key(keys, "greedy"), add_key(keys, "modest")
    limits = CallerLimits(callers={"greedy": OwnLimit(records_per_second=0.5, burst=2)})
    gateway = start_gateway(GatewayPolicy(auth=Auth(api_keys=str(keys)), callers=limits))

    def score(key):
        connection = http.client.HTTPConnection("127.0.0.1", gateway.ports[0], timeout=60)
        connection.request(
            "POST", "/v1/score", json.dumps({"record": json.loads(RECORDS[0])}), {"authorization": f"Bearer {key}"}
        )
        answer = connection.getresponse()
        found = answer.status, answer.headers, json.loads(answer.read())
        connection.close()
        return found

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(score, [greedy, modest] * 8))
    statuses = [status for status, _, _ in answers[::2]]
    assert sorted(set(statuses)) == [200, 429], "two records at once, and more later"
    assert all(status == 200 for status, _, _ in answers[1::2])
    refused = next(each for each in answers if each[0] == 429)
    assert refused[2]["error"]["code"] == "busy"
    wait = int(refused[1]["retry-after"])
    assert 1 <= wait <= 4
    time.sleep(wait)
    assert score(greedy)[0] == 200
