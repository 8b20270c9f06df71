#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The kernels that judge the recomputed IOMMU groups. Then every boot with the binary that ships, and a few with the default
# build; every one with that where the other cannot be built here.
set -eu
began=$(date +%s)
took() {
	echo "$1: $(($(date +%s) - began)) s"
	began=$(date +%s)
}
tests/boot/groups.sh
took 'IOMMU groups of real kernels'
tests/packages.sh
took packages
# What the README promises first, and shows: the picture is as the demo, but for versions and times.
demo=$(mktemp)
make -s demo >"$demo" || { cat "$demo" && exit 1; }
cat "$demo"
without_numbers() { sed 's/[0-9][0-9.+a-z]*/N/g'; }
packaging/picture <"$demo" | without_numbers >"$demo.svg"
without_numbers <docs/terminal.svg | diff - "$demo.svg" || { echo 'docs/terminal.svg is out of date: make picture' >&2 && exit 1; }
rm -f "$demo" "$demo.svg"
took demo
target=$(rustc -vV | sed -n 's/^host: //p')
boots() { cargo test -q --target "$target" --test boot -- "$@"; }
# Option ROMs in SeaBIOS and OVMF.
make -s firmware
took firmware
# As large as the initramfs may bear, in bytes.
small() {
	bytes=$(stat -c %s "$1")
	echo "$1: $bytes bytes, at most $2"
	[ "$bytes" -le "$2" ]
}
small "$VFIO_EARLY" 1843200
status=0
tiny=$(packaging/tiny) || status=$?
case $status in
0)
	small "$tiny" 798720
	VFIO_EARLY=$tiny boots
	boots gpu-slot twins amd
	;;
77)
	echo "NOT RUN: the boots with the tiny binary, whose toolchain is missing here"
	boots
	;;
*) exit "$status" ;;
esac
took boots
