// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cases that start guests with what is claimed: what `vfio-early guest` prints is what starts them. What a guest without
//! the claim would see is in `guest-unclaimed`.

use crate::cases::{CONF, Case, Expect, Expected, usual};
use crate::lab::{Contents, Suite};
use crate::machine::Machine;

/// The scripts that every case has.
const INIT: (&str, &str) = ("lab/init", include_str!("guests/init"));
const INNER: (&str, &str) = ("lab/inner-init", include_str!("guests/inner-init"));
const START: (&str, &str) = ("lab/start", include_str!("guests/start"));

/// The card and the network card, twice: they come back.
const CARD: &str = "\
. /lab/start
inner e1000e bochs snd-hda-intel xhci-pci
with_kvm
ask guest vfio-early guest --format qemu --memory 256M --vcpus 1 01:00.0 02:00.0
printed=$(vfio-early guest --format qemu --memory 256M --vcpus 1 01:00.0 02:00.0)
start first \"$printed\"
ask between vfio-early status
start second \"$printed\"
ask afterwards vfio-early status
ask iommufd vfio-early guest --iommufd 02:00.0
ask cdev timeout 120 qemu-system-x86_64 -machine q35 -accel tcg -nodefaults -display none -object iommufd,id=iommufd \
-device vfio-pci,host=0000:02:00.0,iommufd=iommufd
";

const CARD_SAYS: &[(&str, &str)] = &[
    ("guest-exit", "0"),
    ("first", "inner 0000:01:00.0 0x1234 0x038000 bochs"),
    ("first", "inner 0000:01:00.1 0x8086 0x040300 snd_hda_intel"),
    ("first", "inner 0000:01:00.2 0x1b36 0x0c0330 xhci"),
    ("first", "inner 0000:02:00.0 0x8086 0x020000 e1000e 52:54:00:12:34:"),
    ("first", "inner end"),
    ("between-exit", "0"),
    ("second", "inner 0000:01:00.0 0x1234 0x038000 bochs"),
    ("second", "inner 0000:01:00.2 0x1b36 0x0c0330 xhci"),
    ("second", "inner 0000:02:00.0 0x8086 0x020000 e1000e 52:54:00:12:34:"),
    ("second", "inner end"),
    ("afterwards", "ready for a guest"),
    ("afterwards-exit", "0"),
    // Debian's kernels have no files for iommufd, and QEMU wants them.
    ("iommufd", "0000:02:00.0 has no file in /dev/vfio/devices"),
    ("iommufd-exit", "1"),
    ("cdev", "vfio-dev/vfio"),
    ("cdev-exit", "1"),
];

/// Nothing is claimed: `guest` refuses, and QEMU, DPDK and libvirt could not do it either.
const UNCLAIMED: &str = "\
ask guest vfio-early guest --format qemu 01:00.0 02:00.0
ask qemu timeout 120 qemu-system-x86_64 -machine q35 -accel tcg -nodefaults -display none -device vfio-pci,host=0000:02:00.0
ask convert timeout 120 qemu-img convert -f raw -O raw nvme://0000:06:00.0/1 /run/disk
";

/// The disk, through QEMU's own driver.
///
/// It may take several attempts, for a fault of the disk that QEMU emulates: it sends the interrupt of a queue only if MSI-X
/// was on when the queue was made (hw/nvme/ctrl.c, `nvme_init_cq`; hw/pci/msix.c, `msix_notify`), and QEMU's driver makes
/// the first queue before that (block/nvme.c, `nvme_init`). The driver looks once without an interrupt, right after each
/// command, and then waits for ever if the disk was not that fast. A real disk sends it.
const DISK: &str = "\
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
	timeout -k 5 60 qemu-img convert -f raw -O raw nvme://0000:06:00.0/1 /run/disk && break
	echo lab: attempt $number >/dev/kmsg
done
ask sum sha256sum /run/disk
ask afterwards vfio-early status
";

/// DPDK's own driver for the network card. Without huge pages each page is one of the 65,535 mappings that VFIO allows.
const DPDK: &str = "\
ask testpmd timeout -s INT 90 dpdk-testpmd --no-huge -m 64 --iova-mode=va -l 0,1 -a 0000:02:00.0 -- \
--total-num-mbufs=2048 --auto-start --tx-first --stats-period 5 --no-lsc-interrupt
ask afterwards vfio-early status
";

/// A virtual function. udev's rule claims it when it appears.
const VIRTUAL: &str = "\
. /lab/start
inner igbvf
with_kvm
/usr/lib/systemd/systemd-udevd --daemon >/dev/null 2>&1
echo 2 >/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs
udevadm settle
ask claimed vfio-early status
printed=$(vfio-early guest --format qemu --memory 256M --vcpus 1 04:10.0)
start virtual \"$printed\"
echo 0 >/sys/bus/pci/devices/0000:04:00.0/sriov_numvfs
udevadm settle
";

