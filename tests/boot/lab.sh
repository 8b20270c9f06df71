#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Prepares what the boots need, all of it in a cache folder outside the checkout. Each result is built under a temporary
# name and renamed, so it is complete or not there. Standard output is the answer; everything else goes to standard error.
#
#   lab.sh tools [arm64]             installs what is missing on this machine (as root), or says what and how
#   lab.sh root SUITE                a Debian root with kernel and initramfs generators; prints its path. SUITE-guests: with
#                                    what starts guests, too. PACKAGES=A,B adds packages to it.
#   lab.sh image GENERATOR ROOT TREE...
#                                    the initramfs that this generator makes of the root with the trees laid over it;
#                                    prints its path. WITHOUT="MODULE..." takes modules away from it first; mkinitcpio
#                                    comes from the checkout that MKINITCPIO= names.
#   lab.sh root SUITE-arm64          the same for arm64, whose programs run by way of qemu-user
#   lab.sh musl                      musl for arm64; prints the directory of its libc.a
#   lab.sh binfmt                    has the kernel run arm64 programs by way of qemu-user; ends with 77 where it cannot
#   lab.sh qemu                      a QEMU of 8.0 or later; prints its path
#   lab.sh disk ROOT TREE...         a disk to boot into, with the root and the trees; prints its path
#   lab.sh uki FOLDER KERNEL INITRD CMDLINE [ADDON-CMDLINE]
#                                    an EFI system partition in FOLDER/esp: a unified kernel image, and an addon to its
#                                    command line, both signed with the key of Debian's ovmf but for those that UNSIGNED=
#                                    names (uki, addon), and with a second profile whose command line has PROFILE= as well
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
		/usr/lib/ipxe/qemu/efi-e1000e.rom ipxe-qemu
		/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
		$(! apt-cache show efi-shell-x64 >/dev/null 2>&1 || echo /usr/share/efi-shell-x64/shellx64.efi efi-shell-x64)
		sbsign sbsigntool
		openssl openssl
		mmdebstrap mmdebstrap
		xz xz-utils
		zstd zstd
		busybox busybox-static
		cpio cpio
		/sbin/mke2fs e2fsprogs
		/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
		shellcheck shellcheck
		mandoc mandoc
		strace strace
		valgrind valgrind
		zsh zsh
		fish fish
		lspci pciutils
		/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
		virt-xml-validate libvirt-clients
		$(! apt-cache show makepkg pacman-package-manager >/dev/null 2>&1 || printf '%s\n' 'makepkg makepkg' 'pacman pacman-package-manager' 'bsdtar libarchive-tools')
		xmllint libxml2-utils
		lintian lintian
		openssl openssl
		dh debhelper
		rpmbuild rpm
		cc gcc
		/usr/bin/musl-gcc musl-tools
		$([ "$(id -u)" = 0 ] || echo newuidmap uidmap)
	LIST
}

# The same for arm64.
missing_arm64() {
	while read -r probe package; do
		[ -e "$probe" ] || echo "$package"
	done <<-LIST
		/usr/bin/qemu-system-aarch64 qemu-system-arm
		/usr/share/AAVMF/AAVMF_CODE.fd qemu-efi-aarch64
		/usr/bin/qemu-aarch64-static qemu-user-static
		/usr/bin/aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
		/usr/aarch64-linux-gnu/lib/rcrt1.o libc6-dev-arm64-cross
	LIST
}

# The compiler that rebuilds its standard library for `make tiny`, where the distribution has it.
tiny_toolchain() {
	[ -e /usr/lib/rustlib/src/rust/library/std ] && return
	apt-cache show rustc-web >/dev/null 2>&1 && echo "rustc-web cargo-web rust-web-src"
}

# apt ARGUMENT...: apt-get, which waits up to two minutes while another package manager is at work. DPkg::Lock::Timeout is about
# dpkg's lock alone, and not about those of the lists and the archives.
apt() {
	log=$(mktemp)
	tries=60
	while :; do
		status=0
		# shellcheck disable=SC2086 # several words, or none
		$sudo env LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 "$@" >&2 2>"$log" || status=$?
		cat "$log" >&2
		tries=$((tries - 1))
		if [ "$status" = 0 ] || [ $tries = 0 ] || ! grep -q 'Could not get lock' "$log"; then
			break
		fi
		sleep 2
	done
	rm -f "$log"
	return "$status"
}

