#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# What distributions make of the archives of `make dist`, in a Debian 13 root with Debian's own packages and without a network:
#
#   distributions.sh debian     the source package by dpkg-buildpackage, lintian on everything that comes of it, and the
#                               autopkgtest, which boots a machine with and without vfio-early
#   distributions.sh rpm        the spec by rpmbuild, and rpmlint. There is no Fedora and no openSUSE here: their macros are not
#                               tried, but for those that the spec defines where they are missing.
#   distributions.sh mkosi      an initrd and a unified kernel image with the .deb, by packaging/mkosi, each booted with and without
#                               a claim. mkosi fetches packages of Debian.
#   distributions.sh ugrd       an image by ugrd, booted with and without a claim. Debian has no ugrd: UGRD= names a folder with
#                               checkouts of ugrd, zenlib and pycpio.
#   distributions.sh bootc      what packaging/bootc has dracut do, with Debian's, and its kargs.d. The image that it begins with is
#                               not to be had here, so the Containerfile is not built.
#   distributions.sh crate      the program from what `cargo package` packs
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "distributions: $*" >&2; exit 1; }
said() { echo "distributions: $*"; }
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# inside PACKAGE,...: runs the script on standard input in a root with these packages, in the folder $work.
inside() {
	root=$(PACKAGES=$1 tests/boot/lab.sh root trixie) || fail "there is no root"
	{
		echo 'set -eu; export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive HOME=/root; cd /lab; unset CARGO_TARGET_DIR'
		cat
	} >"$work/inside"
	status=0
	NETWORK=${NETWORK:-no} tests/enter "$root" "$work" || status=$?
	[ "$status" != 77 ] || said "NOT RUN: $what: this machine allows no mount namespaces"
	[ "$status" = 0 ] || [ "$status" = 77 ] || fail "$what failed"
	return "$status"
}

debian() {
	what='the Debian source package'
	OUT=$work packaging/dist >/dev/null
	mv "$work/vfio-early-$version.tar.xz" "$work/vfio-early_$version.orig.tar.xz"
	mv "$work/vfio-early-$version-vendor.tar.xz" "$work/vfio-early_$version.orig-vendor.tar.xz"
	inside build-essential,debhelper,cargo,rustc,lintian,qemu-system-x86,e2fsprogs <<-INSIDE || return 0
		tar -xf vfio-early_$version.orig.tar.xz
		cd vfio-early-$version
		mv packaging/debian debian
		mkdir vendor
		tar -C vendor --strip-components=1 -xf ../vfio-early_$version.orig-vendor.tar.xz
		dpkg-buildpackage -us -uc >../build.log 2>&1 || { tail -n 60 ../build.log; exit 1; }
		cd ..
		ls vfio-early*.dsc vfio-early*.deb vfio-early*.changes
		# Who publishes the package says who maintains it.
		lintian --allow-root -EvIL +pedantic --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog vfio-early_*.changes >lintian.log 2>&1 || :
		grep '^[A-Z]:' lintian.log || :
		! grep '^[EW]:' lintian.log >/dev/null
		# It ran to its end.
		grep '^N: .* overridden' lintian.log >/dev/null
		# What the package needs is in the root already.
		dpkg -i vfio-early_*.deb >install.log 2>&1 || { cat install.log; exit 1; }
		sh vfio-early-$version/debian/tests/boot
	INSIDE
	said "the Debian source package builds, lintian finds no errors and warns of nothing, and its autopkgtest passes"
}

rpm() {
	what='the spec'
	mkdir -p "$work/SOURCES"
	OUT=$work/SOURCES packaging/dist >/dev/null
	cp packaging/vfio-early.spec packaging/vfio-early.rpmlintrc "$work/"
	# Debian's compilers are no packages to rpm.
	inside build-essential,cargo,rustc,elfutils,file,rpm,rpmlint <<-'INSIDE' || return 0
		rpmbuild -ba --nodeps --define '_topdir /lab' vfio-early.spec >build.log 2>&1 || { tail -n 60 build.log; exit 1; }
		rpmlint --version
		rpmlint -r vfio-early.rpmlintrc vfio-early.spec SRPMS/*.rpm RPMS/*/*.rpm >rpmlint.log 2>&1 || :
		cat rpmlint.log
		grep -q ' 0 errors' rpmlint.log
	INSIDE
	said "rpmbuild builds the spec, and rpmlint finds no errors"
}

# boot NAME DRIVER QEMU-ARGUMENT...: starts a machine with a network card; this driver must have it when the image's units ran.
boot() {
	name=$1 driver=$2
	shift 2
	timeout 900 "$(tests/boot/lab.sh qemu)" -nodefaults -no-reboot -display none -machine q35,kernel-irqchip=split -accel tcg -cpu max \
		-m 2048 -device intel-iommu,intremap=on -device e1000e,addr=05.0,romfile= -serial "file:$work/$name.log" "$@" </dev/null
	grep -q "driver: .*/$driver.\{0,1\}$" "$work/$name.log" || {
		tail -n 40 "$work/$name.log"
		fail "$what: in $name the card is not bound to $driver"
	}
	said "$name: the card is bound to $driver"
}

