"""The command that builds the container image."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pragmatiq_builder.cli.console import RichProgress, show
from pragmatiq_builder.cli.options import Json
from pragmatiq_builder.image.plan import Base, Extras, ImagePlan
from pragmatiq_builder.image.source import find_source, source_revision, source_version


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(image)


def image(
    base: Annotated[
        Base,
        typer.Option(
            help="cpu: a slim Debian with the embedded server, the smallest image. gpu: NVIDIA's Triton image, which "
            "runs on CPUs too, but is many gigabytes to pull and to keep on every node."
        ),
    ] = Base.CPU,
    extras: Annotated[
        Extras,
        typer.Option(
            help="nemotron: torch, transformers and the embedder's weights are in the image, so that strings that "
            "nobody saw in training get their true vectors without the network, for gigabytes more. Without it, "
            "repositories of BPE runs and of the hash and table encoders are served."
        ),
    ] = Extras.NONE,
    repository: Annotated[
        Path | None,
        typer.Option(
            help="Bake this model repository in at /models: one artifact that goes through the registry and is rolled "
            "back as a whole. Without it the image serves what is mounted there, and a new model needs no new image.",
        ),
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            help="The embedder by its id on the Hugging Face hub: the one that the runs were trained with. Default: "
            "nvidia/llama-nemotron-embed-1b-v2. Runs of a smaller one answer new strings faster, in a smaller image.",
            metavar="HUB-ID",
        ),
    ] = None,
    text_model_revision: Annotated[
        str | None,
        typer.Option(
            help="Commit of --text-model, 40 digits. A branch is refused: the same build would hold other weights "
            "tomorrow.",
            metavar="COMMIT",
        ),
    ] = None,
    text_model_folder: Annotated[
        Path | None,
        typer.Option(
            help="Take the embedder's weights from this folder (links are followed): the build needs no hub, but "
            "that the folder holds --text-model at its revision is your word alone.",
        ),
    ] = None,
    triton_tag: Annotated[
        str | None,
        typer.Option(
            help="Tag of NVIDIA's Triton image for --base gpu. A newer one brings fixes and a newer CUDA, which the "
            "nodes' driver has to support; only the default, 26.09-py3, is what this version was written for.",
        ),
    ] = None,
    cpu_image: Annotated[
        str | None,
        typer.Option(
            help="Another image in place of debian:bookworm-slim for --base cpu: your hardened or mirrored one. It has "
            "to be a Debian 12, whose libraries and Python 3.11 the server needs. A digest, unlike a tag, never moves, "
            "and brings no fixes.",
        ),
    ] = None,
    gpu_image: Annotated[
        str | None,
        typer.Option(
            help="Another image in place of NVIDIA's for --base gpu: a mirror, or the same by its digest.",
        ),
    ] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(
            help="Package index that has the torch of --extras nemotron on the cpu base, beside PyPI. Default: "
            "PyTorch's CPU builds; \"\" for none. PyPI's own torch brings CUDA: gigabytes that only the gpu base can "
            "use, which takes it from there by its hash.",
            metavar="URL",
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            help="NAME[:TAG] of the image. Default: pragmatiq-triton:VERSION-BASE, with -nemotron behind it for that. "
            "A tag of your own can be moved on to the next build; the default says what is inside.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            help="Checkout to build from. Default: the one that this command was installed from, else the current "
            "folder. Changes that are not committed go in too, and the revision then ends in -dirty.",
            file_okay=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Build the server's container image on a Docker engine; the same image as `make image` builds.

    The engine is the one that DOCKER_HOST or the current Docker context names, which may be a remote one. It is built
    without BuildKit, stage after stage. Where there is no engine: make image ENGINE=buildah.
    """
    checkout = find_source(source)
    plan = ImagePlan(
        version=source_version(checkout),
        revision=source_revision(checkout),
        base=base,
        extras=extras,
        repository=repository,
        text_model=text_model,
        text_model_revision=text_model_revision,
        text_model_folder=text_model_folder,
        triton_tag=triton_tag,
        cpu_image=cpu_image,
        gpu_image=gpu_image,
        torch_index=torch_index,
        tag=tag,
    )
    from pragmatiq_builder.image.engine import build_image

    with RichProgress() as progress:
        built = asdict(build_image(checkout, plan, progress))
    show("Built", built if json else {**built, "tags": ", ".join(built["tags"])}, json)
