import pytest

from pragmatiq_builder.dataset.store import TokenizedDataset
from tests.builder.finetune.customers import CONFIGS, N_EVENTS, N_USERS, Event, history, make_data


@pytest.fixture(scope="session")
def events() -> list[Event]:
    return [event for user in range(N_USERS) for event in history(user, N_EVENTS)]


@pytest.fixture(scope="session")
def data(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> TokenizedDataset:
    return make_data(tmp_path_factory.mktemp("bpe"), events, CONFIGS["bpe"])


@pytest.fixture(scope="session")
def text_data(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> TokenizedDataset:
    return make_data(tmp_path_factory.mktemp("embed"), events, CONFIGS["embed"])
