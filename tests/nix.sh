#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The package and the module for NixOS: their syntax, and the module's value, with nixpkgs' library alone (LIB=, or <nixpkgs>).
set -eu
cd "$(dirname "$0")/.."
command -v nix-instantiate >/dev/null || {
	echo 'NOT RUN: the module for NixOS: apt install nix-bin' >&2
	exit 0
}
nix() { nix-instantiate "$@" 2>/dev/null; }
for file in packaging/nix/*.nix; do
	nix --parse "$file" >/dev/null || {
		nix-instantiate --parse "$file" >/dev/null
	}
done
lib=${LIB:-$(nix --eval --json -E '<nixpkgs/lib>' | tr -d '"')} || lib=
[ -d "$lib" ] || {
	echo 'NOT RUN: the value of the module for NixOS: there is no <nixpkgs>, and no LIB= with its library' >&2
	exit 0
}
value=$(nix-instantiate --eval --strict --json -E "import $PWD/packaging/nix/eval.nix { lib = import $lib; }")
for part in '"start":"/nix/store/vfio-early/bin/vfio-early -q claim"' '"storePaths":["/nix/store/vfio-early/bin/vfio-early"]' \
	'"/etc/vfio-early.conf":' '"modules":["vfio-pci"]' '"fine":true' 'needs boot.initrd.systemd.enable'; do
	echo "$value" | grep -qF "$part" || {
		echo "the module for NixOS: no $part in $value" >&2
		exit 1
	}
done
