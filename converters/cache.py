"""The one folder for everything that is fetched or built once: weights, compilers, environments."""

import os
from pathlib import Path

SETTING = "EDGE_VIT_CACHE"


def cache_folder(given: Path | None = None) -> Path:
    """Return the given folder, else $EDGE_VIT_CACHE, else edge_vit in the user's cache folder; an absolute path.

    Nothing is made: whoever writes there makes it. Absolute, because links and scripts inside keep the path.
    """
    if given is not None:
        return given.expanduser().absolute()
    if named := os.environ.get(SETTING):
        return Path(named).expanduser().absolute()
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(user).expanduser().absolute() / "edge_vit"
