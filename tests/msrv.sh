#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Compiles the program and its tests with the oldest compiler that Cargo.toml promises (rust-version): language, standard
# library and dependencies. The fuzz targets are left out, which need a nightly compiler anyway.
#
# The compiler is Debian's: the one in /usr/bin where that is old enough, else the packages of that version, unpacked once
# into the cache folder. What builds is this machine's cargo.
set -eu
cd "$(dirname "$0")/.."
msrv=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
root=${XDG_CACHE_HOME:-$HOME/.cache}/vfio-early/rustc-$msrv

is_msrv() { "$@" -V 2>/dev/null | grep -q "^rustc $msrv\."; }

# get PACKAGE VERSION STANDARD_LIBRARY: unpacks a compiler, its standard library and the LLVM that it is linked to.
get() {
	rm -rf "$root.new" && mkdir -p "$root.new" && (
		cd "$root.new"
		apt-get download -q "$1=$2" "$3-dev=$2" "$3-$msrv=$2"
		llvm=$(dpkg-deb -f "$3-$msrv"_*.deb Depends | tr -s ', ' '\n' | grep '^libllvm')
		apt-get download -q "$llvm"
		for package in *.deb; do dpkg-deb -x "$package" .; done
		rm -f -- *.deb
	) >&2 && rm -rf "$root" && mv "$root.new" "$root"
}

if is_msrv /usr/bin/rustc; then
	RUSTC=/usr/bin/rustc
else
	RUSTC=$root/usr/bin/rustc
	LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu)
	if ! [ -x "$RUSTC" ]; then
		# Debian 13 has it as rustc, Debian 12 as rustc-web, where a newer one may be the candidate.
		for name in rustc rustc-web; do
			version=$(apt-cache madison "$name" 2>/dev/null | sed -n "s/^[^|]*| *\($msrv\.[^ ]*\).*/\1/p" | head -n 1)
			[ -z "$version" ] || {
				get "$name" "$version" "libstd-rust${name#rustc}" && break
			}
		done
		LD_LIBRARY_PATH=$(echo "$root"/usr/lib/*-linux-gnu)
	fi
	export LD_LIBRARY_PATH
	is_msrv "$RUSTC" || {
		echo "NOT RUN: rust-version = \"$msrv\": apt gives no such compiler here" >&2
		exit 0
	}
fi
export RUSTC
# As somebody without the Makefile.
unset CARGO_ENCODED_RUSTFLAGS
exec cargo check -q --all-targets --target-dir target/msrv
