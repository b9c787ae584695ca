import io
import tarfile

import pytest
from docker.context import ContextAPI

from pragmatiq_builder.image.engine import build_image
from pragmatiq_builder.image.plan import Base, Extras, ImagePlan
from pragmatiq_builder.progress import Silent
from pragmatiq_triton.errors import ArtifactError, ConfigError, MissingDependencyError, PragmatiqError, ServerError
from tests.builder.image.small_checkout import TAG, make_repository, make_snapshot
from tests.builder.image.stand_in import DROP

RUN_LINES = [f"line {number}" for number in range(30)]


class Heard(Silent):
    """Progress that remembers: by stage its steps, and the notes."""

    def __init__(self):
        self.stages, self.done, self.notes = {}, {}, []

    def stage(self, title, total):
        self.newest = title
        self.stages[title] = total
        self.done[title] = 0

    def advance(self, steps, note=""):
        self.done[self.newest] += steps
        self.notes += [note] if note else []


def plan(**values):
    return ImagePlan(version="1.2.3", revision="0123", tag=TAG, **values)


@pytest.fixture
def everything(tmp_path):
    return plan(
        extras=Extras.NEMOTRON,
        text_model_folder=make_snapshot(tmp_path / "hub"),
        repository=make_repository(tmp_path / "models"),
    )


def step(number, instruction, total=3):
    return {"stream": f"Step {number}/{total} : {instruction}"}


class TestAnyEngine:
    def test_an_image_is_built_and_told_of(self, any_engine, checkout, everything):
        heard = Heard()
        built = build_image(checkout, everything, heard)
        assert built.id.startswith("sha256:")
        assert (built.tags, built.size_bytes > 0) == ([TAG], True)
        assert (built.base, built.extras, built.version, built.revision) == ("cpu", "nemotron", "1.2.3", "0123")
        assert list(heard.stages) == [
            *("Sending text-model", "Adding text-model", "Sending repository", "Adding repository"),
            *("Sending the checkout", "Building the image"),
        ]
        assert heard.done == heard.stages
        assert "COPY --from=text-model / /text-model" in heard.notes
        assert "model.safetensors" in " ".join(heard.notes)

    def test_the_step_that_fails_is_named(self, any_engine, checkout):
        (checkout / "docker" / "server.py").unlink()
        with pytest.raises(PragmatiqError, match=r"^Step \d+/\d+ : COPY docker/server.py / failed: COPY failed: "):
            build_image(checkout, plan())

    def test_a_name_that_is_none_is_refused(self, any_engine, checkout):
        with pytest.raises(ConfigError, match=r"--tag 'Not A Tag': expected NAME\[:TAG\]"):
            build_image(checkout, ImagePlan("1", "2", tag="Not A Tag"))


class TestRealEngine:
    def test_the_image_holds_contexts_and_labels(self, docker_engine, checkout, everything):
        built = build_image(checkout, everything)
        about = docker_engine.inspect_image(built.id)
        assert about["Config"]["Labels"] == everything.labels()
        assert build_image(checkout, everything) == built, "the second build found the first one's steps"
        container = docker_engine.create_container(built.id, command="none")["Id"]
        try:
            content = io.BytesIO(b"".join(docker_engine.export(container)))
        finally:
            docker_engine.remove_container(container)
        with tarfile.open(fileobj=content) as tar:
            files = {member.name.rstrip("/"): member for member in tar}
            assert tar.extractfile("text-model/model.safetensors").read() == b"weights"
        assert files["models/scoring/1"].isdir()
        assert files["text-model/model.safetensors"].mode & 0o777 == 0o644
        # The contexts are in no other stage than their own.
        assert {name for name in files if name.startswith("source/")} == {
            *("source/docker", "source/docker/server.py", "source/docker/Dockerfile"),
            *("source/package", "source/package/__init__.py", "source/package/日本.py", "source/pyproject.toml"),
        }


