"""Our files for GPUs on LiteRT's GPU engine (ML Drift), which LiteRT.js runs on WebGPU in a browser without a screen.

    npm install --prefix DIR @litertjs/core@2.5.3
    python benchmarks/webgpu.py --litertjs DIR [--models levit_128s ...] [--artifacts DIR] [--check]

Files are written by edge_vit.convert --processor gpu --fp16. For each: whether the engine takes it whole, and how its
logits agree with those of LiteRT on the CPU on drawn pictures. No GPU is needed: SwiftShader computes on the CPU, in
the half precision that the engine asks for. With --check the exit code is 1 when a file does not run wholly on the GPU,
or has less than 25 dB.
"""

import argparse
import http.server
import json
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
from vela import EMBEDDED, MODELS, make

MIN_DB = 25.0
NUM_PICTURES = 8
PAGE = """<!doctype html><meta charset=utf-8>
<script type="importmap">{"imports": {"@litertjs/core": "/npm/@litertjs/core/dist/index.js",
"@litertjs/wasm-utils": "/npm/@litertjs/wasm-utils/dist/index.js"}}</script>
<script type=module>
const tell = (kind, value) => fetch('/' + kind, {method: 'POST', body: JSON.stringify(value)});
try {
  const litert = await import('@litertjs/core');
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) throw new Error('this browser has no WebGPU');
  await litert.loadLiteRt('/npm/@litertjs/core/wasm/', {jspi: true});
  const {files, count} = await (await fetch('/task')).json();
  for (const {name, shape} of files) {
    try {
      const model = await litert.loadAndCompile('/file/' + name, {accelerator: 'webgpu'});
      const pixels = new Uint8Array(await (await fetch('/pixels/' + name)).arrayBuffer());
      const size = pixels.length / count, rows = [];
      for (let i = 0; i < count; i++) {
        const input = new litert.Tensor(pixels.slice(i * size, (i + 1) * size), shape);
        const [output] = await model.run([input]);
        const here = output.accelerator === 'webgpu' ? await output.moveTo('wasm') : output;
        rows.push(Array.from(here.toTypedArray()));
        here.delete();
      }
      await tell('result', {name, whole: model.isFullyAccelerated, rows});
      model.delete();
    } catch (e) { await tell('result', {name, error: String(e.message || e)}); }
  }
} catch (e) { await tell('result', {error: String(e.stack || e)}); }
await tell('end', {});
</script>"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litertjs", type=Path, required=True, help="where npm installed @litertjs/core")
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"), help="made there when missing")
    parser.add_argument("--browser", default="chromium", help="Chromium or Chrome (%(default)s)")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for all files (%(default)g)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a file is not taken whole or differs")
    parser.add_argument("--json", action="store_true")
    return parser


def pictures(path: Path) -> np.ndarray:
    """Draw pictures as a file's manifest prepares them, uint8 (N, H, W, 3)."""
    from PIL import ImageEnhance

    from calibration.preprocess import Preprocess, resize_and_crop
    from converters.manifest import load_for
    from edge_vit.evaluation.drawing import SUBJECTS, draw

    preprocess = Preprocess(**load_for(path).input.preprocess_fields())
    drawn = [ImageEnhance.Brightness(draw(SUBJECTS[i % 2])).enhance(0.7 + 0.1 * i) for i in range(NUM_PICTURES)]
    return np.stack([resize_and_crop(picture, preprocess) for picture in drawn])


def run_in_browser(args: argparse.Namespace, pixels: dict[Path, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Serve page, package and files on this machine, and collect what the page tells, by file name."""
    by_name = {path.name: path for path in pixels}
    told: dict[str, dict[str, Any]] = {}
    ended = threading.Event()

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
            ".wasm": "application/wasm",
            ".js": "text/javascript",
        }

        def do_GET(self) -> None:
            kind, _, rest = self.path.lstrip("/").partition("/")
            if kind == "npm":
                return super().do_GET()
            if kind == "":
                return self._give(PAGE.encode(), "text/html")
            if kind == "task":
                files = [{"name": path.name, "shape": [1, *images.shape[1:]]} for path, images in pixels.items()]
                return self._give(json.dumps({"files": files, "count": NUM_PICTURES}).encode(), "application/json")
            if rest not in by_name:
                return self.send_error(404)
            path = by_name[rest]
            content = path.read_bytes() if kind == "file" else pixels[path].tobytes()
            return self._give(content, "application/octet-stream")

        def do_POST(self) -> None:
            value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._give(b"", "text/plain")
            if self.path == "/end":
                ended.set()
            else:
                told[value.pop("name", "")] = value

        def translate_path(self, path: str) -> str:
            return str(args.litertjs / "node_modules" / path.split("?")[0].removeprefix("/npm/"))

        def _give(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    profile = tempfile.mkdtemp()
    words = [
        args.browser, "--headless=new", "--no-sandbox", f"--user-data-dir={profile}", "--enable-unsafe-webgpu",
        "--enable-features=Vulkan,WebGPU", "--use-webgpu-adapter=swiftshader", "--ignore-gpu-blocklist",
        "--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/",
    ]  # fmt: skip
    browser = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ended.wait(args.timeout)
    finally:
        browser.terminate()
        browser.wait()
        server.shutdown()
        shutil.rmtree(profile, ignore_errors=True)
    return told


def main() -> int:
    from converters.artefact import open_artefact
    from converters.sqnr import sqnr_db

    args = build_parser().parse_args()
    paths = [make(model, "fp16", "gpu", args.artifacts) for model in args.models]
    pixels = {path: pictures(path) for path in paths}
    told = run_in_browser(args, pixels)
    if "" in told:
        raise SystemExit(f"error: {told['']['error'].splitlines()[0]}")
    rows, failed = [], False
    for path, images in pixels.items():
        answer = told.get(path.name, {"error": f"no answer within {args.timeout:g} s"})
        row: dict[str, Any] = {"file": path.name, "weights": "embedded" if path.name.startswith(EMBEDDED) else "random"}
        if "error" in answer:
            row["error"] = answer["error"].splitlines()[0][:300]
        else:
            expected, given = open_artefact(path).run(images), np.array(answer["rows"], np.float32)
            row |= {
                "whole": answer["whole"],
                "same_top1": float((expected.argmax(1) == given.argmax(1)).mean()),
                "db": sqnr_db(expected, given),
            }
        failed |= not row.get("whole") or not row["db"] >= MIN_DB
        rows.append(row)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print("| file | weights | wholly on the GPU | same top-1 as LiteRT's CPU | dB |\n|---|---|---|---:|---:|")
        for row in rows:
            shown = row.get("error") or f"{'yes' if row['whole'] else 'no'} | {row['same_top1']:.0%} | {row['db']:.1f}"
            print(f"| {row['file']} | {row['weights']} | {shown} |")
    return 1 if args.check and failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
