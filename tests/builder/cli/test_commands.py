"""The commands as a user types them: results, JSON, errors as one line, exit codes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as http

from pragmatiq_triton.server import TritonServer
from pragmatiq_triton.tensors import pack_texts
from pragmatiq_triton.text_encoders import TextEncoderSpec, create_text_encoder
from tests.conftest import RECORDS, UPSTREAM
from tests.pragmatiq_triton.test_tensors import user

BPE = "configs/data/tokenizer_bpe.yaml"
HASH = "configs/data/tokenizer_hash.yaml"
NEMOTRON = "configs/data/tokenizer_nemotron.yaml"
TINY = ("--model-size", "nano", "--max-steps", 2)


def test_help_names_every_command_and_the_exit_codes(pragmatiq):
    text = pragmatiq("--help").out
    for command in ("synth", "validate", "records", "tokenize", "pretrain", "export", "warm", "serve", "score", "info"):
        assert command in text
        assert "--help" in pragmatiq(command, "--help").out
    assert "Exit codes" in text


@pytest.mark.parametrize("config", [BPE, HASH])
def test_from_data_to_a_repository(pragmatiq, data, tmp_path, config):
    assert pragmatiq("validate", data, "--json").json["ok"]
    summary = pragmatiq("tokenize", data, "--out", tmp_path / "tok", "--config", config, "--json").json
    assert summary["users"] == 12
    amount = next(field for field in summary["fields"] if field["name"] == "amount")
    assert (amount["kind"], amount["number_share"], amount["missing_share"]) == ("numeric", 1.0, 0.0)
    runs = ("--runs-root", tmp_path / "runs")
    trained = pragmatiq("pretrain", tmp_path / "tok", "--name", "r", *TINY, *runs, "--json").json
    assert trained["step"] == 2
    manifest = pragmatiq("export", tmp_path / "runs" / "r", "--out", tmp_path / "repo", "--json").json
    assert manifest["tokenizer_hash"] == summary["tokenizer_hash"]
    assert manifest["variant"] == ("embed" if config == HASH else "bpe")
    for path in ("tok", "runs/r"):
        assert pragmatiq("info", tmp_path / path, "--json").json["fields"] == summary["fields"]
    assert "| `amount` | events | numeric |" in (tmp_path / "repo" / "MODEL_CARD.md").read_text(encoding="utf-8")
    known = pragmatiq("tokenize", data, "--out", tmp_path / "next", "--tokenizer-dir", tmp_path / "runs/r/tokenizer")
    assert "before: in the data that it was fitted on" in known.out
    assert "outside the buckets" in known.out
    assert "unknown to the tokenizer" not in known.err
    assert pragmatiq("info", tmp_path / "next").out.endswith(known.out[known.out.index("Fields") :])
    unknown = pragmatiq("info", tmp_path / "next", "--json").json["unknown"]
    assert (unknown["unknown_share"], unknown["fitted_on_these_data"]) == (0.0, False)
    assert unknown["fitted"] == {"unknown": 0.0, "outside": unknown["outside"] / unknown["numbers"]}
    for path in ("tok", "runs/r", "repo"):
        assert summary["tokenizer_hash"] in pragmatiq("info", tmp_path / path, "--json").out
    again = pragmatiq("pretrain", tmp_path / "tok", "--name", "r", *TINY, *runs, expect=2)
    assert "--resume auto" in again.err


def test_info_says_what_is_installed(pragmatiq):
    values = pragmatiq("info", "--json").json
    assert values["torch"] != "not installed"
    assert "tritonserver" in values["server"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("tokenize", "nowhere", "--out", "x"), 2, "nowhere"),
        (("tokenize", "tests", "--out", "x"), 3, "events.parquet"),
        (("pretrain", "tests", "--name", "x"), 4, "pragmatiq tokenize"),
        (("export", "tests", "--out", "x"), 4, "tests"),
        (("info", "tests"), 4, "expected a run"),
        (("serve", "tests/data"), 4, "config.pbtxt"),
        (("score", "tests/data/upstream/records.jsonl", "--url", "127.0.0.1:1", "--timeout", "2"), 6, "127.0.0.1:1"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(pragmatiq, tmp_path, arguments, code, message):
    done = pragmatiq(*(tmp_path / "x" if word == "x" else word for word in arguments), expect=code)
    assert message in done.err
    assert "Traceback" not in done.err


def test_an_unknown_setting_names_the_choices(pragmatiq, data, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text("text_mode: embed\n", encoding="utf-8")
    done = pragmatiq("tokenize", data, "--out", tmp_path / "tok", "--config", config, expect=2)
    assert "'text_mode'" in done.err
    assert "text_value_mode" in done.err


def test_a_package_that_is_missing_is_named_with_its_extra(data, tmp_path):
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from pragmatiq_builder.cli import main\n"
        f"sys.argv = ['pragmatiq', 'validate', {str(data)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert 'pip install "pragmatiq-triton[train]"' in done.stderr


def test_export_and_serve_say_what_the_server_lacks(pragmatiq, repository, tmp_path):
    done = pragmatiq("serve", repository, "--server-env", tmp_path, expect=5)
    assert "pip install" in done.err


class TestNemotron:
    """The documented commands with a real model from a local folder, since the hub cannot be reached in a test."""

    def test_weights_that_cannot_be_had_are_one_line_with_the_way_out(self, pragmatiq, data, tmp_path):
        done = pragmatiq("tokenize", data, "--out", tmp_path / "tok", "--config", NEMOTRON, expect=5)
        lines = [line for line in done.err.splitlines() if line.startswith("error")]
        assert len(lines) == 1
        assert "nvidia/llama-nemotron-embed-1b-v2" in lines[0]
        assert "--text-model FOLDER" in lines[0]

    @pytest.mark.triton
    def test_a_local_folder_goes_the_whole_way(self, pragmatiq, data, tmp_path, minilm_folder):
        tok, repo = tmp_path / "tok", tmp_path / "repo"
        summary = pragmatiq(
            "tokenize", data, "--out", tok, "--config", NEMOTRON, "--text-model", minilm_folder, "--json"
        ).json
        assert (summary["text_encoder"], summary["distinct_texts"] > 100) == ("nemotron", True)
        pragmatiq("pretrain", tok, "--name", "nemo", *TINY, "--runs-root", tmp_path / "runs")
        manifest = pragmatiq("export", tmp_path / "runs" / "nemo", "--out", repo, "--json").json
        assert manifest["text_encoder"]["fallback"]["revision"].startswith("sha256:")
        assert (repo / "text_embedder" / "1" / "text_model" / "model.safetensors").is_file()
        self.unseen_strings_get_the_model_s_vectors(repo, minilm_folder)

    def unseen_strings_get_the_model_s_vectors(self, repo, minilm_folder):
        texts = ("a shop that nobody has seen", "日本 🍕", "")
        spec = TextEncoderSpec(encoder="nemotron", prefix="passage: ")
        expected = create_text_encoder(spec, text_model_folder=minilm_folder).encode(texts)
        arrays = pack_texts([user(0, 0, texts)])
        with (
            TritonServer(repo, http_port=0, grpc_port=0, metrics_port=0, sealed=False) as server,
            http.InferenceServerClient(server.http_url) as client,
        ):
            types = {"texts": "UINT8", "text_offsets": "INT32"}
            inputs = [http.InferInput(name, array.shape, types[name]) for name, array in arrays.items()]
            for tensor, array in zip(inputs, arrays.values(), strict=True):
                tensor.set_data_from_numpy(array)
            got = client.infer("text_embedder", inputs).as_numpy("text_vectors")[0]
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * float(np.abs(expected).max()))


@pytest.mark.triton
def test_serve_and_score(pragmatiq, repository, tmp_path):
    command = [Path(sys.executable).parent / "pragmatiq", "serve", repository, "--json"]
    ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    records = tmp_path / "records.jsonl"
    records.write_bytes(b"\n".join([*RECORDS[:5], b"", b'{"events": 1}', RECORDS[5]]) + b"\n")
    expected = np.load(UPSTREAM / repository.name / "embeddings.npy")[:6]
    with subprocess.Popen(
        [*command, *ports],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C unless told otherwise.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as server:
        try:
            urls = json.loads(server.stdout.readline())
            for protocol in ("grpc", "http"):
                done = pragmatiq("score", records, "--url", urls[protocol], "--protocol", protocol, "--json", expect=3)
                answers = [json.loads(line) for line in done.out.splitlines()]
                assert [answer["line"] for answer in answers] == [1, 2, 3, 4, 5, 7, 8]
                assert "expected array, got int" in answers[5]["error"]
                got = [answer["embedding"] for answer in answers if "embedding" in answer]
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
                assert "1 of 7 records were refused" in done.err
                table = pragmatiq("score", records, "--url", urls[protocol], "--protocol", protocol, expect=3).out
                assert "edge" in table or "u_" in table
        finally:
            server.send_signal(signal.SIGINT)
            _, err = server.communicate(timeout=60)
    assert server.returncode == 0, err
