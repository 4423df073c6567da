"""A page that runs converted files in the browser, served from this machine to this machine alone."""

import base64
import hashlib
import http.server
import io
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.cache import cache_folder
from converters.manifest import Manifest, load_for
from edge_vit.findings.gather import check, gather
from edge_vit.findings.request import ReportRequest

HOST = "127.0.0.1"
SAMPLE = "golf ball"
_FOLDER = Path(__file__).parents[1] / "reports" / "templates" / "try"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".json": "application/json",
    ".png": "image/png", ".wasm": "application/wasm", ".tflite": "application/octet-stream",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """A package of the npm registry, by name, version and digest."""

    name: str
    version: str
    integrity: str


# LiteRT.js, Apache-2.0; https://www.npmjs.com/package/@litertjs/core
LITERT_JS = (
    NpmPackage(
        name="@litertjs/core", version="2.5.3",
        integrity="sha512-PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    ),
    NpmPackage(
        name="@litertjs/wasm-utils", version="2.5.3",
        integrity="sha512-4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    ),
)  # fmt: skip
_IMPORTS = {
    "@litertjs/core": "./litert/core/dist/index.js",
    "@litertjs/wasm-utils": "./litert/wasm-utils/dist/index.js",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is served: paths below the token, each with its bytes or the file that holds them.

    Attributes:
        policy: The page's Content-Security-Policy.
    """

    pages: Mapping[str, bytes | Path]
    policy: str


def make_site(request: ReportRequest, report: Callable[[Any], str], cache_dir: Path | None = None) -> Site:
    """Bring together everything that the page needs.

    Args:
        report: Makes the page of a report of what was gathered.

    Raises:
        ValueError: If an artefact is no classifier in a .tflite file, they differ in their classes, or LiteRT.js cannot
            be fetched; the message says what to do.
        ImportError: If a library is missing; the message names the extra.
    """
    manifests = tuple(load_for(path) for path in request.artefacts)
    _check(request, manifests)
    checked = check(request)
    libraries = {package.name.rpartition("/")[2]: fetch_npm(package, cache_dir) for package in LITERT_JS}
    findings = gather(checked, lambda name, done, total: None)
    imports = json.dumps({"imports": _IMPORTS}, separators=(",", ":"))
    pages: dict[str, bytes | Path] = {
        "": _page(manifests, imports).encode(),
        "report.html": report(findings).encode(),
        "config.json": json.dumps(_config(request, manifests), allow_nan=False).encode(),
        "sample.png": _sample(),
        **{name: _FOLDER / name for name in ("try.js", "try.css", "pixels.js")},
        **{f"models/{i}.tflite": path for i, path in enumerate(request.artefacts)},
    }
    for name, folder in libraries.items():
        for path in folder.rglob("*"):
            if path.suffix in (".js", ".wasm"):
                pages[f"litert/{name}/{path.relative_to(folder).as_posix()}"] = path
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Site(pages=pages, policy=policy)


class Server(http.server.ThreadingHTTPServer):
    """Serves a site on the loopback interface, under a path that nobody can guess.

    Args:
        port: 0 for any that is free.

    Raises:
        ValueError: If the port is taken or not allowed.
    """

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site, self.token = site, secrets.token_urlsafe(18)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as e:
            raise ValueError(f"port {port} cannot be served ({e}); choose another with --port, or leave it out") from e

    @property
    def address(self) -> str:
        """Where the page is, token and all."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "edge_vit", ""

    def do_GET(self) -> None:
        """Answer with a page of the site; with 404 to whoever does not know the token, or is another site's script."""
        found = None
        hosts = [f"{name}:{self.server.server_port}" for name in (HOST, "localhost")]
        token, slash, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        if (
            slash
            and self.headers.get("Host") in hosts
            and secrets.compare_digest(token.encode(), self.server.token.encode())
        ):
            found = self.server.site.pages.get(name)
        if found is None:
            self.send_error(404)
            return
        body = found if isinstance(found, bytes) else found.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", _TYPES[Path(name or "index.html").suffix])
        self.send_header("Content-Length", str(len(body)))
        # A report brings its own policy, in the page.
        policy = "" if name == "report.html" else self.server.site.policy
        for header, value in (
            ("Content-Security-Policy", policy), ("Cache-Control", "no-store"), ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Embedder-Policy", "require-corp"), ("Cross-Origin-Resource-Policy", "same-origin"),
        ):  # fmt: skip
            if value:
                self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the token stands in every path."""


def fetch_npm(package: NpmPackage, cache_dir: Path | None = None) -> Path:
    """Return the folder of an unpacked npm package, fetched with npm on first use and checked against its digest.

    Raises:
        ValueError: If npm is not there, the registry cannot be reached, or what came is another package.
    """
    import tarfile
    import tempfile

    from edge_vit.devices.packages import call, once

    def fill(part: Path) -> None:
        wanted = f"{package.name}@{package.version}"
        with tempfile.TemporaryDirectory(prefix="edge_vit-npm-") as scratch:
            what = f"the npm package {wanted} (install Node.js, which brings npm)"
            call(["npm", "pack", wanted, "--silent", "--pack-destination", scratch], what)
            (archive,) = Path(scratch).glob("*.tgz")
            data = archive.read_bytes()
            found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
            if found != package.integrity:
                raise ValueError(f"{wanted} is not the file that was tested ({found}); it is not used")
            with tarfile.open(fileobj=io.BytesIO(data)) as packed:
                packed.extractall(part, filter="data")

    name = package.name.replace("/", "-").removeprefix("@")
    return once(cache_folder(cache_dir) / f"npm-{name}-{package.version}", fill) / "package"


def _check(request: ReportRequest, manifests: tuple[Manifest, ...]) -> None:
    for path, manifest in zip(request.artefacts, manifests, strict=True):
        if manifest.target != "tflite":
            raise ValueError(f"{path}: LiteRT.js runs .tflite alone; convert with --target tflite")
        if manifest.features:
            raise ValueError(f"{path}: gives feature maps, no classes; convert without --features")
        if manifest.input.shape[0] != 1:
            raise ValueError(f"{path}: takes {manifest.input.shape[0]} pictures at once; convert without --batch")
        if manifest.classes != manifests[0].classes:
            raise ValueError(f"{path}: has other classes than {request.artefacts[0]}; serve them one at a time")
    if len(manifests) > 2:
        raise ValueError(f"{len(manifests)} files; the page shows two side by side at most")


def _config(request: ReportRequest, manifests: tuple[Manifest, ...]) -> dict[str, Any]:
    from calibration.preprocess import Preprocess

    models = []
    for i, (path, manifest) in enumerate(zip(request.artefacts, manifests, strict=True)):
        info = manifest.input
        models.append(
            {
                "name": path.name,
                "address": f"models/{i}.tflite",
                "precision": manifest.precision,
                "num_bytes": manifest.file.num_bytes,
                "output": {"kind": manifest.output.kind},
                "input": {
                    "shape": info.shape, "dtype": info.dtype, "layout": info.layout, "height": info.height,
                    "width": info.width, "value_range": info.value_range, "interpolation": info.interpolation,
                    "normalization": info.normalization, "mean": info.mean, "std": info.std,
                    "box": Preprocess(**info.preprocess_fields()).box,
                },
            }
        )  # fmt: skip
    return {"classes": [{"name": label.name} for label in manifests[0].classes], "models": models}


def _page(manifests: tuple[Manifest, ...], imports: str) -> str:
    from edge_vit.reports.page import render_try

    return render_try(" and ".join(manifest.file.name for manifest in manifests), imports)


def _sample() -> bytes:
    from edge_vit.evaluation.drawing import draw

    stream = io.BytesIO()
    draw(SAMPLE).save(stream, "PNG")
    return stream.getvalue()