mkosi() {
	what='an image by mkosi'
	mkdir -p "$work/mkosi"
	cp -a packaging/mkosi/. "$work/mkosi/"
	units=$work/mkosi/mkosi.extra/usr/lib/systemd/system
	mkdir -p "$work/mkosi/mkosi.packages" "$units/sysinit.target.wants"
	OUT=$work/mkosi/mkosi.packages packaging/package deb >/dev/null
	# Says who has the card when the drivers are loaded, and ends the machine.
	cat >"$units/evidence.service" <<-'UNIT'
		[Unit]
		DefaultDependencies=no
		After=vfio-early.service systemd-udev-trigger.service
		# What follows would stop it.
		Before=sysinit.target
		[Service]
		Type=oneshot
		ExecStart=/bin/sh -c 'udevadm settle; echo "driver: $$(readlink /sys/bus/pci/devices/0000:00:05.0/driver)" >/dev/ttyS0; systemctl poweroff -ff'
	UNIT
	ln -s ../evidence.service "$units/sysinit.target.wants/evidence.service"
	cp /etc/resolv.conf "$work/"
	NETWORK=yes inside mkosi,systemd-ukify,systemd-boot-efi,cpio,zstd,apt,ca-certificates,reprepro <<-'INSIDE' || return 0
		cp resolv.conf /etc/
		cd mkosi
		# As the root's own packages: mkosi's other archives are not on each mirror.
		mirror=$(sed -n 's/^deb \(http[^ ]*\) .*/\1/p' /etc/apt/sources.list | head -n 1)
		build() {
			mkosi --force --local-mirror="$mirror" --kernel-modules-include=/e1000e.ko --kernel-command-line='console=ttyS0 panic=-1 no_timer_check' "$@" build \
				>../mkosi.log 2>&1 || { tail -n 60 ../mkosi.log; exit 1; }
		}
		build
		build --format=uki --output=uki --package=systemd-boot-efi
		cp /boot/vmlinuz-* ../vmlinuz
	INSIDE
	claim='console=ttyS0 panic=-1 no_timer_check intel_iommu=on vfio_early.claim=00:05.0,id=8086:10d3'
	boot initrd vfio-pci -kernel "$work/vmlinuz" -initrd "$work/mkosi/initrd" -append "$claim"
	boot initrd-off e1000e -kernel "$work/vmlinuz" -initrd "$work/mkosi/initrd" -append "$claim vfio_early=off"
	mkdir -p "$work/esp/EFI/BOOT"
	cp "$work/mkosi/uki.efi" "$work/esp/EFI/BOOT/BOOTX64.EFI"
	cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/variables"
	set -- -drive if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd \
		-drive "if=pflash,unit=1,format=raw,file=$work/variables" -drive "if=none,id=esp,format=raw,readonly=on,file=fat:$work/esp" \
		-device virtio-blk-pci,drive=esp,addr=06.0,bootindex=0,romfile=
	boot uki vfio-pci "$@"
	boot uki-off e1000e "$@" -smbios type=11,value=io.systemd.stub.kernel-cmdline-extra=vfio_early=off
	said "mkosi packs the .deb, and its initrd and its unified kernel image claim"
}

