"""How to measure: the same for every machine and model, each number within its range."""

import re
from dataclasses import dataclass
from pathlib import Path

from edge_vit.devices.device_info import given_mask
from edge_vit.devices.runners import Schedule
from edge_vit.devices.via_app import UNPINNED

# The largest values that make sense; what is beyond is a slip.
MAX_NUMBER, MAX_THREADS, MAX_S, MAX_DRIFT = 1_000_000, 1024, 24 * 3600, 100
_COUNTS = {"threads": MAX_THREADS} | dict.fromkeys(("runs", "repeat", "rounds", "emulated_runs"), MAX_NUMBER)
_AMOUNTS = dict.fromkeys(("min_s", "max_s", "warmup_s", "max_warmup_s", "cool_down_s"), MAX_S)
_AMOUNTS |= {"sustained_min": MAX_S // 60, "warmup_runs": MAX_NUMBER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to measure; the same for every machine and model."""

    cores: str = "all"
    threads: int = 1
    runs: int = 50
    min_s: float = 5.0
    max_s: float = 300.0
    warmup_runs: int = 10
    warmup_s: float = 1.0
    max_warmup_s: float = 30.0
    repeat: int = 1
    cool_down_s: float = 60.0
    rounds: int = 5
    sustained_min: float = 0.0
    max_drift: float = 0.05
    emulated_runs: int = 2
    runner: Path | None = None
    litert_version: str | None = None
    via_app: bool = False
    app: Path | None = None

    def __post_init__(self) -> None:
        for names, low, what in ((_COUNTS, 1, "be at least 1"), (_AMOUNTS, 0, "not be negative")):
            for name, high in names.items():
                self._check(name, getattr(self, name) >= low, f"must {what}")
                self._check(name, getattr(self, name) <= high, f"must be at most {high}")
        self._check("max_drift", self.max_drift > 0, "must be positive")
        self._check("max_drift", self.max_drift <= MAX_DRIFT, f"must be at most {MAX_DRIFT}")
        for name, limit in (("min_s", "max_s"), ("warmup_s", "max_warmup_s")):
            longest = getattr(self, limit)
            self._check(name, getattr(self, name) <= longest, f"must be at most {limit}, which is {longest:g}")
        given_mask(self.cores)
        if self.litert_version is not None and not re.fullmatch(r"\d+(\.\w+)*", self.litert_version):
            raise ValueError(f"--litert-version {self.litert_version!r} is no release, such as 2.3.0")
        if self.app and not self.via_app:
            raise ValueError("app is given without via_app; it is the app to measure through")
        if self.via_app and self.cores != "all":
            raise ValueError(f"--cores {self.cores}: {UNPINNED}")
        if self.via_app and (self.runner or self.litert_version):
            raise ValueError("the app brings its own runtime; leave --runner and --litert-version out with --via-app")

    def _check(self, name: str, holds: bool, rule: str) -> None:
        """Refuse a value that does not hold to its rule; not a number never does."""
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)}; it {rule}")

    def schedule(self, emulated: bool = False) -> Schedule:
        """Return what one call of a runner is to do.

        On an emulated machine times mean nothing: just enough inferences to see that the path works and what comes out.
        """
        if emulated:
            return Schedule(warmup_runs=0, warmup_s=0, max_warmup_s=0, runs=self.emulated_runs, min_s=0, max_s=0)
        return Schedule(
            warmup_runs=self.warmup_runs,
            warmup_s=self.warmup_s,
            max_warmup_s=self.max_warmup_s,
            runs=self.runs,
            min_s=self.min_s,
            max_s=self.max_s,
        )
