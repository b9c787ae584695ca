"""The columnar path must say what the one-record path says: a record means the same in training and in serving."""

import json
import random

import msgspec
import numpy as np
import pytest

from pragmatiq_builder import raw
from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.raw.records import read_records
from pragmatiq_builder.raw.validation import validate
from pragmatiq_triton.batch import Token
from pragmatiq_triton.cache.fingerprints import Fingerprints
from pragmatiq_triton.errors import ArtifactError, ConfigError, DataError, RecordError
from pragmatiq_triton.records import RecordLimits, decode_record
from pragmatiq_triton.time_range import PLAUSIBLE
from pragmatiq_triton.tokenizer import Tokenizer, TokenizerConfig, Vocabulary, assemble
from pragmatiq_triton.tokenizer.cached import CachedTokenizer
from pragmatiq_triton.tokenizer.vocabulary import UNK

from .conftest import BIRMINGHAM, write_raw

NOW = 1_700_000_000_000_000
EMBED = TokenizerConfig(text_value_mode="embed", text_encoder="hash", categorical_threshold=200)
BPE = TokenizerConfig(categorical_threshold=200, target_vocab=2000)


def with_strings(features, texts):
    """Tokens with each text number replaced by its string, so that numberings can differ."""
    numbers = features.tokens[:, Token.TEXT].tolist()
    return [None if number < 0 else texts[number] for number in numbers]


