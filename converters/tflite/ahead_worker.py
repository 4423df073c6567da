"""Compile a .tflite ahead of time with LiteRT's own plugins. A program of its own: its libraries' paths are settings.

    python ahead_worker.py SDK_FOLDER FILE.tflite OUTPUT_FOLDER PACK_FOLDER|- VENDOR:CHIP ...

Prints JSON at the end: what was compiled, how much of it the NPU takes, and what failed. SDK_FOLDER is "-" where the
vendor's SDK package is installed.
"""

import importlib
import json
import os
import pathlib
import sys
import types


def main() -> None:
    sdk, source, output, pack, *wanted = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the libraries print
    if sdk != "-":
        module = types.ModuleType("ai_edge_litert_sdk_qualcomm")
        module.path_to_sdk_libs = lambda: pathlib.Path(sdk)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module

    from ai_edge_litert.aot import aot_compile

    targets = []
    for one in wanted:
        vendor, chip = one.split(":")
        known = importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.target")
        targets.append(known.Target(known.SocModel(chip)))
    if pack != "-":  # what phones with another chip get
        from ai_edge_litert.aot.vendors.fallback_backend import FallbackTarget

        targets.append(FallbackTarget())
    result = aot_compile.aot_compile(source, target=targets, keep_going=True, output_dir=output)
    compiled = []
    for backend, model in result.models_with_backend:
        if model.partition_stats is None:  # the fallback
            continue
        stats = [[int(s.num_ops_offloaded), int(s.num_total_ops), int(s.num_partitions_offloaded)]
                 for s in model.partition_stats.subgraph_stats]  # fmt: skip
        compiled.append({"target": str(backend.target_id), "path": str(model.path), "stats": stats})
    failed = [[str(backend.target_id), str(reason)] for backend, reason in result.failed_backends]
    if pack != "-" and not failed:
        from ai_edge_litert.aot.ai_pack import export_lib

        result.load()
        export_lib.export(result, pack, pathlib.Path(pack).name, pathlib.Path(source).stem)
    print(json.dumps({"compiled": compiled, "failed": failed}), file=answers, flush=True)


if __name__ == "__main__":
    main()
