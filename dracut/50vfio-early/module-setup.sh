#!/bin/bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# dracut module: packs vfio-early, its configuration and its drivers. See dracut.modules(7).
# shellcheck disable=SC2154 # the variables are dracut's

# Into every image for which there is a configuration. Without one (it may all be on the kernel command line) into those
# that ask for it: add_dracutmodules+=" vfio-early ".
check() {
    require_binaries vfio-early modprobe || return 1
    vfio_early_files >/dev/null && return 0
    return 255
}

depends() {
    return 0
}

# The configuration's files. A link to /dev/null is one of them: it hides a file of the same name. Fails without any.
vfio_early_files() {
    local file found=1
    for file in "$dracutsysrootdir"/usr/lib/vfio-early.d/*.conf \
        "$dracutsysrootdir"/etc/vfio-early.conf \
        "$dracutsysrootdir"/etc/vfio-early.d/*.conf; do
        [[ -e $file || -L $file ]] || continue
        printf '%s\n' "${file#"$dracutsysrootdir"}"
        found=0
    done
    return "$found"
}

# The program of this machine, for the files below another root too.
vfio_early() {
    vfio-early --root "${dracutsysrootdir:-/}" "$@" </dev/null
}

# dracut does not heed what install() returns.
vfio_early_fail() {
    dfatal "vfio-early: $*"
    exit 1
}

installkernel() {
    local modules
    # A broken configuration has no modules; install() says so.
    modules=$(vfio_early modules --kernel "$kernel" 2>/dev/null)
    [[ $modules ]] || modules=vfio-pci
    # With the modules that they need, by modules.dep. They count for no hardware that dracut could find on this machine.
    # shellcheck disable=SC2086 # a name on each line
    hostonly='' instmods $modules
}

install() {
    local files file status=0
    inst_multiple vfio-early modprobe
    # No process substitution: without /proc or /dev/fd, as in a bare chroot, it reads nothing, and nobody is told.
    files=$(vfio_early_files)
    while read -r file; do
        [[ $file ]] || continue
        if [[ -L $dracutsysrootdir$file && $(readlink "$dracutsysrootdir$file") == /dev/null ]]; then
            inst_dir "${file%/*}"
            ln -sf /dev/null "$initdir$file"
        else
            # inst_simple looks for a file on this machine, and does without where it is below --sysroot alone.
            inst "$file" || vfio_early_fail "cannot copy $file into the image"
        fi
    done <<<"$files"
    # For devices that appear while the image runs.
    inst_rules 60-vfio-early.rules

    # In both kinds of image before the first driver that dracut loads: without systemd, rd.driver.pre= and force_drivers
    # are loaded by the hook cmdline/01.
    if dracut_module_included systemd; then
        inst "$systemdsystemunitdir/vfio-early.service" || vfio_early_fail "cannot copy its unit into the image"
        $SYSTEMCTL -q --root "$initdir" add-wants sysinit.target vfio-early.service
    else
        inst_hook cmdline 00 "$moddir/vfio-early.sh"
    fi

    # A mistake in the configuration stops the build and not the boot. Anything else may be right on the machine that
    # boots the image, so it is only said.
    vfio_early check --image >&2 || status=$?
    case $status in
        0) ;;
        126 | 127) dwarn "vfio-early: it does not run on this machine, so the configuration is not checked" ;;
        2) vfio_early_fail "the configuration is broken (see above), so no image is made" ;;
        *) dwarn "vfio-early: the configuration does not fit this machine (see above)" ;;
    esac
}