tools() {
	sudo=
	[ "$(id -u)" != 0 ] || [ -n "$(apt-cache search --names-only '^strace$')" ] || apt update || die "apt-get update failed"
	packages=$({ missing; [ "${1:-}" != arm64 ] || missing_arm64; tiny_toolchain || :; } | tr '\n' ' ')
	[ -n "$packages" ] || return 0
	install="install -y --no-install-recommends $packages"
	[ "$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && sudo="sudo -n"; } || die "these packages are missing: $packages
  install them as root, then run this again:
  apt-get update && apt-get $install"
	say "lab: installing $packages"
	apt update || die "apt-get update failed"
	# shellcheck disable=SC2086 # several words
	apt $install || die "apt-get install failed"
}

# --- root ----------------------------------------------------------------------------------------------------------

# What the root holds beside apt and the essential packages.
contents=linux-image-amd64,initramfs-tools,dracut-core,busybox,kmod,udev,systemd,zstd,libarchive-tools${PACKAGES:+,$PACKAGES}

# What starts guests and uses claimed devices.
guests=qemu-system-x86,qemu-utils,qemu-block-extra,dpdk-dev,libvirt-daemon-system,libvirt-clients,libvirt-daemon-driver-qemu,dbus

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
	# The kernel of the backports, and the rest of the release.
	release=${suite%-backports}
	[ "$suite" = "$release" ] || set -- "$@" --include="linux-image-amd64/$suite"
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
		set -- "$@" "$release" "$scratch.tar" "deb $uri $release main"
		[ "$suite" = "$release" ] || set -- "$@" "deb $uri $suite main"
		mmdebstrap --quiet --mode=$mode "$@" >&2 || {
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

# --- arm64 ---------------------------------------------------------------------------------------------------------

binfmt() {
	tools arm64
	register=/proc/sys/fs/binfmt_misc/register
	[ ! -e "${register%/*}/qemu-aarch64" ] || return 0
	[ -e "$register" ] || mount -t binfmt_misc binfmt_misc "${register%/*}" 2>/dev/null || :
	# A kernel keeps the interpreter open, so that it is found in a root, too (flag F).
	cat /usr/lib/binfmt.d/qemu-aarch64.conf 2>/dev/null >"$register" || {
		say "lab: the kernel does not run arm64 programs, and cannot be told to: as root, start systemd-binfmt.service"
		exit 77
	}
}

# Unpacked beside the machine's own packages: dpkg hears nothing of another architecture.
musl() {
	done=$cache/musl-arm64-$(recipe musl | hash)
	mkdir -p "$cache"
	exec 9>"$cache/musl-arm64.lock"
	flock 9
	if [ ! -d "$done" ]; then
		say "lab: fetching musl for arm64"
		scratch=$done.new.$$
		mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
		set -- -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Dir::State="$scratch" \
			-o Dir::State::status=/dev/null -o Dir::Cache="$scratch"
		apt-get "$@" update >&2
		(cd "$scratch" && apt-get "$@" download musl-dev >&2 && dpkg-deb -x musl-dev_*.deb root) || die "musl-dev for arm64 cannot be fetched"
		mv "$scratch/root" "$done"
		rm -rf "$scratch"
		scratch=
	fi
	exec 9>&-
	echo "$done/usr/lib/aarch64-linux-musl"
}

# unpack_arm64 VMLINUZ: prints the kernel proper, which may be in an EFI program that unpacks it (drivers/firmware/efi/libstub,
# zboot-header.S: "zimg", offset and size, name of the compression), or packed alone.
unpack_arm64() {
	if [ "$(number "$1" 4 4)" = 1735223674 ]; then
		packer=$(tail -c +25 "$1" | head -c 4)
		tail -c +$(($(number "$1" 8 4) + 1)) "$1" | head -c "$(number "$1" 12 4)" | case $packer in zstd) zstd -dc ;; *) gzip -dc ;; esac
	else
		gzip -dcf "$1"
	fi
}

