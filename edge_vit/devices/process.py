"""Run local programs so that a deadline, Ctrl-C or another thread's failure ends them."""

import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from edge_vit.devices.machine import Cancel, MachineError, end_group


def run(
    command: Sequence[str],
    *,
    cancel: Cancel,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[int, str, str]:
    """Run a program to its end; return its exit code, output and error output.

    Raises:
        MachineError: If it was interrupted.
        TimeoutError: If it ran past `timeout_s`; it is killed.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",  # a phone's, whatever this system's own is
        errors="replace",
        env=environment,
        start_new_session=True,  # a Ctrl-C in the terminal is ours to handle, clean-up included
    )
    cancel.started(process)
    late = threading.Event()

    def expire() -> None:
        late.set()
        end_group(process, at_once=True)

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    errors: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    reader = threading.Thread(target=lambda pipe: errors.append(pipe.read()), args=(process.stderr,), daemon=True)
    reader.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if on_line:
                on_line(line.rstrip("\r\n"))
        code = process.wait()
        reader.join()
    finally:
        timer.cancel()
        if process.poll() is None:
            end_group(process, at_once=True)
            process.wait()
        process.stdout.close()
        reader.join(timeout=5)
        process.stderr.close()
        cancel.ended(process)
    if late.is_set():
        raise TimeoutError(f"{command[0]} ran past {timeout_s:.0f} s")
    if cancel.is_set:
        raise MachineError("interrupted", "interrupted")
    return code, "".join(lines), "".join(errors)
