import re

import pytest

from pragmatiq_builder.image.dockerfile import for_classic_builder
from pragmatiq_triton.errors import ArtifactError
from tests.builder.cli.conftest import ROOT
from tests.builder.image.small_checkout import DOCKERFILE

REAL = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")


def stages(dockerfile):
    """Image by stage; the last one's name is empty."""
    found = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", dockerfile, re.MULTILINE)
    return {name: image for image, name in found}


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, REAL], ids=["small", "real"])
@pytest.mark.parametrize(("base", "other"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_the_other_base_is_not_built(dockerfile, base, other):
    kept = stages(for_classic_builder(dockerfile, {"BASE": base}, {}))
    assert f"base-{base}" in kept
    assert not [name for name in kept if other in name]
    assert {"", "environment", "text-model", "repository"} <= kept.keys()


@pytest.mark.parametrize("base", ["cpu", "gpu"])
def test_a_stage_comes_after_those_that_it_needs(base):
    built = set()
    for stage in re.split(r"^(?=FROM )", for_classic_builder(REAL, {"BASE": base}, {}), flags=re.MULTILINE)[1:]:
        needed = [stage.split()[1], *re.findall(r"--from=(\S+)", stage)]
        names = [image.replace("${BASE}", base) for image in needed]
        assert {name for name in names if name != "scratch" and not name.startswith("${")} <= built
        built.update(stages(stage))


def test_what_is_before_the_first_stage_stays():
    head = REAL[: REAL.index("FROM scratch")]
    assert for_classic_builder(REAL, {"BASE": "gpu"}, {}).startswith(head)


def test_stages_of_a_chain_are_kept_in_their_order():
    text = "FROM a AS one\nFROM b AS never\nRUN x\nFROM one as two\nfrom c AS three\nCOPY --from=two /x /\n"
    assert for_classic_builder(text, {}, {}) == text.replace("FROM b AS never\nRUN x\n", "")


@pytest.mark.parametrize("dockerfile", [DOCKERFILE, REAL], ids=["small", "real"])
def test_a_context_stands_in_for_its_stage(dockerfile):
    kept = stages(for_classic_builder(dockerfile, {"BASE": "cpu"}, {"repository": "sha256:ab"}))
    assert (kept["repository"], kept["text-model"]) == ("sha256:ab", "scratch")


def test_a_context_without_a_stage_is_an_error():
    with pytest.raises(ArtifactError, match="FROM scratch AS weights"):
        for_classic_builder(DOCKERFILE, {"BASE": "cpu"}, {"weights": "sha256:ab"})


def test_the_real_dockerfile_needs_nothing_of_buildkit():
    assert not re.search(r"--mount|--chmod|--link|<<-?\s*['\"]?\w+|--parents|--exclude", REAL)
