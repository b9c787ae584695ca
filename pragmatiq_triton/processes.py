"""What a server's process gets beside its command: a umask, and file descriptors enough."""

import resource
from contextlib import suppress

OWN_FILES_ONLY = 0o077
"""The umask: requests lie in its files, those in /dev/shm among them."""

_ENOUGH = 1 << 20


def raise_open_files_limit(pid: int) -> None:
    """Raise the soft limit on descriptors of the process ``pid`` to its hard limit, to a million at most.

    Every connection takes one, and with none left a server answers nobody and fills its log.
    """
    with suppress(ProcessLookupError, PermissionError, ValueError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, hard))
