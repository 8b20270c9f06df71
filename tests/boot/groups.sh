#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Boots real kernels under QEMU on machines of many shapes and lets them judge the recomputed IOMMU groups
# (tests/it/groups/kernels.rs). Without arguments the kernels are those of Debian 12 and 13, from the lab's roots; other
# kernels can be named as arguments (vmlinux or vmlinuz). Two boots at a time, four seconds each.
#
#   GROUPS_ARCH=arm64  the kernel of Debian 13 for arm64, on QEMU's board virt with an SMMUv3 (or those named); arm64-acpi: with
#                      UEFI, and so with ACPI
#   GROUPS_SEEDS=N     how many generated machines (16)
#   GROUPS_ONLY=TEXT   only machines with TEXT in their name
#   GROUPS_KEEP=DIR    keep the recorded machines
#   GROUPS_JOBS=N      how many boots at a time (2)
set -eu
here=$(dirname "$(readlink -f "$0")")
die() { echo "groups: $*" >&2; exit 1; }

"$here/lab.sh" tools
busybox=${BUSYBOX:-$(command -v busybox)} || die "busybox is missing (package busybox-static)"
base=
case ${GROUPS_ARCH:-} in arm64*)
	base=$("$here/lab.sh" root trixie-arm64)
	busybox=$base/bin/busybox
	[ $# != 0 ] || set -- "$base/boot/vmlinux"
	;;
esac

if [ $# = 0 ]; then
	for suite in bookworm trixie; do
		root=$("$here/lab.sh" root $suite)
		set -- "$@" "$root/boot/vmlinux"
	done
fi
kernels=
for kernel; do
	[ -r "$kernel" ] || die "$kernel cannot be read"
	kernels=$kernels${kernels:+:}$kernel
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/root/bin"
cp "$busybox" "$scratch/root/bin/busybox"
# A busybox that is not static brings its libraries.
{ if [ -n "$base" ]; then chroot "$base" ldd /bin/busybox; else ldd "$busybox"; fi; } 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
	mkdir -p "$scratch/root$(dirname "$library")"
	cp -L "$base$library" "$scratch/root$library"
done
ln -s busybox "$scratch/root/bin/sh"
cp "$here/groups/init" "$scratch/root/init"
chmod 755 "$scratch/root/init"
(cd "$scratch/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$scratch/initramfs"

cd "$here/../.."
GROUPS_KERNELS=$kernels GROUPS_INITRAMFS=$scratch/initramfs \
	cargo test --quiet --target "$(rustc -vV | sed -n 's/^host: //p')" --test it -- --ignored --nocapture groups::kernels::
