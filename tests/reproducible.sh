#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The same sources in two folders become the same bytes: the program, the packages of Debian and of rpm, the SBOM.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR OUT BINARY VFIO_EARLY MUSL
musl=$(tests/boot/lab.sh musl)
target=$(rustc -vV | sed -n 's/^host: //p')
for folder in one another/and-deeper; do
	mkdir -p "$work/$folder"
	git ls-files -z | xargs -0 cp --parents -t "$work/$folder"
	# One checkout is older than the last commit, the other one newer.
	[ "$folder" != one ] || find "$work/one" -exec touch -d 2001-01-01 {} +
	(
		cd "$work/$folder"
		make -s build CARGO_FLAGS="--quiet --locked"
		for format in deb rpm sbom; do
			status=0
			BINARY=target/$target/release/vfio-early OUT=$PWD/out packaging/package "$format" >/dev/null || status=$?
			case $status in
			0) ;;
			77) echo "NOT RUN: whether the $format is the same" >&2 ;;
			*) exit "$status" ;;
			esac
		done
		cp "target/$target/release/vfio-early" out/
		# The tiny one, which the packages have, for each architecture.
		for arch in $(printf '%s\n' "$(uname -m)" aarch64 | sort -u); do
			[ "$arch" = "$(uname -m)" ] || export MUSL="$musl"
			status=0
			tiny=$(packaging/tiny "$arch") || status=$?
			unset MUSL
			case $status in
			0) cp "$tiny" "out/tiny-$arch" ;;
			77) echo "NOT RUN: whether the tiny program for $arch is the same" >&2 ;;
			*) exit "$status" ;;
			esac
		done
	)
	# The second one is built at another time.
	sleep 2
done
for file in "$work"/one/out/*; do
	cmp "$file" "$work/another/and-deeper/out/${file##*/}"
	echo "the same twice: ${file##*/}"
done
