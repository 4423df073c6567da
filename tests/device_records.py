"""Records as a measurement leaves them, for the tests of what is made of them."""

from edge_vit.devices.records import Record
from edge_vit.devices.runners import Output


def make(model: str = "m.tflite", level_us: float = 5000, number: int = 200, **change: object) -> Record:
    record = Record(
        model=model,
        model_sha256="ab" * 32,
        model_bytes=1000,
        device_name="R5C",
        started="2026-01-01T00:00:00+00:00",
        threads=1,
        cores="big",
        max_drift=0.05,
        runs_asked=50,
        device={"model": "Google Pixel 7", "system": "Android 14", "soc": "Tensor G2"},
        runner={"name": "litert_runner", "version": "2.3.0", "sha256": "cd" * 32},
        is_complete=True,
    )
    for key, value in change.items():
        setattr(record, key, value)
    if number:
        samples = [level_us + (i * 37 % 101) for i in range(number)]
        record.add_round(output(samples), 0)
    return record


def output(samples: list[float], **change: object) -> Output:
    found = Output(
        samples_us=samples,
        warmup_us=[6000.0],
        load_us=1000,
        compile_us=20000,
        first_us=9000,
        is_steady=True,
        peak_kb=2048,
    )
    for key, value in change.items():
        setattr(found, key, value)
    return found
