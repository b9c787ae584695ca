"""What is measured: one customer's records of any length, as they are sent and as they are tokenized.

A fixture with several values makes a row of the table of each: ``n_events`` and ``variant`` for a start.
"""

from pathlib import Path

import numpy as np
import pytest

from bench.serving.cases import EVENTS
from bench.serving.records import Customer, read_records, to_json
from pragmatiq_builder.network import SIZES
from pragmatiq_triton.batch import Float32, UserFeatures
from pragmatiq_triton.cache.fingerprints import KEY_BYTES, Fingerprints
from pragmatiq_triton.records import Record, RecordLimits
from pragmatiq_triton.tokenizer import Tokenizer
from pragmatiq_triton.tokenizer.cached import CachedTokenizer

DATA = Path(__file__).parents[2] / "tests" / "data" / "upstream"


def pytest_addoption(parser: pytest.Parser) -> None:
    help = "network whose graphs and vectors are measured; its weights are random"
    parser.addoption("--model-size", choices=SIZES, default="small", help=help)


@pytest.fixture(scope="session")
def model_size(pytestconfig: pytest.Config) -> str:
    return str(pytestconfig.getoption("--model-size"))


@pytest.fixture(scope="session")
def dim(model_size: str) -> int:
    return SIZES[model_size].dim


@pytest.fixture(scope="session")
def text_dim() -> int:
    """Of the vectors that the default sentence encoder gives."""
    return 2048


@pytest.fixture(scope="session", params=["bpe", "embed"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session", params=EVENTS, ids="events={}".format)
def n_events(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="session")
def customer() -> Customer:
    """Beyond 300 events the history repeats itself with other amounts: about half of 3500 events are distinct."""
    records = read_records([DATA / "records.jsonl"])
    return Customer(max(records, key=lambda record: len(record.events)), seed=0)


@pytest.fixture(scope="session")
def record(customer: Customer, n_events: int) -> Record:
    return customer.window(n_events, n_events)


@pytest.fixture(scope="session")
def raw(record: Record) -> bytes:
    """The record as it is sent."""
    return to_json(record).encode()


@pytest.fixture(scope="session")
def tokenizer(variant: str) -> Tokenizer:
    return Tokenizer.load(DATA / variant / "run" / "tokenizer")


@pytest.fixture(scope="session")
def fingerprints() -> Fingerprints:
    return Fingerprints(bytes(KEY_BYTES))


@pytest.fixture(scope="session")
def user(tokenizer: Tokenizer, fingerprints: Fingerprints, raw: bytes) -> UserFeatures:
    """The record as the tokenizer hands it on, with its events' keys."""
    return CachedTokenizer(tokenizer, RecordLimits(), 0, fingerprints)(raw)


@pytest.fixture(scope="session")
def text_vectors(user: UserFeatures, text_dim: int) -> Float32:
    """float32 [n_texts, text_dim] for the user's texts."""
    return np.random.default_rng(0).standard_normal((len(user.texts), text_dim), np.float32)
