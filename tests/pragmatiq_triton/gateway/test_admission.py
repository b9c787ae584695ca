"""Turns: bounded, first come first served, and none is lost however its caller goes."""

import asyncio
import random
from time import monotonic

import pytest

from pragmatiq_triton.gateway.admission import Admission
from pragmatiq_triton.gateway.errors import BusyError
from pragmatiq_triton.gateway.limits import Limits

FOREVER = monotonic() + 1e6


async def waiter(admission, n_bytes=10, deadline=FOREVER):
    task = asyncio.create_task(admission.enter(n_bytes, deadline))
    await asyncio.sleep(0)
    return task


async def test_turns_come_in_order_and_the_queue_is_bounded():
    admission = Admission(Limits(max_under_way=2, max_waiting=2, max_waiting_bytes=25))
    for _ in range(2):
        await admission.enter(10, FOREVER)
    first, second = await waiter(admission), await waiter(admission)
    with pytest.raises(BusyError) as raised:
        await admission.enter(1, FOREVER)
    assert 0.1 <= raised.value.retry_after <= 30
    assert (admission.under_way, admission.waiting) == (2, 2)
    admission.leave(0.1)
    await asyncio.sleep(0)
    assert (first.done(), second.done()) == (True, False)
    with pytest.raises(BusyError):
        await admission.enter(20, FOREVER)  # 10 bytes wait already
    admission.leave(0.1)
    await second
    for _ in range(2):
        admission.leave(0.1)
    assert (admission.under_way, admission.waiting) == (0, 0)


async def test_a_turn_that_comes_as_its_caller_goes_is_the_next_ones():
    admission = Admission(Limits(max_under_way=1))
    await admission.enter(1, FOREVER)
    gone, next_one = await waiter(admission), await waiter(admission)
    admission.leave(0.1)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    await next_one
    admission.leave(0.1)
    assert (admission.under_way, admission.waiting) == (0, 0)


async def test_a_caller_that_goes_as_somebody_leaves_goes_as_it_came():
    admission = Admission(Limits(max_under_way=1))
    await admission.enter(1, FOREVER)
    gone = await waiter(admission)
    gone.cancel()
    admission.leave(0.1)  # before the one that is gone has noticed
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert (admission.under_way, admission.waiting, admission._waiting_bytes) == (0, 0, 0)


async def test_a_turn_that_does_not_come_in_time_is_given_up():
    admission = Admission(Limits(max_under_way=1))
    await admission.enter(1, FOREVER)
    with pytest.raises(TimeoutError):
        await admission.enter(1, monotonic() + 0.01)
    admission.leave(0.1)
    assert (admission.under_way, admission.waiting, admission._waiting_bytes) == (0, 0, 0)


async def test_whoever_comes_and_goes_no_turn_is_lost():
    admission = Admission(Limits(max_under_way=3, max_waiting=20))
    dice = random.Random(5)
    most = 0

    async def one():
        nonlocal most
        try:
            await admission.enter(dice.randrange(100), monotonic() + dice.random() / 100)
        except (TimeoutError, BusyError):
            return
        most = max(most, admission.under_way)
        try:
            await asyncio.sleep(dice.random() / 500)
        finally:
            admission.leave(0.001)

    tasks = []
    for _ in range(2_000):
        tasks.append(asyncio.create_task(one()))
        if dice.random() < 0.4:
            dice.choice(tasks[-30:]).cancel()
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random() / 1000)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in results} <= {type(None), asyncio.CancelledError}
    assert (admission.under_way, admission.waiting, admission._waiting_bytes) == (0, 0, 0)
    assert most == 3
