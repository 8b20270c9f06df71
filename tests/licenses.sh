#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Every source file names its license in its first lines.
set -eu
cd "$(dirname "$0")/.."
missing=$(git ls-files -- '*.rs' '*.sh' '*.toml' Makefile .ci packaging udev systemd initramfs-tools dracut mkinitcpio man completions |
	while read -r file; do
		case $file in
		# Files whose format has no comments, or whose license is in another of them.
		packaging/debian/[cuwR]* | packaging/debian/*/[cfm]* | packaging/debian/vfio-early.* | packaging/vfio-early.conf | Cargo.toml) continue ;;
		esac
		head -n 4 "$file" | grep -q 'SPDX-License-Identifier: MIT OR Apache-2.0' || echo "$file"
	done)
[ -z "$missing" ] || {
	printf 'no SPDX line: %s\n' "$missing" >&2
	exit 1
}
# Debian's copyright file knows the crates of `make dist`, each by its version.
missing=$(sed -n 's/^\(name\|version\) = "\(.*\)"/\2/p' Cargo.lock | paste -d - - - |
	grep -v '^vfio-early-' | while read -r crate; do
	grep -qxF "Files: vendor/$crate/*" packaging/debian/copyright || echo "$crate"
done)
[ -z "$missing" ] || {
	printf 'packaging/debian/copyright lacks %s: run packaging/debian/update-copyright\n' "$missing" >&2
	exit 1
}
