"""Where the files of a conversion go, and how they get there: all of them or none."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from converters.manifest import load_for, manifest_path
from converters.result import publish_all, staging
from edge_vit.deployment import android


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where files go.

    Attributes:
        folder: Artefacts and their manifests.
        etrecord: An ETRecord, if one is written.
        app: The Android project that gets copies of what it runs, if any.
    """

    folder: Path
    etrecord: Path | None = None
    app: Path | None = None

    def asset(self, name: str, target: str) -> Path | None:
        """Return where an app gets its copy of an artefact; None where there is none, or it does not run the target."""
        if self.app is None or target not in android.TARGETS:
            return None
        return self.app / android.ASSETS / name


@dataclass(frozen=True, kw_only=True, slots=True)
class Staged:
    """Folders beside the places, to write into before all is published; gone at the end."""

    places: Places
    folder: Path
    etrecord: Path | None
    app: Path | None

    def publish(self, artefacts: Sequence[Path], others: Sequence[Path] = ()) -> None:
        """Bring artefacts of `folder`, their manifests, the ETRecord and the app's copies to their places, all or none.

        Args:
            others: More of `folder` that has no manifest of its own.

        Raises:
            ValueError: If one cannot be written, or the app would refuse it; everything is as it was then.
        """
        moves: list[tuple[Path | None, Path]] = []
        for path in artefacts:
            moves += [(one, self.places.folder / one.name) for one in (path, manifest_path(path))]
        moves += [(one, self.places.folder / one.name) for one in others]
        if self.etrecord is not None and self.places.etrecord is not None:
            moves.append((self.etrecord, self.places.etrecord))
        if self.app is not None and self.places.app is not None:
            assets = self.places.app / android.ASSETS
            for path in artefacts:
                if load_for(path).target in android.TARGETS:
                    android.check(path)
                    moves += android.stage(path, self.app, assets)
        publish_all(moves)


@contextmanager
def staged(places: Places) -> Iterator[Staged]:
    """Try the places: make a staging folder beside each, as long as the block runs.

    Raises:
        ValueError: If one cannot be made or written, or the app's project is none; the message says what to do.
    """
    if places.app is not None:
        android.check_project(places.app)
    with ExitStack() as stack:
        folder = stack.enter_context(staging(places.folder, ".converting-"))
        record, app = None, None
        if places.etrecord is not None:
            beside, prefix = places.etrecord.parent, f".{places.etrecord.name}."
            record = stack.enter_context(staging(beside, prefix, "choose another --etrecord")) / places.etrecord.name
        if places.app is not None:
            app = stack.enter_context(staging(places.app / android.ASSETS, ".putting-", android.ADVICE))
        yield Staged(places=places, folder=folder, etrecord=record, app=app)
