"""What a user writes; checked with ``mypy --strict`` and run."""

import sys
from pathlib import Path

import pragmatiq_triton as pt


def main(repository: Path, out: Path) -> None:
    model = pt.load(repository)
    record = {
        "user_id": "42",
        "events": [{"ts": 1738245371663128, "source": "transaction", "fields": {"amount": "24.32"}}],
    }
    scores: dict[str, float] = model.score(record)
    several: list[dict[str, float]] = model.score([record, record])
    assert several == [scores, scores]
    assert list(scores) == model.tasks
    length: int = len(model.embed(record))
    assert length == model.info["dim"]
    data = pt.synth(out / "synth", users=5, progress=False)
    done = pt.predict(out / "synth", repository, out / "scores.parquet", processes=1, progress=False)
    assert done.rows == data.users


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