ugrd() {
	what='an image by ugrd'
	[ -n "${UGRD:-}" ] || {
		said "NOT RUN: $what: UGRD= names no checkout of it"
		return 0
	}
	OUT=$work packaging/package deb >/dev/null
	cp packaging/ugrd/* "$work/"
	mkdir "$work/python"
	for part in ugrd zenlib pycpio; do
		cp -r "$UGRD/$part/src/$part" "$work/python/"
		# It asks for its own version, as if it were installed.
		mkdir "$work/python/$part-0.dist-info"
		printf 'Metadata-Version: 2.1\nName: %s\nVersion: 0\n' "$part" >"$work/python/$part-0.dist-info/METADATA"
	done
	cat >"$work/config.toml" <<-'TOML'
		modules = ["ugrd.base.udev", "vfio_early", "evidence"]
		hostonly = false
		validate = false
		cpio_compression = false
		kmod_init = ["e1000e"]
		kmod_ignore_network = false
		[mounts.root]
		label = "none"
	TOML
	# Says who has the card when the drivers are loaded, and ends the machine.
	cat >"$work/evidence.toml" <<-'TOML'
		binaries = ["readlink", "busybox"]
		[imports.init_main]
		"evidence" = ["evidence"]
	TOML
	cat >"$work/evidence.py" <<-'PYTHON'
		def evidence(self):
		    return ['echo "driver: $(readlink /sys/bus/pci/devices/0000:00:05.0/driver)" >/dev/ttyS0', "busybox poweroff -f"]
	PYTHON
	inside python3,pax-utils,binutils,gawk,bc,pciutils,file,busybox <<-'INSIDE' || return 0
		dpkg -i vfio-early_*.deb >install.log 2>&1 || { cat install.log; exit 1; }
		echo 'claim 00:05.0 id=8086:10d3' >/etc/vfio-early.d/card.conf
		mkdir -p /var/lib/ugrd /etc/ugrd
		cp vfio_early.* evidence.* /var/lib/ugrd/
		version=$(basename /lib/modules/*)
		PYTHONPATH=/lab/python python3 -c 'from ugrd.main import main; main()' -c /lab/config.toml --kver "$version" /lab/image >ugrd.log 2>&1 || {
			tail -n 40 ugrd.log
			exit 1
		}
		cp /boot/vmlinuz-* vmlinuz
	INSIDE
	boot ugrd vfio-pci -kernel "$work/vmlinuz" -initrd "$work/image" -append 'console=ttyS0 panic=-1 no_timer_check intel_iommu=on'
	boot ugrd-off e1000e -kernel "$work/vmlinuz" -initrd "$work/image" \
		-append 'console=ttyS0 panic=-1 no_timer_check intel_iommu=on vfio_early=off'
	said "ugrd packs the program, and its image claims"
}

bootc() {
	what='the image of the Containerfile for bootc'
	said "NOT RUN: podman build, which wants an image of Fedora: only what it runs after dnf"
	OUT=$work packaging/package deb >/dev/null
	# The RUN with dracut, as podman would run it.
	sed -n '/^RUN echo/,/[^\\]$/p' packaging/bootc/Containerfile | sed '1s/^RUN //' >"$work/run"
	grep -q 'dracut --force' "$work/run" || fail "the Containerfile runs no dracut"
	# Says who has the card when the drivers are loaded, and ends the machine.
	cat >"$work/module-setup.sh" <<-'MODULE'
		check() { return 0; }
		installkernel() { hostonly='' instmods e1000e; }
		install() { inst_multiple readlink; inst_hook pre-mount 10 "$moddir/evidence.sh"; }
	MODULE
	# shellcheck disable=SC2016 # the image's shell expands this
	echo 'udevadm settle; echo "driver: $(readlink /sys/bus/pci/devices/0000:00:05.0/driver)" >/dev/ttyS0; systemctl poweroff -ff' >"$work/evidence.sh"
	inside zstd <<-'INSIDE' || return 0
		dpkg -i vfio-early_*.deb >install.log 2>&1 || { cat install.log; exit 1; }
		module=/usr/lib/dracut/modules.d/99evidence
		mkdir $module
		cp module-setup.sh evidence.sh $module/
		chmod +x $module/*
		echo 'add_dracutmodules+=" evidence "' >/usr/lib/dracut/dracut.conf.d/99-evidence.conf
		sh -eu run >run.log 2>&1 || { tail -n 40 run.log; exit 1; }
		cp /usr/lib/modules/*/initramfs.img image
		cp /boot/vmlinuz-* vmlinuz
	INSIDE
	kargs=$(python3 -c 'import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["kargs"])' <packaging/bootc/kargs.d/10-vfio-early.toml)
	kargs=$(echo "$kargs" | sed 's/=01:00.0,id=[0-9a-f:]*/=00:05.0,id=8086:10d3/')
	kargs="console=ttyS0 panic=-1 no_timer_check root=LABEL=none $kargs"
	boot bootc vfio-pci -kernel "$work/vmlinuz" -initrd "$work/image" -append "$kargs"
	boot bootc-off e1000e -kernel "$work/vmlinuz" -initrd "$work/image" -append "$kargs vfio_early=off"
	said "the image claims by kargs.d"
}

crate() {
	cargo package --quiet --locked --allow-dirty --no-verify --target-dir "$work/target"
	tar -C "$work" -xf "$work/target/package/vfio-early-$version.crate"
	files=$(find "$work/vfio-early-$version" -type f | wc -l)
	for file in man/vfio-early.8 man/vfio-early.conf.5 LICENSE-MIT LICENSE-APACHE LICENSE-THIRD-PARTY README.md Cargo.lock; do
		[ -f "$work/vfio-early-$version/$file" ] || fail "the crate lacks $file"
	done
	[ ! -e "$work/vfio-early-$version/tests" ] || fail "the crate holds the tests"
	(
		cd "$work/vfio-early-$version"
		cargo build --quiet --locked
		make -s build CARGO_FLAGS='--quiet --locked'
		make -s install DESTDIR="$work/tree" >/dev/null
	)
	[ -x "$work/tree/usr/bin/vfio-early" ] || fail "what the crate holds does not install"
	said "the crate's $files files build and install"
}

[ $# -gt 0 ] || set -- crate debian rpm mkosi ugrd bootc
for part; do
	case $part in
	debian | rpm | mkosi | ugrd | bootc | crate) "$part" ;;
	*) fail "unknown part $part" ;;
	esac
done
