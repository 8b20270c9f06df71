# SPDX-License-Identifier: MIT OR Apache-2.0

PREFIX = /usr
DESTDIR =

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
CARGO = cargo
# The program under test and to install: another one can be named, such as the tiny build.
VFIO_EARLY ?= $(or $(CARGO_TARGET_DIR),target)/$(TARGET)/release/vfio-early
export VFIO_EARLY
# Each call of cargo below gets the same flags, or it would build everything again. CARGO_FLAGS= is for packagers: --frozen,
# --offline. Their RUSTFLAGS are added to those that the program needs.
export CARGO_ENCODED_RUSTFLAGS := $(shell packaging/rustflags --static)
CARGO_FLAGS =

BOOT = $(CARGO) test -q --target $(TARGET) --test boot --

.PHONY: all build tiny deb rpm arch dist sbom reproducible distributions tools lint check test faults fuzz demo picture boot boot-slow guests firmware bench install uninstall \
	build-arm64 tiny-arm64 test-arm64 boot-arm64 clean

all: build

build:
	$(CARGO) build --release --target $(TARGET) $(CARGO_FLAGS)

# The binary for images and packages: musl, and a standard library rebuilt for size.
TINY = $(or $(CARGO_TARGET_DIR),target)/tiny/$(shell uname -m)-unknown-linux-musl/release/vfio-early
tiny:
	packaging/tiny

# The same two for arm64, on any machine.
build-arm64:
	packaging/cross aarch64 build --release
tiny-arm64:
	MUSL=$$(tests/boot/lab.sh musl) packaging/tiny aarch64

# A package of the tiny binary, in target/packages.
deb rpm arch:
	packaging/package $@

# The source archives of this version, in target/packages: the checkout, and the crates.
dist:
	packaging/dist

# What the program is made of, beside the packages (CycloneDX).
sbom:
	packaging/package sbom

# Builds the program and the package twice, in different folders, and compares.
reproducible:
	tests/reproducible.sh

# What distributions make of the archives: a Debian source package and a spec, built in a Debian 13 root. PART=: one of them.
distributions:
	tests/distributions.sh $(PART)

# What the tests need of this machine.
tools:
	tests/boot/lab.sh tools

