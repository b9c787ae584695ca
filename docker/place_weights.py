"""Put a text model's weights into the hub's cache (HF_HOME): from a folder if it holds any, else from the hub.

place_weights.py FOLDER MODEL REVISION
"""

import shutil
import sys
from pathlib import Path

from pragmatiq_triton.errors import PragmatiqError
from pragmatiq_triton.text_encoders.model_folder import hub_folder


def place_weights(folder: Path, model: str, revision: str) -> Path:
    """The snapshot of ``model`` at ``revision`` (a commit's 40 digits) in the cache; ``folder`` becomes it if filled.

    Raises :class:`~pragmatiq_triton.errors.PragmatiqError` where the weights cannot be had, SystemExit where what is
    there is no model.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    if any(folder.iterdir()):
        snapshot = Path(HF_HUB_CACHE, repo_folder_name(repo_id=model, repo_type="model"), "snapshots", revision)
        shutil.copytree(folder, snapshot, ignore=shutil.ignore_patterns(".*", "*.bin", "*.pt", "*.onnx", "*.h5"))
    else:
        snapshot = hub_folder(model, revision)
    for needed in ("config.json", "*.safetensors"):
        if not any(snapshot.glob(needed)):
            raise SystemExit(f"the weights of {model} are missing: no {needed} in the build context text-model")
    return snapshot


if __name__ == "__main__":
    try:
        print(f"weights of {sys.argv[2]} at {place_weights(Path(sys.argv[1]), *sys.argv[2:])}")
    except PragmatiqError as error:
        raise SystemExit(
            f"PRAGMATIQ_TRITON_EXTRAS=nemotron needs the weights of {sys.argv[2]}, and they are missing: {error}. "
            "Let the build reach the hub, or give a folder: make image EXTRAS=nemotron TEXT_MODEL_FOLDER=FOLDER"
        ) from None