root_arm64() {
	suite=$1
	set -- --variant=apt --architectures=arm64 --skip=check/qemu --include="$(echo "$contents" | sed s/-amd64/-arm64/)" \
		--dpkgopt=path-exclude=/usr/share/doc/\* --dpkgopt=path-exclude=/usr/share/man/\* \
		--dpkgopt=path-exclude=/usr/share/locale/\* --dpkgopt=path-exclude=/etc/kernel/\*
	done=$cache/root-$suite-arm64-$({ echo "$*"; recipe unpack_arm64 root_arm64; } | hash)
	mkdir -p "$cache"
	exec 9>"$cache/root-$suite-arm64.lock"
	flock 9
	if [ ! -d "$done" ]; then
		binfmt
		uri=$(mirror)
		say "lab: making a Debian root ($suite, arm64, by qemu-user: several minutes) in $done"
		scratch=$done.new.$$
		mkdir "$scratch"
		mode=unshare
		[ "$(id -u)" != 0 ] || mode=root
		mmdebstrap --quiet --mode=$mode "$@" "$suite" "$scratch.tar" "deb $uri $suite main" >&2 || {
			rm -f "$scratch.tar"
			die "mmdebstrap failed"
		}
		tar -x --no-same-owner --exclude='./dev/*' -C "$scratch" -f "$scratch.tar"
		rm -f "$scratch.tar"
		unpack_arm64 "$scratch"/boot/vmlinuz-* >"$scratch/boot/vmlinux"
		mv "$scratch" "$done"
		scratch=
	fi
	exec 9>&-
	echo "$done"
}

# --- qemu ----------------------------------------------------------------------------------------------------------

# This machine's own where it has the devices that came last, or that of Debian 13, which runs with its own libraries.
qemu() {
	if qemu-system-x86_64 -device help | grep -q '^name "igb"'; then
		command -v qemu-system-x86_64
		return
	fi
	set -- --variant=extract --include=qemu-system-x86 --dpkgopt=path-exclude=/usr/share/doc/\*
	done=$cache/qemu-$({ echo "$*"; recipe qemu; } | hash)
	mkdir -p "$cache"
	exec 9>"$cache/qemu.lock"
	flock 9
	if [ ! -d "$done" ]; then
		tools
		uri=$(mirror)
		say "lab: fetching a newer QEMU into $done"
		scratch=$done.new.$$
		mkdir "$scratch"
		mode=unshare
		[ "$(id -u)" != 0 ] || mode=root
		mmdebstrap --quiet --mode=$mode "$@" trixie "$scratch.tar" "$uri" >&2 || {
			rm -f "$scratch.tar"
			die "mmdebstrap failed"
		}
		tar -x --no-same-owner --exclude='./dev/*' -C "$scratch" -f "$scratch.tar"
		rm -f "$scratch.tar"
		cat >"$scratch/qemu" <<-END
			#!/bin/sh
			root=$done
			library=\$root/usr/lib/x86_64-linux-gnu
			export QEMU_MODULE_DIR="\$library/qemu"
			exec "\$library/ld-linux-x86-64.so.2" --library-path "\$library" "\$root/usr/bin/qemu-system-x86_64" \\
				-L "\$root/usr/share/qemu" -L "\$root/usr/share/seabios" -L "\$root/usr/lib/ipxe/qemu" "\$@"
		END
		chmod +x "$scratch/qemu"
		mv "$scratch" "$done"
		scratch=
	fi
	exec 9>&-
	echo "$done/qemu"
}

# --- unified kernel images -------------------------------------------------------------------------------------------

# A root with ukify, which came with systemd 253.
ukify_root() {
	set -- --variant=apt --include=systemd-ukify,systemd-boot-efi,sbsigntool --dpkgopt=path-exclude=/usr/share/doc/\* \
		--dpkgopt=path-exclude=/usr/share/man/\* --dpkgopt=path-exclude=/usr/share/locale/\*
	done=$cache/ukify-$({ echo "$*"; recipe ukify_root; } | hash)
	mkdir -p "$cache"
	exec 9>"$cache/ukify.lock"
	flock 9
	if [ ! -d "$done" ]; then
		tools
		uri=$(mirror)
		say "lab: making a root with ukify in $done"
		scratch=$done.new.$$
		mkdir "$scratch"
		mode=unshare
		[ "$(id -u)" != 0 ] || mode=root
		mmdebstrap --quiet --mode=$mode "$@" trixie "$scratch.tar" "deb $uri trixie main" >&2 || {
			rm -f "$scratch.tar"
			die "mmdebstrap failed"
		}
		tar -x --no-same-owner --exclude='./dev/*' -C "$scratch" -f "$scratch.tar"
		rm -f "$scratch.tar"
		mv "$scratch" "$done"
		scratch=
	fi
	exec 9>&-
}