@pytest.fixture(scope="module", params=[BPE, EMBED], ids=["bpe", "embed"])
def birmingham(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("tok")
    return tokenize(BIRMINGHAM, out, request.param), TokenizedDataset(out)


def test_columns_encode_as_records_do(birmingham):
    _, dataset = birmingham
    tokenizer = Tokenizer(dataset.vocabulary)
    texts = dataset.texts.texts() if dataset.texts else []
    users = {user_id: number for number, user_id in enumerate(dataset.user_ids)}
    for record in list(read_records(BIRMINGHAM))[::10]:
        expected = tokenizer(decode_record(json.dumps(record).encode()))
        got = assemble(dataset.encoded(users[record["user_id"]]), dataset.config)
        np.testing.assert_array_equal(got.tokens[:, : Token.TEXT], expected.tokens[:, : Token.TEXT])
        np.testing.assert_array_equal(got.events, expected.events)
        np.testing.assert_array_equal(got.profile, expected.profile)
        np.testing.assert_array_equal(got.profile_times, expected.profile_times)
        assert with_strings(got, texts) == with_strings(expected, expected.texts)


def test_summary_counts_what_is_there(birmingham):
    summary, dataset = birmingham
    assert summary.events == raw.count_rows(BIRMINGHAM, "events")
    assert summary.users == dataset.n_users == raw.count_rows(BIRMINGHAM, "profiles")
    assert dataset.token_counts.sum() == summary.tokens
    assert summary.unknown_values == 0


def test_batch_is_its_users_with_their_vectors(birmingham):
    _, dataset = birmingham
    batch = dataset.batch([3, 0, 7])
    alone = [dataset.batch([user]) for user in (3, 0, 7)]
    assert len(batch.tokens) == sum(len(one.tokens) for one in alone)
    if dataset.texts is None:
        assert batch.text_vectors.shape == (0, 0)
        return
    numbers = batch.tokens[:, Token.TEXT]
    separate = np.concatenate([one.text_vectors[one.tokens[one.tokens[:, 3] >= 0, 3]] for one in alone])
    np.testing.assert_array_equal(batch.text_vectors[numbers[numbers >= 0]], separate)
    assert len(np.unique(batch.text_vectors, axis=0)) == len(batch.text_vectors)


def test_fields_have_the_kinds_that_their_values_show(birmingham):
    _, dataset = birmingham
    kinds = {key: dataset.vocabulary.kind(key) for key in ("amount", "merchant", "expense", "vat_code", "source")}
    assert kinds["amount"] == "numeric"
    assert kinds["merchant"] == "text"
    assert (kinds["vat_code"], kinds["source"]) == ("categorical", "categorical")


def test_small_chunks_give_the_same_data_set(birmingham, tmp_path, monkeypatch):
    _, dataset = birmingham
    monkeypatch.setattr(raw.read_events, "__defaults__", (97, *raw.read_events.__defaults__[1:]))
    tokenize(BIRMINGHAM, tmp_path / "tok", dataset.config)
    small = TokenizedDataset(tmp_path / "tok")
    assert small.tokenizer_hash == dataset.tokenizer_hash
    for name in ("token_cu_seqlens", "event_ts", "event_cu_seqlens", "profile", "item_ts"):
        np.testing.assert_array_equal(np.load(small.folder / f"{name}.npy"), np.load(dataset.folder / f"{name}.npy"))
    tokens, expected = (np.load(each.folder / "tokens.npy") for each in (small, dataset))
    np.testing.assert_array_equal(tokens[:, : Token.TEXT], expected[:, : Token.TEXT])
    if dataset.texts:
        strings, expected_strings = (np.array([*each.texts.texts(), None]) for each in (small, dataset))
        assert (strings[tokens[:, Token.TEXT]] == expected_strings[expected[:, Token.TEXT]]).all()


def test_a_fitted_tokenizer_encodes_new_data(birmingham, tmp_path, raw_folder):
    _, dataset = birmingham
    data = raw_folder([("new", NOW, "pigeon", {"amount": "12", "merchant": "nowhere", "colour": "red"})])
    summary = tokenize(data, tmp_path / "tok", tokenizer_dir=dataset.tokenizer_dir)
    assert summary.tokenizer_hash == dataset.tokenizer_hash
    tokens = TokenizedDataset(tmp_path / "tok").batch([0]).tokens
    unknown = [(int(key), int(value)) for key, value in tokens[:, :2]]
    assert unknown[0] == (dataset.vocabulary.key_id("source"), 2)
    assert unknown[-1] == (2, 2)


def test_edge_histories(tmp_path, raw_folder):
    events = [
        ("late", NOW + 3_000_000, "app", {"n": "2"}),
        ("late", NOW + 1_000_000, "app", {"n": "1", "gone": None}),
        ("late", NOW + 1_000_000, "app", {}),
        ("one", NOW + 5_000_000, "app", {"n": "9"}),
    ]
    profiles = [("quiet", NOW + 9_000_000, {"b": "1", "a": None}, [("born", NOW + 1_000_000)]), ("one", 0, {}, [])]
    data = raw_folder(events, profiles)
    summary = tokenize(data, tmp_path / "tok", BPE)
    dataset = TokenizedDataset(tmp_path / "tok")
    assert dataset.user_ids == ["late", "one", "quiet"]
    assert summary.events == 4
    assert dataset.encoded(0).event_ts.tolist() == [NOW + 1_000_000, NOW + 1_000_000, NOW + 3_000_000]
    assert dataset.encoded(0).event_lengths.tolist() == [2, 1, 2]
    quiet = dataset.batch([2])
    assert (len(quiet.events), len(quiet.profile)) == (0, 2)
    keys = [dataset.vocabulary.key_id(key) for key in ("b", "born")]
    assert quiet.profile[:, Token.KEY].tolist() == keys
    assert quiet.profile_times[0] == 0
    assert quiet.profile_times[1] > 0


@pytest.mark.parametrize(
    ("number", "unit"),
    [(NOW // 10**6, "seconds"), (NOW // 1000, "milliseconds"), (NOW * 1000, "nanoseconds")],
)
@pytest.mark.parametrize("where", ["ts", "as_of", "a lifelong ts"])
def test_a_wrong_unit_is_refused_wherever_raw_data_are_read(number, unit, where, tmp_path, raw_folder):
    number += 1
    ts, as_of, milestone = (number if where == name else NOW for name in ("ts", "as_of", "a lifelong ts"))
    data = raw_folder([("u", ts, "s", {"a": "b"})], [("u", as_of, {}, [("opened", milestone)])])
    (finding,) = validate(data).errors
    assert finding.what.startswith(f"{where} is ")
    for read in (lambda: tokenize(data, tmp_path / "tok", BPE), lambda: list(read_records(data))):
        with pytest.raises(DataError, match=f"row 0: {finding.what}; the row has"):
            read()
    assert finding.what.endswith(f"; it looks like {unit}")


def test_a_customer_born_in_1955_is_read_alike_everywhere(tmp_path, raw_folder):
    events = [("old", NOW + i, "s", {"n": str(i)}) for i in range(3)]
    data = raw_folder(events, [("old", None, {"a": "b"}, [("born", -473_385_600_000_000), ("opened", NOW - 10**15)])])
    assert validate(data).ok
    tokenize(data, tmp_path / "tok", BPE)
    dataset = TokenizedDataset(tmp_path / "tok")
    (record,) = read_records(data)
    assert record["as_of"] == 0
    tokenizer = Tokenizer(dataset.vocabulary)
    served = CachedTokenizer(tokenizer, RecordLimits(), 1 << 20, Fingerprints(bytes(32)))(json.dumps(record).encode())
    trained = assemble(dataset.encoded(0), dataset.config)
    for name in ("tokens", "events", "profile", "profile_times"):
        np.testing.assert_array_equal(getattr(served, name), getattr(trained, name), err_msg=name)
    years = served.profile_times[1:].astype(float)
    assert 8 * (np.exp(years / 8) - 1) / (365.25 * 86_400) == pytest.approx([68.87, 31.69], abs=0.01)


def test_a_tokenizer_keeps_the_times_that_it_was_fitted_on(tmp_path, raw_folder):
    day = 86_400_000_000
    events = [("u", NOW - 900 * day, "s", {"n": "1"}), ("u", NOW, "s", {"n": "2"})]
    tokenize(raw_folder(events, [("u", NOW + 9 * day, {}, [])]), tmp_path / "tok", BPE)
    dataset = TokenizedDataset(tmp_path / "tok")
    assert dataset.vocabulary.state["time_range"] == [NOW - 900 * day, NOW + 9 * day]
    assert str(dataset.times) == "from 2011-05-29 to 2033-11-23"
    later = raw_folder([("u", NOW + 4000 * day, "s", {"n": "1"})])
    assert validate(later).ok
    with pytest.raises(DataError, match="ts is after 2033-11-23"):
        tokenize(later, tmp_path / "new", tokenizer_dir=tmp_path / "tok" / "tokenizer")
    serve = CachedTokenizer(Tokenizer(dataset.vocabulary), RecordLimits(), 1 << 20, Fingerprints(bytes(32)))
    for ts, plausible in ((NOW + 3000 * day, True), (NOW + 4000 * day, False), (NOW - 6000 * day, False)):
        raw = json.dumps({"events": [{"ts": NOW, "source": "s"}, {"ts": ts, "source": "s"}]}).encode()
        if plausible:
            assert len(serve(raw).events) == 2
        else:
            with pytest.raises(RecordError, match=r"\$\.events\[1\]\.ts: .* from 2011-05-29 to 2033-11-23, got"):
                serve(raw)


def test_an_earlier_time_is_a_setting(tmp_path, raw_folder):
    data = raw_folder([("u", -(10**14), "s", {"n": "1"})])
    with pytest.raises(DataError, match="ts is before 1971-01-01; the row has"):
        tokenize(data, tmp_path / "tok", BPE)
    summary = tokenize(data, tmp_path / "tok", msgspec.structs.replace(BPE, earliest_time="1960-01-01"))
    assert summary.events == 1
    assert str(Vocabulary.load(tmp_path / "tok" / "tokenizer").times).startswith("from 1960-01-01 to ")
    assert len(list(read_records(data, PLAUSIBLE.with_bounds("1960-01-01", None)))) == 1


@pytest.mark.parametrize(
    ("events", "profiles", "message"),
    [
        ([("a", NOW, "s", {}), ("b", NOW, "s", {}), ("a", NOW, "s", {})], (), "two places"),
        ([("a", -5, "s", {})], (), "before 1971-01-01"),
        ([("a", None, "s", {})], (), "null"),
        ([(None, NOW, "s", {})], (), "user_id is null"),
        ([("a", NOW, "s", {})], [("a", NOW, {}, []), ("a", NOW, {}, [])], "second profile"),
    ],
)
def test_broken_data_is_named(events, profiles, message, tmp_path, raw_folder):
    with pytest.raises(DataError, match=message):
        tokenize(raw_folder(events, profiles), tmp_path / "tok", BPE)
    with pytest.raises(ArtifactError, match="finished"):
        TokenizedDataset(tmp_path / "tok")


@pytest.mark.parametrize(("config", "reason"), [(BPE, "text_value_mode: bpe"), (EMBED, "text_encoder: hash")])
def test_a_text_model_that_nobody_asks_is_an_error(config, reason, tmp_path, raw_folder):
    data = raw_folder([("a", NOW, "s", {})])
    with pytest.raises(ConfigError, match=f"--text-model does nothing with {reason}"):
        tokenize(data, tmp_path / "tok", config, text_model=tmp_path)
    tokenize(data, tmp_path / "tok", config)
    with pytest.raises(ConfigError, match=f"--text-model does nothing with {reason}"):
        tokenize(data, tmp_path / "new", tokenizer_dir=tmp_path / "tok" / "tokenizer", text_model=tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ArtifactError, match="choose another"):
        tokenize(BIRMINGHAM, tmp_path, BPE)
    assert (tmp_path / "thesis.txt").exists()


def test_an_altered_tokenizer_is_refused(birmingham, tmp_path):
    _, dataset = birmingham
    data = tmp_path / "tok"
    tokenize(BIRMINGHAM, data, tokenizer_dir=dataset.tokenizer_dir)
    path = data / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("vat_code", "vat_kode"), encoding="utf-8")
    with pytest.raises(ArtifactError, match="altered"):
        TokenizedDataset(data)


def spelled(rng, value):
    """A JSON value as some tool or other writes it into a string column."""
    if value is None:
        return rng.choice([None, "", "nan", "None", "NULL", " ", "NaT"])
    if isinstance(value, bool):
        return rng.choice([str(value), str(value).lower(), str(value).upper()])
    if isinstance(value, int):
        return rng.choice([f"{value}", f"{value}.0", f"{value}.00", f" {value}", f"{value}e0"])
    return rng.choice([repr(value), f"{value:.17g}", f"{value:.20e}"]) if isinstance(value, float) else value


@pytest.fixture(scope="module", params=["bpe", "embed"])
def written_and_sent(request, tmp_path_factory):
    """A data set whose strings spell the values of JSON records, and those records."""
    rng = random.Random(7)
    values = {
        "amount": lambda: rng.choice([None, rng.randrange(500), rng.randrange(5000) / 16]),
        "size": lambda: rng.choice([None, 1000, 2000, 2500.5, -0.0]),
        "long": lambda: 10**19 + rng.randrange(4),
        "memo": lambda: rng.choice([None, f"shop {rng.randrange(90)}", rng.randrange(10**6), True]),
        "flag": lambda: rng.choice([None, True, False]),
        "code": lambda: rng.choice(["007", "7", "+7", "1_0", "none"]),
        "source": lambda: rng.choice([None, "x", 5]),
    }
    records = [
        {
            "user_id": f"u{user}",
            "events": [
                {"ts": ts, "source": rng.choice(["card", "5"]), "fields": {key: make() for key, make in values.items()}}
                for ts in range(NOW + 1, NOW + 40)
            ],
            "attributes": {key: values[key]() for key in ("amount", "flag", "memo")},
            "as_of": NOW + 60,
            "lifelong": [{"key": key, "ts": 5} for key in ("opened", "nan")],
        }
        for user in range(12)
    ]

    def strings(fields):
        # Arrow's maps keep the order that JSON has.
        return {key: spelled(rng, value) for key, value in fields.items()}

    events = [(r["user_id"], e["ts"], e["source"], strings(e["fields"])) for r in records for e in r["events"]]
    profiles = [
        (r["user_id"], r["as_of"], strings(r["attributes"]), [(m["key"], m["ts"]) for m in r["lifelong"]])
        for r in records
    ]
    folder = tmp_path_factory.mktemp("written")
    write_raw(folder, events, profiles)
    config = TokenizerConfig(
        text_value_mode=request.param,
        n_buckets=4,
        categorical_threshold=30,
        target_vocab=900,
        max_event_tokens=9,
        force_numeric=["amount"],
    )
    tokenize(folder, folder / "tok", config)
    return TokenizedDataset(folder / "tok"), records


def test_what_is_written_and_what_is_sent_are_the_same_values(written_and_sent):
    dataset, records = written_and_sent
    tokenizer = Tokenizer(dataset.vocabulary, "all")
    kinds = {key: dataset.vocabulary.kind(key) for key in ("amount", "size", "memo", "flag")}
    assert kinds == {"amount": "numeric", "size": "categorical", "memo": "text", "flag": "categorical"}
    assert set(dataset.vocabulary.number_keys) >= {"amount", "size", "long"}
    texts = dataset.texts.texts() if dataset.texts else []
    for user, record in enumerate(records):
        sent = tokenizer.encode(decode_record(json.dumps(record).encode()))
        written = dataset.encoded(user)
        np.testing.assert_array_equal(written.tokens[:, : Token.TEXT], sent.tokens[:, : Token.TEXT])
        np.testing.assert_array_equal(written.numbers, sent.numbers)
        np.testing.assert_array_equal(written.event_lengths, sent.event_lengths)
        np.testing.assert_array_equal(written.profile, sent.profile)
        np.testing.assert_array_equal(written.item_ts, sent.item_ts)
        assert with_strings(written, texts) == with_strings(sent, sent.texts)
        np.testing.assert_array_equal(tokenizer.features(written), tokenizer.features(sent))
        assert len(sent.item_ts) < 3 + 2


@pytest.mark.parametrize("missing", [None, "", "nan", " NULL "])
def test_a_missing_value_is_no_value(written_and_sent, missing):
    dataset, _ = written_and_sent
    tokenizer = Tokenizer(dataset.vocabulary, "all")
    fields = {"amount": 3, "size": 1000, "memo": "shop 1"}
    gaps = {**fields, "flag": missing, "never seen": missing, "source": missing}

    def read(fields):
        event = {"ts": NOW + 5, "source": "card", "fields": fields}
        return tokenizer(
            decode_record(json.dumps({"events": [event], "attributes": fields, "as_of": NOW + 9}).encode())
        )

    whole, with_gaps = read(fields), read(gaps)
    for name in ("tokens", "events", "profile", "profile_times", "features", "event_keys"):
        np.testing.assert_array_equal(getattr(with_gaps, name), getattr(whole, name))
    assert with_gaps.texts == whole.texts


def test_numbers_of_categories_reach_the_features(written_and_sent):
    dataset, _ = written_and_sent
    tokenizer = Tokenizer(dataset.vocabulary, "all")
    events = [
        {"ts": ts, "source": "card", "fields": {"size": size}} for ts, size in ((NOW, "1000"), (NOW + 1, 987654.5))
    ]
    user = tokenizer(decode_record(json.dumps({"events": events}).encode()))
    features = dict(zip(tokenizer.features.names, user.features.tolist(), strict=True))
    assert features["size.all.mean"] == pytest.approx((1000 + 987654.5) / 2)
    assert user.tokens[-1, Token.VALUE] == UNK


def test_dropped_fields_are_not_read(tmp_path, raw_folder):
    fields = {"amount": "3", "account": "12345678"}
    data = raw_folder([("u", NOW, "card", fields)], [("u", 0, fields, [("opened", 1), ("closed", 2)])])
    tokenize(data, tmp_path / "tok", TokenizerConfig(drop_fields=["account", "closed"]))
    dataset = TokenizedDataset(tmp_path / "tok")
    record = next(iter(read_records(data)))
    sent = Tokenizer(dataset.vocabulary).encode(decode_record(json.dumps(record).encode()))
    for encoded in (dataset.encoded(0), sent):
        keys = [dataset.vocabulary.key_id(key) for key in ("source", "amount")]
        assert encoded.tokens[:, Token.KEY].tolist() == keys
        items = [dataset.vocabulary.key_id(key) for key in ("amount", "opened")]
        assert encoded.profile[:, Token.KEY].tolist() == items
