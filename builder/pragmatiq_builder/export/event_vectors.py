"""What an event's vector depends on, as one hash: vectors that were kept are used where it is the same."""

import hashlib
from pathlib import Path

from pragmatiq_builder.export.configs import CODE
from pragmatiq_builder.export.manifest import file_hash
from pragmatiq_triton.scorer.sessions import EVENT_ENCODER, TEXT_PROJECTION, TOKEN_EMBEDDING


def event_vectors_hash(scorer: Path, text_embedder: Path) -> str:
    """SHA-256 over the files below ``scorer`` and ``text_embedder`` that an event's tokens pass through.

    These are the event encoder and the text projection with their weights, the token table, and all artifacts of the
    text embedder where there is one; not the profile and history encoders and the heads. Folders' names do not count.
    """
    files = {TOKEN_EMBEDDING: scorer / TOKEN_EMBEDDING}
    files |= {path.name: path for name in (EVENT_ENCODER, TEXT_PROJECTION) for path in scorer.glob(f"{name}*")}
    texts = (path for path in text_embedder.rglob("*") if path.is_file() and path != text_embedder / CODE)
    files |= {f"text_embedder/{path.relative_to(text_embedder).as_posix()}": path for path in texts}
    listing = "".join(f"{file_hash(files[name])}  {name}\n" for name in sorted(files))
    return hashlib.sha256(listing.encode()).hexdigest()
