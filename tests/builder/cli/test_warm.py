"""``pragmatiq warm`` as a user types it."""

import json

from tests.conftest import RECORDS, UPSTREAM


def test_warm_tells_what_is_kept(pragmatiq, repository, tmp_path):
    book, cache = UPSTREAM / "records.jsonl", tmp_path / "cache"
    warmed = pragmatiq("warm", repository, book, "--cache-folder", cache, "--users", 5, "--json").json
    scorer = warmed["scorers"]["scorer"]
    assert (warmed["records"], warmed["refused"]) == (5, 0)
    assert scorer["hits"] == scorer["events"] == sum(len(json.loads(raw)["events"]) for raw in RECORDS[:5])
    assert len(list(cache.glob("events-*.npz"))) == 1
    told = pragmatiq("warm", repository, book, "--cache-folder", cache)
    assert "969 of 969 events found" in told.out
    assert "event_cache_bytes" not in told.err
    assert "values that are [UNK]" in told.out


def test_warm_ends_as_the_help_says(pragmatiq, repository, tmp_path):
    cache = ("--cache-folder", tmp_path / "cache")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(RECORDS[0] + b"\n" + b"hello\n")
    assert "1 of 2 records were refused: record 2: $: " in pragmatiq("warm", repository, bad, *cache, expect=3).err
    assert "events.parquet" in pragmatiq("warm", repository, tmp_path, *cache, expect=3).err
    assert "expected a model repository" in pragmatiq("warm", tmp_path, bad, *cache, expect=4).err
    assert "--cache-folder" in pragmatiq("warm", repository, bad, expect=2).err

    settings = tmp_path / "settings.yaml"
    settings.write_text("scorer: {event_cache_bytes: 5000}\n", encoding="utf-8")
    another = ("--cache-folder", tmp_path / "another", "--settings", settings)
    told = pragmatiq("warm", repository, UPSTREAM / "records.jsonl", *another).err
    assert "scorer keeps 9 of " in told
    assert "for more set scorer: {event_cache_bytes: …} in settings.yaml" in told