uki() {
	folder=$1 kernel=$2 initrd=$3 cmdline=$4
	shift 4
	ukify_root
	scratch=$(mktemp -d "$done/tmp/uki.XXXXXX")
	inside=${scratch#"$done"}
	cp "$kernel" "$scratch/kernel"
	cp "$initrd" "$scratch/initrd"
	printf '%s' "$cmdline" >"$scratch/cmdline"
	# The key lies beside the firmware that knows it, with this passphrase (README.Debian of ovmf).
	openssl rsa -in /usr/share/ovmf/PkKek-1-snakeoil.key -passin pass:snakeoil -out "$scratch/key" 2>/dev/null || die "openssl cannot read the key of ovmf"
	cp /usr/share/ovmf/PkKek-1-snakeoil.pem "$scratch/certificate"
	# unified NAME ARGUMENT...: signed unless it is among the unsigned ones.
	unified() {
		name=$1
		shift
		case " ${UNSIGNED:-} " in
		*" $name "*) ;;
		*) set -- "$@" "--secureboot-private-key=$inside/key" "--secureboot-certificate=$inside/certificate" ;;
		esac
		enter "$done" ukify build --output="$inside/$name.efi" "$@" >&2 || die "ukify failed"
	}
	set -- "$@" uki --linux="$inside/kernel" --initrd="$inside/initrd" --cmdline="@$inside/cmdline"
	addon=
	[ "$1" = uki ] || { addon=$1; shift; }
	if [ -n "${PROFILE:-}" ]; then
		# Signed with the image that it is joined to.
		UNSIGNED="${UNSIGNED:-} profile"
		unified profile --profile='TITLE=Without vfio-early' --cmdline="$cmdline $PROFILE"
		set -- "$@" --join-profile="$inside/profile.efi"
	fi
	unified "$@"
	mkdir -p "$folder/esp/EFI/BOOT"
	mv "$scratch/uki.efi" "$folder/esp/EFI/BOOT/BOOTX64.EFI"
	if [ -n "$addon" ]; then
		unified addon --cmdline="$addon"
		mkdir "$folder/esp/EFI/BOOT/BOOTX64.EFI.extra.d"
		mv "$scratch/addon.efi" "$folder/esp/EFI/BOOT/BOOTX64.EFI.extra.d/lab.addon.efi"
	fi
	echo "$folder/esp"
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

# overlay ROOT TREE... TARGET: a copy of the root in a second (hard links) with the trees laid over it. Nothing may write
# into its files, only replace them.
overlay() {
	cp -al "$1" "$scratch"
	shift
	for tree; do
		cp -a --remove-destination "$tree/." "$scratch/"
	done
}

# kept KIND WHAT... TREE...: sets `result`, the name of a result of this kind, which changes with what goes in. Answers
# whether it is there already.
kept() {
	kind=$1 what=$2
	shift 2
	result=$cache/images/$({ echo "$what"; recipe overlay with_mkinitcpio image disk; for tree; do digest "$tree"; done; } | hash).$kind
	mkdir -p "$cache/images"
	scratch=$result.new.$$
	[ -f "$result" ] && touch "$result"
}

