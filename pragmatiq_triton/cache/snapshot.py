"""Event vectors that outlive a server: written to the cache folder while it runs, taken in when the next one starts."""

import fcntl
import logging
import threading
from hashlib import blake2b
from pathlib import Path
from time import monotonic

from pragmatiq_triton.cache.fingerprints import secret
from pragmatiq_triton.cache.folder import cache_folder
from pragmatiq_triton.cache.vectors import VectorCache
from pragmatiq_triton.drain import Drain
from pragmatiq_triton.errors import ConfigError

EVENT_VECTORS = "event_vectors"
"""The scorer's parameter that names all that an event's vector depends on; export writes it."""

LOCK_FILE = "snapshots.lock"
PERIOD_SECONDS = 600.0
LOOK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Snapshot:
    """The file ``events-<identity>.npz`` in ``folder``: vectors of one version of the event encoder, under one secret.

    Another version of the model, or another secret, has another file. Raises :class:`ConfigError` where the secret in
    ``folder`` cannot be read or made.
    """

    def __init__(self, folder: Path, event_vectors: str) -> None:
        self.identity = blake2b(event_vectors.encode(), digest_size=16, key=secret(folder)).hexdigest()
        self.path = folder / f"events-{self.identity}.npz"
        self._known: tuple[int, int] | None = None

    def restore(self, cache: VectorCache) -> None:
        """Take in what is there; a file that cannot be read is told of and left alone."""
        if version := self._version():
            self._load(version, cache, make_room=True)

    def keep(self, cache: VectorCache) -> None:
        """Write the entries of ``cache`` and, as far as it has room, those that others have left there in the meantime.

        Raises :class:`ConfigError` where the file cannot be written.
        """
        if not cache.capacity:
            return
        try:
            with (self.path.parent / LOCK_FILE).open("a") as lock:
                # Closing the file gives the lock back.
                fcntl.flock(lock, fcntl.LOCK_EX)
                for unfinished in self.path.parent.glob(f".{self.path.name}.*"):
                    unfinished.unlink()
                if (version := self._version()) and version != self._known:
                    self._load(version, cache, make_room=False)
                cache.save(self.path, self.identity)
                self._known = self._version()
        except OSError as error:
            raise ConfigError(f"{self.path}: the event vectors could not be kept there: {error}") from None

    def _load(self, version: tuple[int, int], cache: VectorCache, make_room: bool) -> None:
        self._known = version
        try:
            cache.load(self.path, self.identity, make_room=make_room)
        except (OSError, ValueError) as error:
            logger.warning("%s is ignored: %s", self.path, error)

    def _version(self) -> tuple[int, int] | None:
        """Inode and time of the file, which another in its place does not share; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns


class SnapshotKeeper:
    """Brings ``cache`` up to date with ``snapshot``, and ``snapshot`` with ``cache`` every ten minutes and at the end.

    The end alone would not do: a server that is killed, or whose callers hold connections open until its exit timeout,
    ends without telling its models. So it also writes once ``drain`` says that the server stops. What cannot be written
    is logged.
    """

    def __init__(self, snapshot: Snapshot, cache: VectorCache, drain: Drain = Drain()) -> None:
        self._snapshot = snapshot
        self._cache = cache
        self._drain = drain
        snapshot.restore(cache)
        self._kept = self._entries()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what came last and end."""
        self._closed.set()
        self._thread.join()
        self._keep()

    def _run(self) -> None:
        due, stops = monotonic() + PERIOD_SECONDS, False
        while not self._closed.wait(min(PERIOD_SECONDS, LOOK_SECONDS)):
            began_to_stop = bool(self._drain) and not stops
            if began_to_stop or monotonic() >= due:
                self._keep()
                due, stops = monotonic() + PERIOD_SECONDS, stops or began_to_stop

    def _keep(self) -> None:
        entries = self._entries()
        if entries == self._kept:
            return
        try:
            self._snapshot.keep(self._cache)
        except ConfigError as error:
            logger.error("%s", error)
        else:
            self._kept = entries

    def _entries(self) -> tuple[int, int]:
        """Changes with every entry that comes: it adds to them, or another gives way."""
        return len(self._cache), self._cache.evictions


def find_snapshot(event_vectors: str) -> Snapshot | None:
    """The snapshot of a scorer with the parameter ``event_vectors``; None without a cache folder."""
    folder = cache_folder()
    if folder is None:
        return None
    if not event_vectors:
        logger.warning("config.pbtxt does not state %s, so nothing is kept: export the run again", EVENT_VECTORS)
        return None
    return Snapshot(folder, event_vectors)
