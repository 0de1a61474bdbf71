"""What is installed here, and which backend to run on; finds out without importing any of it."""

import json
import os
import platform
from importlib.util import find_spec
from pathlib import Path

BACKENDS = ("tensorflow", "jax", "torch")

# Import name -> package. TensorFlow is here because it writes the release, whatever backend trains.
_QUICKSTART = {
    "fastapi": "fastapi",
    "matplotlib": "matplotlib",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "PIL": "pillow",
    "prometheus_client": "prometheus-client",
    "py_phosphor_icons": "py-phosphor-icons",
    "resvg_py": "resvg-py",
    "rich": "rich",
    "tensorflow": "tensorflow",
    "tf2onnx": "tf2onnx",
    "typer": "typer",
    "uvicorn": "uvicorn",
}

_PACKAGES = (
    "scbch_keras",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "onnxruntime",
    "tf2onnx",
    "faiss-cpu",
)
_DATA_PACKAGES = ("py-phosphor-icons", "resvg-py")


class BackendError(Exception):
    """No backend can be used; the message says what to do."""


def missing_packages() -> list[str]:
    """Packages that the quickstart needs and that are not installed."""
    return [package for name, package in _QUICKSTART.items() if find_spec(name) is None]


def choose_backend(requested: str | None = None) -> str:
    """The Keras backend to run on.

    In this order: `requested`; the environment's KERAS_BACKEND; the one in Keras' configuration file, if it is
    installed; the first installed of tensorflow, jax, torch.

    Raises:
        BackendError: the one that was asked for is unknown or not installed, or there is none.
    """
    for source, name in (
        ("--backend", requested),
        ("KERAS_BACKEND", os.environ.get("KERAS_BACKEND") or None),
    ):
        if name is None:
            continue
        if name not in BACKENDS:
            raise BackendError(f"{source}: expected one of {', '.join(BACKENDS)}, got {name!r}")
        if find_spec(name) is None:
            raise BackendError(f"{source}: {name} is not installed: pip install 'scbch_keras[{name}]'")
        return name
    for name in (_configured_backend(), *BACKENDS):
        if name in BACKENDS and find_spec(name) is not None:
            return name
    extras = " or ".join(f"'scbch_keras[{name}]'" for name in BACKENDS)
    raise BackendError(f"no backend is installed: pip install {extras}")


def _configured_backend() -> str | None:
    """The backend in Keras' configuration file, where there is one that can be read."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    try:
        configured = json.loads(Path(home, "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return configured if isinstance(configured, str) else None


def peak_memory() -> int | None:
    """The most bytes that this process has had in memory; None on Windows, which does not tell it so."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(kilobytes) * (1 if platform.system() == "Darwin" else 1024)


def versions(backend: str) -> dict[str, str]:
    """Versions of Python and of the installed packages that a result on `backend` depends on."""
    from importlib import metadata  # slow to import, and most commands do without

    installed = {"python": platform.python_version()}
    for name in (*_PACKAGES, *_DATA_PACKAGES):
        if name in ("tensorflow", "jax", "torch") and name not in (backend, "tensorflow"):
            continue
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