# The generators' command lines, inside the root.
image() {
	generator=$1 base=$2
	shift 2
	checkout=
	case $generator in mkinitcpio*) checkout=${MKINITCPIO:?} ;; esac
	# shellcheck disable=SC2086 # one word or none
	if ! kept img "$generator $base ${WITHOUT:-}" "$@" $checkout; then
		overlay "$base" "$@"
		version=$(basename "$scratch"/lib/modules/*)
		for module in ${WITHOUT:-}; do
			find "$scratch/lib/modules/" -name "$module.ko*" -delete
			enter "$scratch" depmod "$version"
		done
		mkdir "$scratch/lab.out"
		case $generator in
		initramfs-tools) set -- mkinitramfs -d /lab/initramfs-tools -o /lab.out/image "$version" ;;
		dracut) set -- dracut --force --no-hostonly --omit systemd /lab.out/image "$version" ;;
		dracut-systemd) set -- dracut --force --no-hostonly --add systemd /lab.out/image "$version" ;;
		mkinitcpio | mkinitcpio-systemd)
			with_mkinitcpio
			set -- mkinitcpio -c "/lab/$generator.conf" -k "$version" -g /lab.out/image
			;;
		*) die "unknown generator $generator" ;;
		esac
		# mkinitcpio misses here what other distributions have, and makes its image all the same.
		enter "$scratch" "$@" >&2 9>&- || { [ "$1" = mkinitcpio ] && [ -f "$scratch/lab.out/image" ]; } || die "$1 failed"
		[ -f "$scratch/lab.out/image" ] || die "$1 made no image"
		mv "$scratch/lab.out/image" "$result"
		rm -rf "$scratch"
		# Images of files that have changed since: each new program makes all of them anew. One run has a hundred, and others
		# may run now.
		find "$cache/images" -maxdepth 1 -name '*.*' -type f -mmin +120 -printf '%T@ %p\n' | sort -rn | tail -n +151 | cut -d ' ' -f 2- | xargs -r rm -f
	fi
	scratch=
	echo "$result"
}

# Puts mkinitcpio into the scratch root, from a checkout: the files that its own build fills paths into and installs.
with_mkinitcpio() {
	library=$scratch/usr/lib/initcpio
	mkdir -p "$library" "$scratch/usr/bin"
	cp -r "$MKINITCPIO/functions" "$MKINITCPIO/init" "$MKINITCPIO/init_functions" "$library/"
	cp -rn "$MKINITCPIO/install" "$MKINITCPIO/hooks" "$library/"
	cp "$MKINITCPIO/mkinitcpio" "$scratch/usr/bin/"
	find "$library" "$scratch/usr/bin/mkinitcpio" -type f -exec sed -i \
		-e 's!@SYSCONFDIR@!/etc!g' -e 's!@INITCPIO_SYSCONFDIR@!/etc/initcpio!g' -e 's!@INITCPIO_LIBDIR@!/usr/lib/initcpio!g' \
		-e 's!@UDEVD_PATH@!/usr/lib/systemd/systemd-udevd!g' -e 's!@TMPFILES_PATH@!/usr/bin/systemd-tmpfiles!g' \
		-e 's!@BINDIR@!/usr/bin:/usr/sbin!g' -e 's!@VERSION@!checkout!g' {} +
	chmod +x "$library"/* "$scratch/usr/bin/mkinitcpio"
	# What its distribution has elsewhere.
	cp "$scratch/usr/bin/busybox" "$library/busybox"
	ln -s x86_64-linux-gnu/libkmod.so.2 "$scratch/usr/lib/libkmod.so.2"
}

# A disk with a file system of the root and the trees, to boot into.
disk() {
	base=$1
	shift
	if ! kept ext4 "disk $base" "$@"; then
		overlay "$base" "$@"
		# A guest needs a kernel for its own guests.
		[ -e "$scratch/usr/bin/qemu-system-x86_64" ] || rm -rf "${scratch:?}/boot"
		rm -rf "$scratch"/var/lib/apt "$scratch"/var/cache/apt
		size=$(($(du -sm "$scratch" | cut -f 1) * 5 / 4 + 300))m
		/sbin/mke2fs -q -t ext4 -L lab -d "$scratch" -E root_owner=0:0 -O ^has_journal "$result.part.$$" "$size" >&2 || die "mke2fs failed"
		mv "$result.part.$$" "$result"
		rm -rf "$scratch"
	fi
	scratch=
	echo "$result"
}

# The other packages give the root another name.
case "${1:-} ${2:-}" in
"root "*-guests)
	contents=$contents,$guests
	set -- root "${2%-guests}"
	;;
"root "*-arm64) set -- root_arm64 "${2%-arm64}" ;;
esac
command=${1:?"one of: tools, root SUITE, musl, binfmt, qemu, image GENERATOR ROOT TREE..., disk ROOT TREE..."}
shift
case $command in
tools | root | root_arm64 | musl | binfmt | qemu | image | disk | uki) "$command" "$@" ;;
*) die "unknown command $command" ;;
esac
