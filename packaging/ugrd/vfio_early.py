# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packs vfio-early's configuration and drivers, and starts it first of all. See vfio_early.toml."""

from pathlib import Path
from subprocess import DEVNULL, run


def add_vfio_early(self):
    """A mistake in the configuration stops the build; what does not fit this machine may fit the one that boots."""
    for pattern in ("usr/lib/vfio-early.d/*.conf", "etc/vfio-early.conf", "etc/vfio-early.d/*.conf"):
        for file in sorted(Path("/").glob(pattern)):
            self["dependencies"] = str(file)
    if run(["vfio-early", "check", "--image"], stdin=DEVNULL).returncode == 2:
        raise ValueError("vfio-early: the configuration is broken (see above)")
    modules = run(["vfio-early", "modules", "--kernel", self["kernel_version"]], stdin=DEVNULL, capture_output=True, text=True)
    self["kernel_modules"] = modules.stdout.split()


def claim_devices(self):
    """Whatever happens here, the boot goes on."""
    return "vfio-early -q claim || true"
