"""API keys: long random words of which a file holds the hashes.

A key has 256 random bits, so that a plain SHA-256 of it cannot be guessed back, and is looked up among the others in a
microsecond; slow password hashes are there for words that people choose. That a lookup of hashes takes time by what it
finds tells nobody anything: nobody can choose a key by its hash.
"""

import hashlib
import os
import re
import secrets
from pathlib import Path

import yaml

from pragmatiq_triton.errors import ConfigError
from pragmatiq_triton.yaml_files import read_yaml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = "pq_"


def hash_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(file: Path) -> dict[str, str]:
    """Names of callers by the hash of their key; :class:`ConfigError` for what is no file of keys."""
    found = read_yaml(file, "API keys")
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise ConfigError(f"{file}: expected `name: hash` lines, as `pragmatiq api-key` writes them")
    names: dict[str, str] = {}
    for name, digest in found.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(f"{file}: {name!r}: expected a name of letters, digits, dots, _ and -, 64 at most")
        if not isinstance(digest, str) or not _HASH.fullmatch(digest):
            raise ConfigError(f"{file}: {name}: expected 64 hexadecimal digits, the SHA-256 of a key")
        if digest in names:
            raise ConfigError(f"{file}: {name} and {names[digest]} have the same key: make each its own")
        names[digest] = name
    return names


def add_key(file: Path, name: str, *, replace: bool = False) -> str:
    """Make a key for the caller ``name`` and keep its hash in ``file`` (0600); the key, which is nowhere else.

    :class:`ConfigError` for a name that cannot be, or that has a key already unless it is to be replaced.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r}: expected a name of letters, digits, dots, _ and -, 64 at most")
    try:
        file = file.resolve()  # a link stays, and what it leads to is written
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"{file}: API keys cannot be written: {error}") from None
    hashes = {known: digest for digest, known in read_keys(file).items()} if file.exists() else {}
    if name in hashes and not replace:
        raise ConfigError(f"{file}: {name} has a key already: say --replace, and the old one does not open any more")
    key = _PREFIX + secrets.token_urlsafe(32)
    hashes[name] = hash_of(key)
    unfinished = file.with_name(f".{file.name}.new")
    try:
        descriptor = os.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write("# Callers and the SHA-256 of their keys; a removed line takes the key away within a second.\n")
            yaml.safe_dump(hashes, out, sort_keys=True)
        unfinished.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: API keys cannot be written: {error.strerror}") from None
    return key
