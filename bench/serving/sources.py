"""What is served and what is sent: runs and records that are given, or else made from synthetic customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality import ROOT, pragmatiq
from bench.serving.errors import BenchError
from bench.serving.records import read_records
from bench.toolkits import Toolkit
from pragmatiq_triton.records import Record

VARIANTS = {"bpe": "tokenizer_bpe.yaml", "embed": "tokenizer_hash.yaml"}
"""The text variants, each with the tokenizer config of the runs that are made here."""
SHARED = ROOT.parent / "shared"
USERS = 100


@dataclass(frozen=True)
class Sources:
    """``runs`` by variant; ``raw``: the data whose customers calibrate int8."""

    runs: dict[str, Path]
    records: list[Record]
    raw: Path


def given(folder: Path, variants: Sequence[str]) -> Sources:
    """``run_VARIANT_small`` and ``records_*.jsonl.gz`` of ``folder``; the data is in ``data/synth_300`` beside it."""
    runs = {variant: folder / f"run_{variant}_small" for variant in variants}
    files = sorted(folder.glob("records_*.jsonl.gz"))
    missing = [path for path in (*runs.values(), folder.parent / "data" / "synth_300") if not path.is_dir()]
    if missing or not files:
        raise BenchError(f"{folder}: expected runs, records and data; missing: {missing or 'records_*.jsonl.gz'}")
    return Sources(runs, read_records(files), folder.parent / "data" / "synth_300")


def made(work: Path, variants: Sequence[str], toolkit: Toolkit, size: str = "small", users: int = USERS) -> Sources:
    """Runs of ``size`` that ``toolkit`` trains for two steps, which costs the server the same; kept in ``work``.

    Only upstream's own runs can be served by both sides.
    """
    raw, file = work / f"synth_{users}", work / f"synth_{users}.jsonl"
    if not (raw / "labels").exists():
        pragmatiq("synth", "--out", raw, "--users", str(users))
    if not file.exists():
        pragmatiq("records", raw, "--out", file)
    runs = {}
    for variant in variants:
        folder = work / "runs" / f"{toolkit.name}_{variant}_{size}_{users}"
        runs[variant] = run = toolkit.run_of(folder)
        if not any(run.glob("checkpoints/last*")):
            tok = work / f"tok_{toolkit.name}_{variant}_{users}"
            toolkit.tokenize(raw, tok, "--config", ROOT / "configs" / "data" / VARIANTS[variant])
            toolkit.pretrain(tok, folder, size, {"max_steps": 2, "log_every": 1, "accelerator": "cpu"})
    return Sources(runs, read_records([file]), raw)


def calibration(sources: Sources, variant: str, work: Path) -> Path:
    """The data of ``sources`` in tokens of the variant's run."""
    tok = work / f"calibration_{variant}"
    if not (tok / "meta.json").exists():
        pragmatiq("tokenize", sources.raw, "--out", tok, "--tokenizer-dir", sources.runs[variant] / "tokenizer")
    return tok
