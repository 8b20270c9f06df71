#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Packs what takes the evidence: just around the claim, and after udev's coldplug.
# shellcheck disable=SC2154 # the variables are dracut's

check() {
    return 0
}

install() {
    inst_multiple sh cat grep ls dmesg mount umount mv sleep poweroff setsid udevadm mkdir rm kill
    inst_simple /lab/evidence
    inst_simple /lab/mark
    if dracut_module_included systemd; then
        inst_simple /etc/systemd/system/vfio-early.service.d/lab.conf
        inst_simple "$moddir/lab-evidence.service" /etc/systemd/system/lab-evidence.service
        $SYSTEMCTL -q --root "$initdir" add-wants initrd.target lab-evidence.service
    else
        inst_hook cmdline 00 "$moddir/a-lab-before.sh"
        inst_hook cmdline 00 "$moddir/z-lab-after.sh"
        inst_hook cmdline 99 "$moddir/lab-root.sh"
        inst_hook pre-mount 00 "$moddir/lab-evidence.sh"
    fi
}
