"""Our files for GPUs on LiteRT's GPU engine (ML Drift), which LiteRT.js runs on WebGPU in a browser without a screen.

    npm install --prefix DIR @litertjs/core@2.5.3
    python benchmarks/webgpu.py --litertjs DIR [--models levit_128s ...] [--artifacts DIR] [--check]

Files are written by edge_vit.convert --processor gpu --fp16. For each: whether the engine takes it whole, and how its
logits agree with those of LiteRT on the CPU on drawn pictures, computed in half and in single precision. No GPU is
needed: SwiftShader computes on the CPU, but has no half precision (without which the engine's own shaders for 3x3
convolutions do not even compile: it gives zeros, and no error). Rows are kept in webgpu.jsonl beside the files as they
come, and a run that was cut off goes on with them. With --check the exit code is 1 when a file does not run wholly on
the GPU, or has less than 60 dB in single precision.
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

MIN_DB = 60.0
NUM_PICTURES = 8
PRECISIONS = ("fp16", "fp32")
HEAD = (
    "| file | weights | wholly on the GPU | half precision: same top-1 as LiteRT's CPU, dB | single |\n"
    "|---|---|---|---:|---:|"
)
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
  const {name, shape, count} = await (await fetch('/task')).json();
  for (const precision of ['fp16', 'fp32']) {
    try {
      if (precision === 'fp16' && !adapter.features.has('shader-f16'))
        throw new Error('this GPU has no half precision');
      const model = await litert.loadAndCompile('/file/' + name, {accelerator: 'webgpu', gpuOptions: {precision}});
      const pixels = new Uint8Array(await (await fetch('/pixels/' + name)).arrayBuffer());
      const size = pixels.length / count, rows = [];
      for (let i = 0; i < count; i++) {
        const input = new litert.Tensor(pixels.slice(i * size, (i + 1) * size), shape);
        const [output] = await model.run([input]);
        const here = output.accelerator === 'webgpu' ? await output.moveTo('wasm') : output;
        rows.push(Array.from(here.toTypedArray()));
        here.delete();
      }
      await tell('result', {precision, whole: model.isFullyAccelerated, rows});
      model.delete();
    } catch (e) { await tell('result', {precision, error: String(e.message || e)}); }
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
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="for a file (%(default)g)")
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


def run_in_browser(args: argparse.Namespace, path: Path, images: np.ndarray) -> dict[str, dict[str, Any]]:
    """Serve page, package and file on this machine, and collect what the page tells, by precision."""
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
                task = {"name": path.name, "shape": [1, *images.shape[1:]], "count": len(images)}
                return self._give(json.dumps(task).encode(), "application/json")
            if rest != path.name:
                return self.send_error(404)
            return self._give(path.read_bytes() if kind == "file" else images.tobytes(), "application/octet-stream")

        def do_POST(self) -> None:
            value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._give(b"", "text/plain")
            if self.path == "/end":
                ended.set()
            else:
                told[value.pop("precision", "")] = value

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


def measure(args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Return a file's row.

    Raises:
        RuntimeError: If the browser has no WebGPU.
    """
    from converters.artefact import open_artefact
    from converters.sqnr import sqnr_db

    images = pictures(path)
    expected, told = open_artefact(path).run(images), run_in_browser(args, path, images)
    if "" in told:
        raise RuntimeError(told[""]["error"].splitlines()[0])
    row: dict[str, Any] = {"file": path.name, "weights": "embedded" if path.name.startswith(EMBEDDED) else "random"}
    for precision in PRECISIONS:
        answer = told.get(precision, {"error": f"no answer within {args.timeout:g} s"})
        if "error" in answer:
            row[precision] = {"error": answer["error"].splitlines()[0][:300]}
            continue
        given = np.array(answer["rows"], np.float32)
        same = float((expected.argmax(1) == given.argmax(1)).mean())
        row[precision] = {"whole": answer["whole"], "same_top1": same, "db": sqnr_db(expected, given)}
    return row


def line(row: dict[str, Any]) -> str:
    found = [row[precision] for precision in PRECISIONS]
    shown = [one.get("error") or f"{one['same_top1']:.0%}, {one['db']:.1f}" for one in found]
    is_whole = row["fp32"].get("whole")
    return f"| {row['file']} | {row['weights']} | {'yes' if is_whole else 'no'} | {' | '.join(shown)} |"


def is_good(row: dict[str, Any]) -> bool:
    return bool(row["fp32"].get("whole")) and row["fp32"]["db"] >= MIN_DB


def main() -> int:
    from converters.manifest import load_for

    args = build_parser().parse_args()
    kept = args.artifacts / "webgpu.jsonl"
    done = [json.loads(text) for text in kept.read_text().splitlines()] if kept.exists() else []
    known = {row["sha256"]: row for row in done}
    rows = []
    if not args.json:
        print(HEAD)
    for model in args.models:
        path = make(model, "fp16", "gpu", args.artifacts)
        digest = load_for(path).file.sha256
        if digest not in known:
            known[digest] = measure(args, path) | {"sha256": digest}
            with kept.open("a") as file:
                print(json.dumps(known[digest]), file=file)
        rows.append(known[digest])
        if not args.json:
            print(line(rows[-1]), flush=True)
    if args.json:
        print(json.dumps(rows, indent=2))
    return 0 if not args.check or all(map(is_good, rows)) else 1


if __name__ == "__main__":
    raise SystemExit(main())
