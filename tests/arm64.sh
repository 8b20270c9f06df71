#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the program for arm64 on another machine, and runs the unit tests and those of recorded machines under qemu-user. Ends
# with 77 where that cannot be.
set -eu
cd "$(dirname "$0")/.."
tests/boot/lab.sh binfmt
# As large as the initramfs may bear, in bytes.
small() {
	bytes=$(stat -c %s "$1")
	echo "$1: $bytes bytes, at most $2"
	[ "$bytes" -le "$2" ]
}
packaging/cross aarch64 build --release --quiet
small "${CARGO_TARGET_DIR:-target}/cross/aarch64-unknown-linux-gnu/release/vfio-early" 1843200
tiny=$(MUSL=$(tests/boot/lab.sh musl) packaging/tiny aarch64)
small "$tiny" 798720
"$tiny" --root tests/machines/arm-server.txt status | grep 'enabled (Arm SMMU'
export VFIO_EARLY_EMULATED=1
packaging/cross aarch64 test --quiet --lib
packaging/cross aarch64 test --quiet --test it -- config:: corpora:: golden:: groups:: json:: machines:: proposals:: rom:: \
	--skip a_flood_is_cut_short --skip a_machine_in_a_directory
echo 'NOT RUN under qemu-user: the tests of the host (processes, time limits, devices, directories), of snapshots and of status for fleets, of shells and of the simulated machine'
