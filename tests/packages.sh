#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The packages: `make install` and `make uninstall` undo each other; the .deb is installed, upgraded, removed and purged in a
# Debian 13 root, where the image that its trigger made again is looked into; the .rpm and the package for Arch are installed,
# upgraded and removed in bare roots. BINARY= names the program to pack.
set -eu
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "packages: $*" >&2; exit 1; }
said() { echo "packages: $*"; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else unshare --map-root-user "$@"; fi; }

# A root with a shell and nothing else, in which what makes images only notes that it was asked to.
bare() {
	mkdir -p "$1/bin" "$1/usr/bin" "$1/etc" "$1/tmp" "$1/dev" "$1/var/lib/rpm" "$1/var/lib/pacman"
	cp "$(command -v busybox)" "$1/bin/sh"
	for name in dracut mkinitcpio; do
		printf '#!/bin/sh\necho "$@" >>/made\n' >"$1/usr/bin/$name"
		chmod +x "$1/usr/bin/$name"
	done
	: >"$1/made"
	: >"$1/dev/null"
	content "$1" >"$1.before"
}
# Directories that others own stay.
content() { (cd "$1" && find . -path ./var -prune -o \( ! -type d -o -name '*vfio-early*' \) -print | sort); }

# So many times images were made in a bare root, with these words.
made() {
	count=$(grep -cxe "$3" "$1/made" || :)
	[ "$count" = "$2" ] || fail "in ${1##*/} images were made $count times with '$3', not $2 times: $(cat "$1/made")"
}

# A bare root is what it was.
gone() { content "$1" | diff "$1.before" - || fail "what was removed from ${1##*/} left something, or took too much"; }

if [ -z "${BINARY:-}" ]; then
	status=0
	BINARY=$(packaging/tiny) || status=$?
	[ "$status" != 77 ] || {
		said "NOT RUN with the tiny binary, whose toolchain is missing here: the default build instead"
		make -s build
		BINARY=$VFIO_EARLY
	}
fi
export BINARY OUT="$work/out"

# Nothing of this machine is in the program: the panic messages of crates name files.
names() { grep -aoF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" -e "$(rustc --print sysroot)/" "$1" | sort -u; }
for file in "$BINARY" ${VFIO_EARLY:+"$VFIO_EARLY"}; do
	[ -e "$file" ] || continue
	[ -z "$(names "$file")" ] || fail "$file names files of this machine: $(names "$file")"
	said "$file names no file of this machine"
done

# What `make install` installs, without the compression that a package adds: each package holds it, but for what its distribution
# has no generator for.
make -s install DESTDIR="$work/all" PREFIX=/usr VFIO_EARLY="$BINARY" >/dev/null
(cd "$work/all" && find . -type f | sed 's/^\.//') >"$work/all.txt"
[ "$(grep -c . "$work/all.txt")" -ge 15 ] || fail "make install installs too little"
# holds LIST WHAT WITHOUT: the files in the list are all of them.
holds() {
	# shellcheck disable=SC2013 # no blanks in there
	for file in $(grep -v -e "$3" "$work/all.txt"); do
		grep -qx "$file\(\.gz\)\?" "$1" || fail "$2 lacks $file"
	done
}

# --- make install, make uninstall ------------------------------------------------------------------------------------

for prefix in /usr /usr/local; do
	mkdir -p "$work/tree$prefix/bin" "$work/tree/etc"
	: >"$work/tree$prefix/bin/other"
	(cd "$work/tree" && find . | sort) >"$work/before"
	make -s install DESTDIR="$work/tree" PREFIX="$prefix" VFIO_EARLY="$BINARY" >/dev/null
	[ -x "$work/tree$prefix/bin/vfio-early" ] || fail "make install PREFIX=$prefix installs no program"
	make -s uninstall DESTDIR="$work/tree" PREFIX="$prefix" VFIO_EARLY="$BINARY" >/dev/null
	(cd "$work/tree" && find . | sort) | diff "$work/before" - || fail "make uninstall PREFIX=$prefix does not undo make install"
done
said "make uninstall undoes make install"

# --- Debian ------------------------------------------------------------------------------------------------------------

one=$(packaging/package deb)
two=$(REVISION=2 packaging/package deb)
dpkg-deb --fsys-tarfile "$one" | tar -t | sed -e 's/^\.//' -e 's!zsh/vendor-completions!zsh/site-functions!' >"$work/files"
holds "$work/files" "the .deb" /initcpio/
if command -v lintian >/dev/null; then
	# Who publishes the package says who maintains it (MAINTAINER=).
	lintian --allow-root --fail-on error,warning --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog "$one" ||
		fail "lintian finds fault"
	said "lintian finds no errors and warns of nothing"
else
	said "NOT RUN: lintian, which is missing here"
fi

# Another package with a configuration of its own.
mkdir -p "$work/other/DEBIAN" "$work/other/usr/lib/vfio-early.d"
printf 'Package: other\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDescription: other\n' >"$work/other/DEBIAN/control"
echo '# of another package' >"$work/other/usr/lib/vfio-early.d/other.conf"
dpkg-deb --root-owner-group -b "$work/other" "$work/other.deb" >/dev/null

cat >"$work/inside" <<'INSIDE'
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive
fail() { echo "packages, in the root: $*" >&2; cat /lab.log >&2; exit 1; }
quietly() { "$@" >/lab.log 2>&1 || fail "$* failed"; }
# Everything but what dpkg and the generator keep for themselves.
everything() { find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /lab -o -path /var/lib/dpkg -o -path /var/log \
	-o -path /var/cache -o -path /tmp \) -prune -o -print | grep -v -x -e /lab.log -e /boot/initrd.img.*bak | sort; }
