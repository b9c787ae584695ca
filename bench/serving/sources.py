"""What is served and what is sent: runs and records that are given, or else made from synthetic customers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.quality import ROOT, pragmatiq
from bench.serving.errors import BenchError
from bench.serving.records import read_records
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


def made(work: Path, variants: Sequence[str], size: str = "small", users: int = USERS) -> Sources:
    """Runs of ``size`` that hardly learned anything, which costs the server the same; kept in ``work``."""
    raw, file = work / f"synth_{users}", work / f"synth_{users}.jsonl"
    if not (raw / "labels").exists():
        pragmatiq("synth", "--out", raw, "--users", str(users))
    if not file.exists():
        pragmatiq("records", raw, "--out", file)
    runs = {}
    for variant in variants:
        tok = work / f"tok_{variant}_{users}"
        if not (tok / "meta.json").exists():
            pragmatiq("tokenize", raw, "--out", tok, "--config", ROOT / "configs" / "data" / VARIANTS[variant])
        runs[variant] = run = work / "runs" / f"{variant}_{size}_{users}"
        if not (run / "checkpoints" / "last").exists():
            where = ("--name", run.name, "--runs-root", run.parent, "--resume", "auto")
            pragmatiq("pretrain", tok, *where, "--model-size", size, "--max-steps", "2")
    return Sources(runs, read_records([file]), raw)


def calibration(sources: Sources, variant: str, work: Path) -> Path:
    """The data of ``sources`` in tokens of the variant's run."""
    tok = work / f"calibration_{variant}"
    if not (tok / "meta.json").exists():
        pragmatiq("tokenize", sources.raw, "--out", tok, "--tokenizer-dir", sources.runs[variant] / "tokenizer")
    return tok
