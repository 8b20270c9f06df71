#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# After udev's coldplug: every driver that wants a device has had its chance.
getarg root=LABEL=lab >/dev/null || { udevadm settle; sh /lab/evidence initramfs; }