holds() { lsinitramfs "$image" | grep -x "$1" >/dev/null; }
rm -f /etc/dpkg/dpkg.cfg.d/99mmdebstrap
printf 'MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n' >/etc/initramfs-tools/conf.d/lab
version=$(basename /lib/modules/*)
image=/boot/initrd.img-$version
quietly update-initramfs -c -k "$version"
everything >/tmp/before

quietly dpkg -i /lab/one.deb
holds usr/bin/vfio-early || fail "the image after the installation does not hold the program"
holds scripts/init-top/00-vfio-early || fail "the image does not hold the script"
holds etc/vfio-early.conf || fail "the image does not hold the configuration"
vfio-early --version | grep -q '^vfio-early 0' || fail "the program does not run"
dpkg --verify vfio-early | grep . && fail "dpkg --verify finds fault"
[ -e /usr/share/doc/vfio-early/copyright ] || fail "no copyright"

echo '# mine' >>/etc/vfio-early.conf
echo 'claim 0000:fe:1f.7 id=10de:1e04' >/etc/vfio-early.d/gpu.conf
quietly dpkg -i /lab/two.deb
[ "$(dpkg-query -W -f '${Version}' vfio-early)" != "$(dpkg-deb -f /lab/one.deb Version)" ] || fail "it was not upgraded"
grep -q '^# mine' /etc/vfio-early.conf || fail "the upgrade took what somebody had written"
holds etc/vfio-early.d/gpu.conf || fail "the image after the upgrade does not hold the new configuration"

quietly dpkg -i /lab/other.deb
holds usr/lib/vfio-early.d/other.conf || fail "another package's configuration did not come into the image"
quietly dpkg -P other
! holds usr/lib/vfio-early.d/other.conf || fail "another package's configuration did not leave the image"

# A mistake stops the making of the image, and the last one stays.
echo 'clam 01:00.0' >/etc/vfio-early.d/mistake.conf
sum=$(sha256sum <"$image")
! update-initramfs -u >/lab.log 2>&1 || fail "a broken configuration went into an image"
grep -q 'mistake.conf:1' /lab.log || fail "nobody said where the mistake is"
[ "$sum" = "$(sha256sum <"$image")" ] || fail "a broken configuration harmed the image that was there"
rm /etc/vfio-early.d/mistake.conf

quietly systemctl enable vfio-early-status.timer vfio-early-confirm.service
quietly dpkg -r vfio-early
! holds usr/bin/vfio-early || fail "the image after the removal still holds the program"
[ -e /etc/vfio-early.d/gpu.conf ] && grep -q '^# mine' /etc/vfio-early.conf || fail "the removal took the configuration"
mkdir -p /run/vfio-early
quietly dpkg -P vfio-early
everything >/tmp/after
diff /tmp/before /tmp/after || fail "something is left after the purge, or missing"
INSIDE

root=$(tests/boot/lab.sh root trixie)
mkdir "$work/packages"
cp "$one" "$work/packages/one.deb"
cp "$two" "$work/packages/two.deb"
cp "$work/other.deb" "$work/inside" "$work/packages/"
status=0
tests/enter "$root" "$work/packages" || status=$?
case $status in
0) said "the .deb was installed, upgraded, removed and purged in Debian 13" ;;
77) said "NOT RUN: the .deb in Debian 13, because this machine allows no mount namespaces" ;;
*) fail "the .deb does not keep what it promises" ;;
esac

# --- RPM ---------------------------------------------------------------------------------------------------------------

status=0
rpm=$(packaging/package rpm) || status=$?
case $status in
0)
	rpm -qlp "$rpm" >"$work/files"
	holds "$work/files" "the .rpm" '/init\(cpio\|ramfs-tools\)/'
	for file in /etc/vfio-early.conf /etc/vfio-early.d /usr/lib/vfio-early.d; do
		grep -qx "$file" "$work/files" || fail "the .rpm lacks $file"
	done
	! grep -e /initcpio/ -e /initramfs-tools/ "$work/files" || fail "the .rpm holds what belongs to other distributions"
	! grep -qx -e /usr -e /usr/bin -e /etc -e /usr/share "$work/files" || fail "the .rpm owns what belongs to others"
	[ "$(rpm -qcp "$rpm")" = /etc/vfio-early.conf ] || fail "the .rpm does not know its configuration"
	said "the .rpm holds what it should"
	# In a root where nothing runs, as when an image is built, and on ostree, nobody's images are touched.
	bare "$work/image"
	mkdir -p "$work/ostree/run/systemd/system"
	: >"$work/ostree/run/ostree-booted"
	bare "$work/ostree"
	for root in image ostree; do
		as_root rpm --root "$work/$root" --dbpath /var/lib/rpm --nodeps --nosignature -i "$rpm" 2>"$work/rpm" ||
			{ cat "$work/rpm" >&2 && fail "the .rpm cannot be installed in $root"; }
		made "$work/$root" 0 ".*"
		as_root rpm --root "$work/$root" --dbpath /var/lib/rpm --nodeps --nosignature -e vfio-early 2>"$work/rpm" ||
			{ cat "$work/rpm" >&2 && fail "the .rpm cannot be removed in $root"; }
		made "$work/$root" 0 ".*"
		gone "$work/$root"
	done
	mkdir -p "$work/fedora/run/systemd/system"
	bare "$work/fedora"
	next=$(REVISION=2 packaging/package rpm)
	rpm_there() { as_root rpm --root "$work/fedora" --dbpath /var/lib/rpm --nodeps --nosignature "$@" 2>"$work/rpm" || { cat "$work/rpm" >&2; return 1; }; }
	rpm_there -i "$rpm" || fail "the .rpm cannot be installed"
	made "$work/fedora" 1 "--regenerate-all --force"
	echo '# mine' >>"$work/fedora/etc/vfio-early.conf"
	rpm_there -U "$next" || fail "the .rpm cannot be upgraded"
	grep -q '# mine' "$work/fedora/etc/vfio-early.conf" || fail "the upgrade of the .rpm takes the configuration away"
	made "$work/fedora" 2 "--regenerate-all --force"
	rpm_there -e vfio-early || fail "the .rpm cannot be removed"
	made "$work/fedora" 3 "--regenerate-all --force"
	# A configuration that was changed is kept aside.
	rm "$work/fedora/etc/vfio-early.conf.rpmsave" && gone "$work/fedora"
	said "the .rpm is installed, upgraded and removed in a bare root, and has the images made each time"
	;;
77) said "NOT RUN: the .rpm, because rpmbuild is missing here" ;;
*) fail "the .rpm cannot be built" ;;
esac

# --- Arch --------------------------------------------------------------------------------------------------------------

bash -n packaging/arch/PKGBUILD
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
grep -qx "pkgver=$version" packaging/arch/PKGBUILD || fail "the PKGBUILD is of another version than Cargo.toml"
# What makepkg would call, with its variables: the files land where they should.
mkdir -p "$work/arch/src"
ln -s "$PWD" "$work/arch/src/vfio-early-$version"
cp packaging/arch/vfio-early.hook "$work/arch/src/"
srcdir=$work/arch/src pkgdir=$work/arch/pkg VFIO_EARLY=$BINARY MAKEFLAGS=-se bash -euc \
	'cd "$srcdir"; . "$OLDPWD/packaging/arch/PKGBUILD"; package' >/dev/null || fail "the PKGBUILD's package() fails"
(cd "$work/arch/pkg" && find . | sed 's/^\.//') >"$work/files"
holds "$work/files" "the PKGBUILD" /initramfs-tools/
for file in /etc/vfio-early.conf /usr/share/libalpm/hooks/vfio-early.hook; do
	grep -qx "$file" "$work/files" || fail "the PKGBUILD installs no $file"
done
said "the PKGBUILD installs what it should"
if command -v makepkg >/dev/null && command -v pacman >/dev/null; then
	# makepkg wants to be nobody in particular; what it would compile is here already.
	build=$work/arch/build
	mkdir -p "$build/bin"
	cp packaging/arch/vfio-early.hook "$BINARY" "$build/"
	OUT=$build packaging/dist sources >/dev/null
	sums=$(cd "$build" && sha256sum "vfio-early-$version.tar.xz" vfio-early.hook | cut -d ' ' -f 1 | tr '\n' ' ')
	sed "s/^sha256sums=.*/sha256sums=(${sums% })/" packaging/arch/PKGBUILD >"$build/PKGBUILD"
	printf '#!/bin/sh\ninstall -D "%s" target/%s-unknown-linux-gnu/release/vfio-early\n' "$build/${BINARY##*/}" "$(uname -m)" >"$build/bin/cargo"
	chmod +x "$build/bin/cargo"
	chmod 711 "$work" "$work/arch"
	nobody=
	[ "$(id -u)" != 0 ] || { chown -R 65534 "$build" && nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"; }
	make_package() {
		# shellcheck disable=SC2086 # several words, or none
		(cd "$build" && $nobody env HOME="$build" PATH="$build/bin:$PATH" PKGEXT=.pkg.tar.gz \
			makepkg --nodeps -p "$1" >"$work/makepkg" 2>&1) || { cat "$work/makepkg" >&2; fail "makepkg makes no package"; }
	}
	make_package PKGBUILD
	# A package that brings a configuration.
	cat >"$build/other" <<-PKGBUILD
		pkgname=other pkgver=1 pkgrel=1 arch=(any) license=(MIT)
		package() { install -D -m 644 /dev/null "\$pkgdir/usr/lib/vfio-early.d/10-other.conf"; }
	PKGBUILD
	make_package other
	package=$(echo "$build"/vfio-early-*.pkg.tar.gz)
	bare "$work/archlinux"
	pacman_there() {
		as_root pacman --root "$work/archlinux" --dbpath "$work/archlinux/var/lib/pacman" --cachedir "$work/cache" --config /dev/null \
			--hookdir "$work/archlinux/usr/share/libalpm/hooks" --logfile "$work/pacman.log" --noconfirm "$@" >>"$work/pacman" 2>&1
	}
	pacman_there -Udd "$package" || { cat "$work/pacman" >&2; fail "the package for Arch cannot be installed"; }
	[ -x "$work/archlinux/usr/bin/vfio-early" ] || fail "the package for Arch installs no program"
	echo '# mine' >>"$work/archlinux/etc/vfio-early.conf"
	pacman_there -Udd "$package" || { cat "$work/pacman" >&2; fail "the package for Arch cannot be upgraded"; }
	grep -q '# mine' "$work/archlinux/etc/vfio-early.conf" || fail "the upgrade on Arch takes the configuration away"
	# With its own files, mkinitcpio's own hook does.
	made "$work/archlinux" 0 "-P"
	pacman_there -Udd "$build"/other-*.pkg.tar.gz || { cat "$work/pacman" >&2; fail "another package cannot be installed"; }
	pacman_there -Rdd other || { cat "$work/pacman" >&2; fail "another package cannot be removed"; }
	made "$work/archlinux" 2 "-P"
	pacman_there -Rdd vfio-early || { cat "$work/pacman" >&2; fail "the package for Arch cannot be removed"; }
	rm "$work/archlinux/etc/vfio-early.conf.pacsave" && gone "$work/archlinux"
	said "makepkg makes a package that pacman installs, upgrades and removes in a bare root"
else
	said "NOT RUN: makepkg and pacman, which are missing here"
fi
