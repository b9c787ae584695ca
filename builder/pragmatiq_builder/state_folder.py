"""Where logs of servers are kept that nobody has named a file for: the XDG base directory of state."""

import os
from pathlib import Path


def state_folder() -> Path | None:
    """``$XDG_STATE_HOME/pragmatiq``, by default ``~/.local/state/pragmatiq``, made for this account alone.

    None where it cannot be made, as in a home that is read-only.
    """
    named = os.environ.get("XDG_STATE_HOME")
    try:
        base = Path(named) if named and Path(named).is_absolute() else Path.home() / ".local" / "state"
        folder = base / "pragmatiq"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
