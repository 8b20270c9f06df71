#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Prepares what the boots need, all of it in a cache folder outside the checkout. Each result is built under a temporary
# name and renamed, so it is complete or not there. Standard output is the answer; everything else goes to standard error.
#
#   lab.sh tools                     installs what is missing on this machine (as root), or says what and how
#   lab.sh root SUITE                a Debian root with kernel and initramfs generators; prints its path
#   lab.sh image ROOT TREE...        the initramfs that the root's own mkinitramfs makes of the root with the trees
#                                    laid over it; prints its path. WITHOUT="MODULE..." takes modules away from it first.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/vfio-early

say() { printf '%s\n' "$*" >&2; }
die() { say "lab: $*"; exit 1; }

# Removes what a failed or interrupted step leaves behind.
scratch=
trap '[ -z "$scratch" ] || rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP

# Names for results: they change with what went in, the functions of this script included.
hash() { sha256sum | cut -c 1-16; }
recipe() { for function; do sed -n "/^$function()/,/^}/p" "$0"; done; }

# --- tools ---------------------------------------------------------------------------------------------------------

# Packages whose command (or file) is missing here, one word each.
missing() {
	while read -r probe package; do
		case $probe in
		'') ;;
		/*) [ -e "$probe" ] || echo "$package" ;;
		*) command -v "$probe" >/dev/null || echo "$package" ;;
		esac
	done <<-LIST
		qemu-system-x86_64 qemu-system-x86
		mmdebstrap mmdebstrap
		xz xz-utils
		zstd zstd
		/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
		shellcheck shellcheck
		mandoc mandoc
		strace strace
		cc gcc
		/usr/bin/musl-gcc musl-tools
		$([ "$(id -u)" = 0 ] || echo newuidmap uidmap)
	LIST
}

# The compiler that rebuilds its standard library for `make tiny`, where the distribution has it.
tiny_toolchain() {
	[ -e /usr/lib/rustlib/src/rust/library/std ] && return
	apt-cache show rustc-web >/dev/null 2>&1 && echo "rustc-web cargo-web rust-web-src"
}

tools() {
	[ "$(id -u)" != 0 ] || [ -n "$(apt-cache search --names-only '^strace$')" ] || apt-get update -q >&2
	packages=$({ missing; tiny_toolchain || :; } | tr '\n' ' ')
	[ -n "$packages" ] || return 0
	install="apt-get install -y --no-install-recommends $packages"
	[ "$(id -u)" = 0 ] || die "these packages are missing: $packages
  install them as root, then run this again:
  apt-get update && $install"
	say "lab: installing $packages"
	apt-get update -q >&2
	DEBIAN_FRONTEND=noninteractive $install >&2
}

# --- root ----------------------------------------------------------------------------------------------------------

# What the root holds beside apt and the essential packages.
contents=linux-image-amd64,initramfs-tools,busybox,kmod,udev,zstd

# The mirror that this machine's own apt uses.
mirror() {
	# shellcheck disable=SC2016 # apt expands this
	uri=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
	[ -n "$uri" ] || die "apt knows no Debian mirror here: run 'apt-get update' as root, or name one with MIRROR="
	echo "$uri"
}

# Little-endian number of $3 bytes at offset $2 of a file.
number() { od -An -v -t "u$3" -j "$2" -N "$3" "$1" | tr -d ' '; }

# unpack_kernel VMLINUZ: prints the kernel proper. QEMU starts that as it is, which saves the guest the unpacking: four
# seconds a boot. Offsets as in the kernel's Documentation/arch/x86/boot.rst.
unpack_kernel() {
	start=$((($(number "$1" 497 1) + 1) * 512 + $(number "$1" 584 4)))
	length=$(number "$1" 588 4)
	# The magic numbers of xz and zstd.
	case $(number "$1" "$start" 4) in
	1484404733) set -- "$1" xz -dc --single-stream ;;
	4247762216) set -- "$1" zstd -dc ;;
	*) die "$1 is packed in a way that this script does not know" ;;
	esac
	file=$1
	shift
	# The last four bytes are the unpacked size.
	tail -c +$((start + 1)) "$file" | head -c $((length - 4)) | "$@"
}

root() {
	suite=$1
	# The file hierarchy is left unowned by anybody but the caller, so that a plain user can make and remove it. No
	# documentation; no kernel hooks, because no image is wanted at this point.
	set -- --variant=apt --include="$contents" \
		--dpkgopt=path-exclude=/usr/share/doc/\* --dpkgopt=path-exclude=/usr/share/man/\* \
		--dpkgopt=path-exclude=/usr/share/locale/\* --dpkgopt=path-exclude=/etc/kernel/\*
	done=$cache/root-$suite-$({ echo "$*"; recipe unpack_kernel root; } | hash)
	mkdir -p "$cache"
	exec 9>"$cache/root-$suite.lock"
	flock 9
	if [ ! -d "$done" ]; then
		tools
		uri=$(mirror)
		say "lab: making a Debian root ($suite, about a minute) in $done"
		scratch=$done.new.$$
		mkdir "$scratch"
		mode=unshare
		[ "$(id -u)" != 0 ] || mode=root
		mmdebstrap --quiet --mode=$mode "$@" "$suite" "$scratch.tar" "$uri" >&2 || {
			rm -f "$scratch.tar"
			die "mmdebstrap failed"
		}
		tar -x --no-same-owner --exclude='./dev/*' -C "$scratch" -f "$scratch.tar"
		rm -f "$scratch.tar"
		unpack_kernel "$scratch"/boot/vmlinuz-* >"$scratch/boot/vmlinux"
		mv "$scratch" "$done"
		scratch=
	fi
	exec 9>&-
	echo "$done"
}

# --- image ---------------------------------------------------------------------------------------------------------

# enter ROOT COMMAND...: runs a command inside a root, with the machine's /dev, /proc and /sys where that is allowed.
enter() {
	# shellcheck disable=SC2016 # the inner shell expands this
	set -- sh -c 'for d in dev proc sys; do mount --rbind "/$d" "$1/$d" || exit; done; exec chroot "$@"' enter "$@"
	if [ "$(id -u)" != 0 ]; then
		unshare --map-root-user --mount "$@"
	elif unshare --mount true 2>/dev/null; then
		unshare --mount "$@"
	else
		# A container without the right to mount: devices can still be made.
		shift 4
		[ -e "$1/dev/null" ] || mknod -m 666 "$1/dev/null" c 1 3
		chroot "$@"
	fi
}

# Everything in a tree that can change an image.
digest() {
	(cd "$1" && find . -printf '%p %M %l\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum)
}

image() {
	base=$1
	shift
	key=$({ echo "$base ${WITHOUT:-}"; recipe image; for tree; do digest "$tree"; done; } | hash)
	done=$cache/images/$key.img
	mkdir -p "$cache/images"
	if [ ! -f "$done" ]; then
		# Hard links: a copy of the root in a second. Nothing may write into its files, only replace them.
		scratch=$cache/images/$key.new.$$
		cp -al "$base" "$scratch"
		for tree; do
			cp -a --remove-destination "$tree/." "$scratch/"
		done
		version=$(basename "$scratch"/lib/modules/*)
		for module in ${WITHOUT:-}; do
			find "$scratch/lib/modules/" -name "$module.ko*" -delete
			enter "$scratch" depmod "$version"
		done
		mkdir "$scratch/lab.out"
		enter "$scratch" mkinitramfs -d /lab/initramfs-tools -o /lab.out/image "$version" >&2 9>&- || die "mkinitramfs failed"
		mv "$scratch/lab.out/image" "$done"
		rm -rf "$scratch"
		scratch=
		# Images of files that have changed since.
		find "$cache/images" -maxdepth 1 -name '*.img' -mtime +7 -delete
	else
		touch "$done"
	fi
	echo "$done"
}

command=${1:?"one of: tools, root SUITE, image ROOT TREE..."}
shift
case $command in
tools | root | image) "$command" "$@" ;;
*) die "unknown command $command" ;;
esac
