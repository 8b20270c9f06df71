# SPDX-License-Identifier: MIT OR Apache-2.0

PREFIX = /usr
DESTDIR =

TARGET := $(shell rustc -vV | sed -n 's/^host: //p')
CARGO = cargo
# The program under test and to install: another one can be named, such as the tiny build.
VFIO_EARLY = target/$(TARGET)/release/vfio-early
export VFIO_EARLY

BOOT = $(CARGO) test -q --target $(TARGET) --test boot --

.PHONY: all build check test demo boot install clean

all: build

build:
	$(CARGO) build --release --target $(TARGET)

# Everything but the boots.
check:
	$(CARGO) test -q --target $(TARGET)

# Everything.
test: build check
	$(BOOT)

# The machine booted without and with vfio-early, side by side.
demo: build
	$(BOOT) --demo

# One boot by name, or a few: make boot CASE=gpu-slot (without CASE: a list). STAY=1 leaves a shell in the guest.
boot: build
	$(BOOT) $(if $(CASE),$(if $(STAY),--stay) $(CASE),--list)

install:
	install -D -m 755 $(VFIO_EARLY) $(DESTDIR)$(PREFIX)/bin/vfio-early
	install -D -m 755 initramfs-tools/hooks/vfio-early $(DESTDIR)$(PREFIX)/share/initramfs-tools/hooks/vfio-early
	install -D -m 755 initramfs-tools/scripts/init-top/00-vfio-early \
		$(DESTDIR)$(PREFIX)/share/initramfs-tools/scripts/init-top/00-vfio-early

clean:
	$(CARGO) clean
