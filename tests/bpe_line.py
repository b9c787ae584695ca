"""The whole BPE line in one process: tokenize, train a little, encode, export, serve. Run by test_bpe_isolation."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import torch

from pragmatiq_builder.dataset.store import TokenizedDataset
from pragmatiq_builder.dataset.tokenize import tokenize
from pragmatiq_builder.export.repository import export_repository
from pragmatiq_builder.network import to_tensors
from pragmatiq_builder.runs import load_run
from pragmatiq_builder.training import load_settings, pretrain
from pragmatiq_client import ScoringClient
from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.tokenizer import TokenizerConfig

DATA = Path(__file__).parent / "data"


def main(out: Path) -> None:
    torch.set_num_threads(1)
    tokenize(DATA / "birmingham", out / "tok", TokenizerConfig(categorical_threshold=200, target_vocab=1000))
    dataset = TokenizedDataset(out / "tok")
    settings = {"model_size": "nano", "max_steps": 2, "token_budget": 2000, "warmup_steps": 1, "accelerator": "cpu"}
    run = load_run(pretrain(dataset, load_settings(overrides=settings), out / "runs", "bpe"))
    with torch.inference_mode():
        encoded = run.network(to_tensors(dataset.batch(range(8)), "cpu"))
    np.savez(
        out / "forward.npz", **{name: getattr(encoded, name).numpy() for name in ("event_states", "user_embedding")}
    )
    export_repository(run, out / "repository")
    upstream = load_run(DATA / "upstream" / "bpe" / "run")
    export_repository(upstream, out / "upstream_repository")
    records = (DATA / "upstream" / "records.jsonl").read_bytes().splitlines()
    with TritonServer(out / "upstream_repository", http_port=0, grpc_port=0, metrics_port=0) as server:
        for protocol, url in (("grpc", server.grpc_url), ("http", server.http_url)):
            with ScoringClient(url, protocol=protocol, timeout=60) as client:
                answers = np.stack([client.score_one(raw).embedding for raw in records])
            np.save(out / f"answers_{protocol}.npy", answers)
    print("transformers imported:", "transformers" in sys.modules)
    try:
        print("transformers installed:", importlib.util.find_spec("transformers") is not None)
    except ModuleNotFoundError:
        print("transformers installed: False")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
