# SPDX-License-Identifier: MIT OR Apache-2.0
"""Packs vfio-early's configuration and drivers, and starts it first of all. See vfio_early.toml."""

from pathlib import Path
from subprocess import DEVNULL, PIPE, run


def add_vfio_early(self):
    """A mistake in the configuration stops the build; what does not fit this machine may fit the one that boots."""
    for pattern in ("usr/lib/vfio-early.d/*.conf", "etc/vfio-early.conf", "etc/vfio-early.d/*.conf"):
        for file in sorted(Path("/").glob(pattern)):
            self["dependencies"] = str(file)
    if run(["vfio-early", "check", "--image"], stdin=DEVNULL).returncode == 2:
        raise ValueError("vfio-early: the configuration is broken (see above)")
    modules = run(["vfio-early", "modules", "--kernel", self["kernel_version"]], stdin=DEVNULL, stdout=PIPE, text=True)
    # What modprobe finds them by, which ugrd leaves out if it loads no module itself.
    for file in sorted(Path("/lib/modules", self["kernel_version"]).glob("modules.*")):
        self["dependencies"] = str(file)
    for module in modules.stdout.split():
        # Files instead of kernel_modules: ugrd 2.2 takes the softdep of vfio, which names two modules, for one, and leaves out
        # whatever needs it.
        command = ["modprobe", "--set-version", self["kernel_version"], "--show-depends", module]
        for line in run(command, stdin=DEVNULL, stdout=PIPE, text=True).stdout.splitlines():
            if line.startswith("insmod "):
                self["dependencies"] = line.split()[1]


def claim_devices(self):
    """Whatever happens here, the boot goes on."""
    return "vfio-early -q claim || true"
