import pytest

from pragmatiq_triton.server.log import address_in_use, failure_reason

NOISE = 'E0102 03:04:05.678901 42 server.cc:241] "CudaDriverHelper has not been initialized."\n'
LOADED = "I0102 03:04:05.678901 42 model_lifecycle.cc:839] \"successfully loaded 'a'\"\n"


def test_python_exception_of_a_model() -> None:
    log = NOISE + LOADED
    log += 'E0102 03:04:05.700000 42 backend_model.cc:692] "ERROR: Failed to create instance: ValueError: no"\n'
    log += "E0102 03:04:05.700001 42 model_lifecycle.cc:642] "
    log += r""""failed to load 'b' version 1: Internal: ValueError: no\n\nAt:\n  b/1/model.py(3): initialize\n" """
    log += "\nerror: creating server: Internal - failed to load all models\n"
    assert failure_reason(log) == (
        "failed to load 'b' version 1: Internal: ValueError: no\n\nAt:\n  b/1/model.py(3): initialize"
    )


def test_errors_of_other_kinds_are_kept() -> None:
    log = NOISE + "error: creating server: Invalid argument - no such backend\n" + LOADED
    assert failure_reason(log) == "creating server: Invalid argument - no such backend"


def test_log_without_errors_gives_its_last_lines() -> None:
    assert failure_reason("one\ntwo\nerror while loading shared libraries: x.so\n", tail=2) == (
        "two\nerror while loading shared libraries: x.so"
    )


@pytest.mark.parametrize("service", ["HTTP", "GRPC", "Metrics"])
def test_address_in_use(service: str) -> None:
    line = f"failed to start {service} service: Unavailable - Socket '0.0.0.0:1' already in use "
    line = f'E0102 03:04:05.700000 42 main.cc:245] "{line}"\n'
    assert address_in_use(NOISE + line)
    assert not address_in_use(NOISE + LOADED)
