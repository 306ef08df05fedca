"""Packages that a golden tool needs in an environment of its own, in the versions of its requirements file."""

import importlib.metadata
import pathlib
import re


def check_versions(requirements):
    """{package: version} of tools/golden/REQUIREMENTS; stops unless those are the ones installed."""
    text = (pathlib.Path(__file__).resolve().parent / requirements).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.M))
    for name, version in pinned.items():
        found = importlib.metadata.version(name)
        if found != version:
            raise SystemExit(f"{name}: expected {version}, found {found}")
    return pinned