# What needs no machine: format, lints, scripts, manuals.
lint:
	$(CARGO) fmt --check
	$(CARGO) clippy -q --target $(TARGET) --all-targets -- -D warnings
	shellcheck $(SCRIPTS)
	tests/licenses.sh
	tests/dependencies.sh
	packaging/release check
	tests/nix.sh
	@# With the compiler of rust-version: the language, the library and the dependencies.
	tests/msrv.sh
	@# Without /proc or /dev/fd, as in a bare chroot, a process substitution reads nothing, and nobody is told.
	! grep -rn '<(' dracut mkinitcpio initramfs-tools
	RUSTDOCFLAGS='-D warnings --cfg own_documentation' $(CARGO) doc -q --no-deps --target $(TARGET)
	command -v mandoc >/dev/null
	! mandoc -Tlint man/* 2>&1 | grep -v -e 'referenced manual not found' -e 'mandoc\.db'

SCRIPTS = .ci/run packaging/cross packaging/tiny packaging/musl-ld packaging/rustflags packaging/package packaging/third-party \
	packaging/debian/postinst packaging/debian/postrm packaging/debian/tests/boot packaging/debian/update-copyright \
	packaging/mkosi/mkosi.postinst.chroot packaging/dist packaging/picture packaging/release packaging/arch/PKGBUILD \
	completions/vfio-early tests/it/completions/ask.bash \
	tests/packages.sh tests/distributions.sh tests/enter tests/licenses.sh tests/nix.sh tests/dependencies.sh tests/reproducible.sh tests/fuzz.sh tests/msrv.sh tests/arm64.sh \
	tests/boot/lab.sh tests/boot/all.sh tests/boot/groups.sh \
	tests/boot/groups/init tests/boot/guests/init tests/boot/guests/inner-init tests/boot/guests/start tests/groups/from-lspci.sh \
	bench/bench bench/guest/bench/run bench/guest/bench/script bench/boot/lab/initramfs-tools/scripts/init-top/zz-mark \
	initramfs-tools/hooks/vfio-early initramfs-tools/scripts/init-top/00-vfio-early \
	dracut/50vfio-early/module-setup.sh dracut/50vfio-early/vfio-early.sh \
	mkinitcpio/install/vfio-early mkinitcpio/hooks/vfio-early

# Everything but the boots.
check: build
	$(CARGO) test -q --target $(TARGET)

# Everything.
test: tools build check
	@echo 'NOT RUN: the same bytes from two folders: make reproducible'
	@echo 'NOT RUN: the builds for arm64 and their tests: make test-arm64'
	@echo 'NOT RUN: what distributions make of the source archives: make distributions'
	tests/boot/all.sh

# The builds for arm64, and their tests under qemu-user.
test-arm64:
	tests/arm64.sh

# Every pair of failures, every kind of failure at every operation, on all simulated machines: hours.
faults:
	VFIO_EARLY_CASES=all $(CARGO) test -q --release --target $(TARGET) --test it -- simulation:: --nocapture

# Fuzzes each entry point for this many seconds, from the corpora in fuzz/corpora.
SECONDS = 60
# cargo-fuzz has flags of its own.
fuzz:
	env -u CARGO_ENCODED_RUSTFLAGS tests/fuzz.sh $(SECONDS)

# The machine booted without and with vfio-early, side by side.
demo: build
	$(BOOT) --demo

# Draws the README's picture of what the demo prints.
picture: build
	$(BOOT) --demo | packaging/picture >docs/terminal.svg.new
	mv docs/terminal.svg.new docs/terminal.svg

# One boot by name, or a few: make boot CASE=gpu-slot (without CASE: a list). STAY=1 leaves a shell in the guest.
boot: build
	$(BOOT) $(if $(CASE),$(if $(STAY),--stay) $(CASE),--list)

# The boots that start guests with claimed devices: an hour or more, because everything in them is emulated twice.
guests: build
	BOOT_JOBS=1 $(BOOT) --guests

# What SeaBIOS and OVMF do with option ROMs, beside what `rom verify` says of them; `make firmware ROM=word` asks about a few.
firmware:
	$(CARGO) test -q --target $(TARGET) --test firmware -- $(ROM)

# vfio-early beside what people use instead: docs/benchmarks.md (half an hour).
bench: build
	bench/bench >docs/benchmarks.md.new
	mv docs/benchmarks.md.new docs/benchmarks.md

# The boots that take too long for `make test`, which says that they are not run.
boot-slow: build
	$(BOOT) --slow

# Boots of arm64, and of its kernel's IOMMU groups: everything is emulated.
boot-arm64: build
	tests/boot/lab.sh binfmt
	VFIO_EARLY=$$(MUSL=$$(tests/boot/lab.sh musl) packaging/tiny aarch64) $(BOOT) $(or $(CASE),--arm64)
	$(if $(CASE),,GROUPS_ARCH=arm64 GROUPS_SEEDS=4 tests/boot/groups.sh)
	$(if $(CASE),,GROUPS_ARCH=arm64-acpi GROUPS_SEEDS=8 tests/boot/groups.sh)

# What is installed: mode, file, place below PREFIX.
INSTALLED = \
	755:$(VFIO_EARLY):bin/vfio-early \
	755:dracut/50vfio-early/module-setup.sh:lib/dracut/modules.d/50vfio-early/module-setup.sh \
	755:dracut/50vfio-early/vfio-early.sh:lib/dracut/modules.d/50vfio-early/vfio-early.sh \
	755:initramfs-tools/hooks/vfio-early:share/initramfs-tools/hooks/vfio-early \
	755:initramfs-tools/scripts/init-top/00-vfio-early:share/initramfs-tools/scripts/init-top/00-vfio-early \
	644:mkinitcpio/install/vfio-early:lib/initcpio/install/vfio-early \
	644:mkinitcpio/hooks/vfio-early:lib/initcpio/hooks/vfio-early \
	644:systemd/vfio-early.service:lib/systemd/system/vfio-early.service \
	644:systemd/vfio-early-status.service:lib/systemd/system/vfio-early-status.service \
	644:systemd/vfio-early-features.service:lib/systemd/system/vfio-early-features.service \
	644:systemd/vfio-early-status.timer:lib/systemd/system/vfio-early-status.timer \
	644:systemd/vfio-early-confirm.service:lib/systemd/system/vfio-early-confirm.service \
	644:udev/60-vfio-early.rules:lib/udev/rules.d/60-vfio-early.rules \
	644:man/vfio-early.8:share/man/man8/vfio-early.8 \
	644:man/vfio-early.conf.5:share/man/man5/vfio-early.conf.5 \
	644:completions/vfio-early:share/bash-completion/completions/vfio-early \
	644:completions/_vfio-early:share/zsh/site-functions/_vfio-early \
	644:completions/vfio-early.fish:share/fish/vendor_completions.d/vfio-early.fish

install:
	@set -e; for entry in $(INSTALLED); do \
		mode=$${entry%%:*}; place=$${entry##*:}; file=$${entry#*:}; file=$${file%:*}; \
		install -v -D -m "$$mode" "$$file" "$(DESTDIR)$(PREFIX)/$$place"; \
	done

# Takes away what install puts there, and the directories that are empty then.
uninstall:
	@set -e; for entry in $(INSTALLED); do \
		place=$${entry##*:}; \
		rm -v -f "$(DESTDIR)$(PREFIX)/$$place"; \
		rmdir -p --ignore-fail-on-non-empty "$(DESTDIR)$(PREFIX)/$${place%/*}" 2>/dev/null || :; \
	done

clean:
	$(CARGO) clean