/// libvirt, without and with its own detaching.
const LIBVIRT: &str = "\
. /lab/start
inner e1000e
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/dbus /run/libvirt
dbus-daemon --system --fork
# Who may use KVM is udev's business.
/usr/lib/systemd/systemd-udevd --daemon >/dev/null 2>&1
virtlogd -d
libvirtd -d
# domain SECTION MANAGED: defines and starts one.
domain() {
	vfio-early guest --domain inner --memory 256M 02:00.0 >/run/domain.xml 2>/dev/null
	sed -i -e \"s/managed='no'/managed='$2'/\" -e \"s|</os>|<kernel>/boot/vmlinux</kernel><initrd>/run/inner</initrd><cmdline>$cmdline</cmdline></os>|\" \
-e \"s|<serial type='pty'/>|<serial type='file'><source path='/run/serial'/></serial>|\" /run/domain.xml
	ask define-$1 virsh define /run/domain.xml
	ask start-$1 virsh start inner
	ask running-$1 vfio-early status
}
domain emulated no
virsh destroy inner
ask stopped-emulated vfio-early status
virsh undefine inner
# libvirt looks for KVM when it starts.
with_kvm
udevadm settle
kill $(cat /run/libvirtd.pid)
sleep 5
libvirtd -d
for managed in no yes; do
	domain $managed $managed
	for second in $(seq 2400); do
		[ \"$(virsh domstate inner | head -n 1)\" = running ] || break
		sleep 1
	done
	ask serial-$managed cat /run/serial
	ask stopped-$managed vfio-early status
	ask undefine-$managed virsh undefine inner
	rm -f /run/serial
done
";

const LIBVIRT_SAYS: &[(&str, &str)] = &[
    ("define-emulated-exit", "0"),
    ("start-emulated-exit", "0"),
    ("running-emulated", "open in qemu-system-x86"),
    ("stopped-emulated", "ready for a guest"),
    ("define-no-exit", "0"),
    ("start-no-exit", "0"),
    ("running-no", "open in qemu-system-x86"),
    ("serial-no", "e1000e 52:54:00:12:34:"),
    ("stopped-no", "ready for a guest"),
    ("stopped-no-exit", "0"),
    ("define-yes-exit", "0"),
    ("start-yes-exit", "0"),
    ("serial-yes", "e1000e 52:54:00:12:34:"),
    ("stopped-yes", "ready for a guest"),
    ("stopped-yes-exit", "0"),
];

/// The SHA-256 sum of [`known_content`](crate::machine::known_content).
const KNOWN: &str = "317284642ef169e6af6a610cd8faf9265e1a2861fe5e331f32ce87f64b10ba87";

fn guests() -> Case {
    Case { suite: Suite::Guests, machine: Machine::Guests, ..usual() }
}

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "guest-unclaimed",
            about: "without claims: guest refuses, and neither QEMU nor its driver for disks gets a device",
            contents: Contents { files: &[INIT, ("lab/more", UNCLAIMED)], ..Contents::default() },
            expect: Expect::Boot(Expected {
                told: &[("guest", "it is bound to"), ("guest-exit", "1"), ("qemu-exit", "1"), ("convert-exit", "1")],
                ..Expected::default()
            }),
            ..guests()
        },
        Case {
            name: "guest-card",
            about: "a card of three functions and a network card, in a guest that is started twice; iommufd, which the kernel lacks",
            contents: Contents {
                files: &[INIT, INNER, START, (CONF, "claim 01:00.0\nclaim 02:00.0\n"), ("lab/more", CARD)],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected {
                claimed: &["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:02:00.0"],
                told: CARD_SAYS,
                ..Expected::default()
            }),
            ..guests()
        },
        Case {
            name: "guest-disk",
            about: "a claimed NVMe disk, read by QEMU's own driver",
            contents: Contents {
                files: &[INIT, (CONF, "claim 06:00.0 id=1b36:0010\n"), ("lab/more", DISK)],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected {
                claimed: &["0000:06:00.0"],
                told: &[("sum", KNOWN), ("afterwards-exit", "0")],
                ..Expected::default()
            }),
            ..guests()
        },
        Case {
            name: "guest-dpdk",
            about: "a claimed network card, driven by DPDK",
            contents: Contents { files: &[INIT, (CONF, "claim 02:00.0\n"), ("lab/more", DPDK)], ..Contents::default() },
            expect: Expect::Boot(Expected {
                claimed: &["0000:02:00.0"],
                told: &[
                    ("testpmd", "Port 0: 52:54:00:12:34:5"),
                    ("testpmd", "TX-packets: 32"),
                    ("afterwards-exit", "0"),
                ],
                ..Expected::default()
            }),
            ..guests()
        },
        Case {
            name: "guest-virtual",
            about: "a virtual function in a guest",
            contents: Contents {
                files: &[INIT, INNER, START, (CONF, "claim vf:04:00.0\n"), ("lab/more", VIRTUAL)],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected {
                told: &[("claimed-exit", "0"), ("virtual", "0x8086 0x020000 igbvf ")],
                ..Expected::default()
            }),
            ..guests()
        },
        Case {
            name: "guest-libvirt",
            about: "libvirt starts a domain with a claimed network card, with managed='no' and 'yes'",
            contents: Contents {
                files: &[INIT, INNER, START, (CONF, "claim 02:00.0\n"), ("lab/more", LIBVIRT)],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected { claimed: &["0000:02:00.0"], told: LIBVIRT_SAYS, ..Expected::default() }),
            ..guests()
        },
    ]
}
