"""Keyed 128-bit fingerprints of events' contents: equal where, and only where, the event encoder would see the same.

The key is secret, so no caller can aim at a collision and be given another content's vector.
"""

import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from pragmatiq_triton.errors import ConfigError

KEY_FILE = "fingerprint.key"
KEY_BYTES = 32
FINGERPRINT_BYTES = 16


class Fingerprints:
    """Fingerprints under one secret (:func:`secret`): keyed BLAKE2b (RFC 7693)."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2b(digest_size=FINGERPRINT_BYTES, key=key)

    def __call__(self, tokens: bytes, texts: Sequence[str]) -> bytes:
        """16 bytes that stand for an event's content, whenever it happened.

        ``tokens`` are the bytes of its tokens, int32 [n_tokens, 4]: key id, value id, position, and 0 for a text token
        or -1; ``texts`` are the raw strings of its text tokens, in order.
        """
        encoded = [text.encode("utf-8") for text in texts]
        # Every part is told its length, so that no two contents are the same bytes.
        parts = [part for each in (tokens, *encoded) for part in (len(each).to_bytes(8, "little"), each)]
        digest = self._keyed.copy()
        digest.update(b"".join(parts))
        return digest.digest()


def secret(folder: Path | None) -> bytes:
    """32 random bytes: of this process, or those that all processes with this ``folder`` share.

    Whoever comes first writes ``fingerprint.key`` there, whole or not at all. Raises :class:`ConfigError` where the
    file cannot be written or read, is not 32 bytes, or could be read by other accounts.
    """
    if folder is None:
        return secrets.token_bytes(KEY_BYTES)
    path = folder / KEY_FILE
    try:
        if not path.exists():
            _write_once(path, secrets.token_bytes(KEY_BYTES))
        with path.open("rb") as file:
            mode, key = stat.S_IMODE(os.fstat(file.fileno()).st_mode), file.read(KEY_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: expected a folder where the fingerprints' secret can be kept: {error}") from None
    if mode & 0o077:
        raise ConfigError(
            f"{path}: expected a secret that its owner alone may read (mode 0600), got mode {mode:04o}; "
            "delete it, and the snapshots beside it, so that a new one is made"
        )
    if len(key) != KEY_BYTES:
        got = f"{len(key)} bytes" if len(key) < KEY_BYTES else "more"
        raise ConfigError(
            f"{path}: expected {KEY_BYTES} bytes, got {got}; "
            "delete it, and the snapshots beside it, so that a new one is made"
        )
    return key


def _write_once(path: Path, content: bytes) -> None:
    """Make ``path``, mode 0600, with all of ``content``, unless somebody else just did."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces what is there: the loser of a race reads the winner's.
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        Path(name).unlink()
