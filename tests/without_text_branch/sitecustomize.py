"""Put this folder on PYTHONPATH and a Python process has neither transformers nor the text branch's code."""

import sys

ABSENT = (
    "transformers",
    "pragmatiq_triton.text_encoders.hash",
    "pragmatiq_triton.text_encoders.nemotron",
    "pragmatiq_triton.text_encoders.table",
    "pragmatiq_triton.text_encoders.upstream_hash",
    "pragmatiq_triton.serving.embedding",
    "pragmatiq_builder.export.text_table",
)


class Absent:
    """An import hook that finds the absent modules first, and refuses them."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.startswith(ABSENT):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Absent)
