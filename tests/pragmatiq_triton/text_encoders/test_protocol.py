import msgspec
import pytest

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.text_encoders import TextEncoderSpec
from pragmatiq_triton.text_encoders.protocol import shortened, utf8


def test_a_spec_reads_from_yaml_with_a_fallback_inside() -> None:
    text = "encoder: table\ntext_model: vectors.npz\nfallback: {encoder: hash, dim: 8}\n"
    spec = msgspec.yaml.decode(text, type=TextEncoderSpec)
    assert spec.fallback == TextEncoderSpec(encoder="hash", dim=8)
    assert msgspec.yaml.decode(msgspec.yaml.encode(spec), type=TextEncoderSpec) == spec


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="txet_model"):
        msgspec.yaml.decode("txet_model: x", type=TextEncoderSpec)


@pytest.mark.parametrize("field", ["dim", "max_length"])
def test_sizes_start_at_one(field: str) -> None:
    with pytest.raises(ConfigError, match=f"text_encoder.{field}: expected at least 1, got 0"):
        TextEncoderSpec(**{field: 0})


def test_only_a_table_takes_a_fallback() -> None:
    with pytest.raises(ConfigError, match="only the encoder 'table'"):
        TextEncoderSpec(encoder="hash", fallback=TextEncoderSpec())


def test_distinct_strings_have_distinct_bytes() -> None:
    strings = ["", "\x00", "\ud800", "\udfff", "\ufffd", "?", "\U00010000"]
    assert len({utf8(string) for string in strings}) == len(strings)
    assert utf8("März") == "März".encode()


def test_strings_in_messages_are_printable_and_short() -> None:
    assert len(shortened("x" * 1000)) < 80
    assert shortened("a\n\ud800") == r"'a\n\ud800'"