class TestStandIn:
    def test_what_is_sent(self, stand_in, checkout, everything):
        build_image(checkout, everything)
        weights, models, image = stand_in.builds
        assert weights.read("context/model.safetensors") == b"weights"
        assert models.members["context/scoring/1"].isdir()
        assert weights.dockerfile == models.dockerfile == "FROM scratch\nCOPY context /\n"
        assert f"FROM {1:012x} AS text-model" in image.dockerfile
        assert f"FROM {2:012x} AS repository" in image.dockerfile
        assert "base-gpu" not in image.dockerfile
        assert image.build_args == everything.build_args()
        assert (image.query["t"], image.query["rm"], image.query["forcerm"]) == (TAG, "True", "True")
        assert "t" not in weights.query
        assert not [name for name in image.members if name.startswith((".", "context", "secret"))]

    def test_without_folders_only_the_checkout_is_sent(self, stand_in, checkout):
        build_image(checkout, plan(base=Base.GPU))
        (build,) = stand_in.builds
        assert "FROM ${GPU_IMAGE} AS base-gpu" in build.dockerfile
        assert build.build_args["BASE"] == "gpu"

    def test_a_failed_command_s_last_lines_are_shown(self, stand_in, checkout):
        talk = [{"stream": "earlier step's words\n"}, step(2, "RUN pip install \\\n  x"), {"stream": "\n"}]
        output = [{"stream": f"\x1b[91m{line}\x1b[0m\n"} for line in RUN_LINES]
        message = "The command '/bin/sh -c pip install x' returned a non-zero code: 7"
        stand_in.script = [
            *(step(1, "FROM scratch"), *talk, {"stream": " ---> Running in 0a\n"}, *output),
            *({"stream": "Removing intermediate container 0a\n"}, {"stream": "no line end"}),
            {"errorDetail": {"code": 7, "message": message}, "error": message},
        ]
        with pytest.raises(PragmatiqError) as failure:
            build_image(checkout, plan())
        first, title, *lines = str(failure.value).splitlines()
        assert first == "Step 2/3 : RUN pip install \\ x failed: exit code 7"
        assert title == "the last lines of its output:"
        assert lines == [f"  {line}" for line in [*RUN_LINES[-19:], "no line end"]]

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ([step(1, "FROM scratch"), DROP], "broke off the build"),
            ([step(1, "FROM scratch")], "without an image and without an error"),
        ],
    )
    def test_an_engine_that_dies_is_an_error(self, stand_in, checkout, script, message):
        stand_in.script = script
        with pytest.raises(ServerError, match=message):
            build_image(checkout, plan())

    def test_an_engine_that_refuses_says_why(self, stand_in, checkout):
        stand_in.refusal = "dockerfile parse error line 3: unknown instruction: COPPY"
        with pytest.raises(ServerError, match=f"refused the build: {stand_in.refusal}$"):
            build_image(checkout, plan())

    def test_a_file_that_cannot_be_read_ends_the_build(self, stand_in, checkout):
        (checkout / "package" / "link").symlink_to("nowhere")
        with pytest.raises(ArtifactError, match="package/link cannot be put into the image"):
            build_image(checkout, plan())


def test_no_engine_is_one_line(monkeypatch, tmp_path, checkout):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(MissingDependencyError) as missing:
        build_image(checkout, plan())
    assert str(missing.value) == (
        f"no Docker engine answers at unix://{tmp_path}/none.sock (No such file or directory): start one, name it in "
        "DOCKER_HOST, or build without one: make image ENGINE=buildah"
    )


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_wherever_it_is_said_to_be(monkeypatch, checkout, host):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MissingDependencyError, match=f"no Docker engine answers at {host} "):
        build_image(checkout, plan())


def test_a_docker_context_names_the_engine(monkeypatch, stand_in, checkout):
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setattr(ContextAPI, "kwargs_from_context", lambda: {"base_url": stand_in.address})
    assert build_image(checkout, plan()).tags == [TAG]
