"""Run an .onnx file in Qualcomm's simulator of its NPU (Hexagon). A program of its own: it runs in another environment.

    python hexagon_worker.py FILE.onnx CHIP

Compiles the file, then answers on standard output, each message a letter, eight bytes of length and the content: first
"J", where each operator runs, as JSON; then, for every array on standard input (eight bytes of length, .npy), "A" and
the output as .npy. "E" and a text is the end.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the libraries print

    def answer(kind: bytes, content: bytes) -> None:
        answers.write(kind + len(content).to_bytes(8, "little") + content)
        answers.flush()

    try:
        session, placement = compile_file(sys.argv[1], sys.argv[2])
        answer(b"J", json.dumps(placement).encode())
        serve(session, answer)
    except Exception as e:  # whatever it is, the other side must know
        answer(b"E", (str(e) or type(e).__name__).encode())


def compile_file(path: str, chip: str) -> tuple[Any, dict[str, Any]]:
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    ort.register_execution_provider_library("QNN", qnn.get_library_path())
    devices = [device for device in ort.get_ep_devices() if device.ep_name == "QNN"][:1]
    if not devices:
        raise RuntimeError("Qualcomm's libraries are installed but give no device")
    backend = {
        "backend_path": qnn.get_qnn_htp_path(),
        "htp_graph_finalization_optimization_mode": "3",
        "soc_model": chip,
    }
    options.add_provider_for_devices(devices, backend)
    started = time.perf_counter()
    session = ort.InferenceSession(path, options)
    seconds = time.perf_counter() - started
    groups = session.get_provider_graph_assignment_info()
    on_npu: dict[str, int] = {}
    on_cpu: list[str] = []
    for group in groups:
        for node in group.get_nodes():
            if group.ep_name == "QNN":
                on_npu[node.op_type] = on_npu.get(node.op_type, 0) + 1
            else:
                on_cpu.append(f"{node.op_type} {node.name}")
    partitions = sum(group.ep_name == "QNN" for group in groups)
    return session, {"partitions": partitions, "on_npu": on_npu, "on_cpu": on_cpu, "seconds": seconds}


def serve(session: Any, answer: Callable[[bytes, bytes], None]) -> None:
    import numpy as np

    name = session.get_inputs()[0].name
    while len(length := sys.stdin.buffer.read(8)) == 8:
        content = sys.stdin.buffer.read(int.from_bytes(length, "little"))
        (output,) = session.run(None, {name: np.load(io.BytesIO(content), allow_pickle=False)})
        written = io.BytesIO()
        np.save(written, output)
        answer(b"A", written.getvalue())


if __name__ == "__main__":
    main()
