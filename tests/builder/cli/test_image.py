"""``pragmatiq image`` as a user types it, against a stand-in for the engine."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builder.cli.conftest import ROOT
from tests.builder.image.small_checkout import make_repository
from tests.builder.image.stand_in import HANG


def test_the_result_is_an_object_or_a_table(pragmatiq, stand_in, checkout, tmp_path):
    repository = make_repository(tmp_path / "models")
    options = ("--source", checkout, "--repository", repository)
    built = pragmatiq("image", *options, "--json").json
    assert built.keys() == {"id", "tags", "size_bytes", "base", "extras", "version", "revision"}
    assert built["tags"] == ["pragmatiq-triton:1.2.3-cpu"]
    assert (built["base"], built["extras"], built["version"], built["revision"]) == ("cpu", "", "1.2.3", "unknown")
    done = pragmatiq("image", *options, "--tag", "bank/scoring:7", "--extras", "")
    assert "bank/scoring:7" in done.out
    assert "Building the image" in done.err


def test_the_project_s_own_checkout_is_the_default(pragmatiq, stand_in, tmp_path):
    pragmatiq("image", "--base", "gpu", "--triton-tag", "26.10-py3", cwd=tmp_path)
    (build,) = stand_in.builds
    assert "builder/pragmatiq_builder/cli/app.py" in build.members
    assert build.build_args["TRITON_TAG"] == "26.10-py3"


def test_steps_in_brackets_are_no_markup(pragmatiq, stand_in, checkout):
    instructions = ['RUN pip install ".[serve]"', "RUN [/bin/true]"]
    stand_in.script = [{"stream": f"Step {number}/2 : {text}"} for number, text in enumerate(instructions, 1)]
    stand_in.script += [{"errorDetail": {}, "error": "no [/more]"}]
    done = pragmatiq("image", "--source", checkout, expect=1)
    assert "error: Step 2/2 : RUN [/bin/true] failed: no [/more]" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--base", "tpu"), 2, "tpu"),
        (("--text-model", "a/b"), 2, "--text-model has no effect without --extras nemotron"),
        (("--source", "tests"), 2, "no docker/Dockerfile in tests"),
        (("--repository", "tests/data"), 4, "config.pbtxt"),
        (("--extras", "nemotron", "--text-model-folder", "tests"), 4, "holds no config.json"),
        ((), 5, "make image ENGINE=buildah"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(pragmatiq, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    done = pragmatiq("image", *arguments, expect=code)
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_sdk_that_is_missing_is_named_with_its_extra():
    script = (
        "import sys; sys.modules['docker'] = None\n"
        "from pragmatiq_builder.cli import main\n"
        "sys.argv = ['pragmatiq', 'image']; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 5
    assert 'pip install "pragmatiq-triton[image]"' in done.stderr


def test_ctrl_c_ends_the_build_on_the_engine_too(stand_in, checkout):
    stand_in.script = [{"stream": "Step 1/1 : RUN sleep infinity"}, HANG]
    with subprocess.Popen(
        [Path(sys.executable).parent / "pragmatiq", "image", "--source", checkout],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs, and what they start, ignore Ctrl-C unless told otherwise.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as build:
        try:
            assert stand_in.hangs.wait(60)
        finally:
            build.send_signal(signal.SIGINT)
            _, err = build.communicate(timeout=60)
    assert build.returncode == 130, err
    assert "Traceback" not in err
    assert stand_in.left_alone.wait(10)


def test_help_names_the_defaults_that_the_dockerfile_has(pragmatiq):
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    told = re.sub(r"[\s│]+", "", pragmatiq("image", "--help").out)
    for argument in ("TRITON_TAG", "TEXT_MODEL", "CPU_IMAGE"):
        default = re.search(rf"^ARG {argument}=(?:docker\.io/library/)?(.+)$", dockerfile, re.MULTILINE)
        assert default[1] in told
