// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cases: what is booted, and what must come of it.

use crate::arm;
use crate::generators;
use crate::guests;
use crate::ids;
use crate::lab::{Contents, Suite};
use crate::machine::Machine;
use crate::secure;
use crate::surroundings;
use crate::trial;

/// One case. Its machine is also booted without any configuration; that control boot shows that the host's drivers do
/// take the devices there, or "the driver never came" would prove nothing.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub suite: Suite,
    pub machine: Machine,
    /// What goes into the image by way of its generator.
    pub contents: Contents,
    /// Files that are laid over the image.
    pub overlay: &'static [(&'static str, &'static str)],
    /// The configuration file /etc/vfio-early.conf, laid over the image.
    pub configuration: &'static str,
    /// Added to the kernel command line.
    pub cmdline: &'static str,
    pub expect: Expect,
    /// Run only by name, or with `--slow`.
    pub slow: bool,
}

/// What must come of a case.
pub enum Expect {
    /// No image: the build fails and says this.
    NoImage(&'static str),
    /// A boot that reaches its end.
    Boot(Expected),
    /// A boot in which these devices are claimed too late, which must be noticed.
    Late(&'static [&'static str]),
    /// A boot without the program, in which something else gives these devices, and no others, to vfio-pci.
    Taken(&'static [&'static str]),
    /// A boot that never reaches its end; its console says this.
    Stuck(&'static str),
    /// Boots of one machine with UEFI, one after the other, which keep its variables. Each is the control of the others.
    Trial(&'static [trial::Step]),
}

/// What a boot must look like. A device that is not named must look as in the control boot.
#[derive(Default)]
pub struct Expected {
    /// On vfio-pci, and no other driver ever probed it.
    pub claimed: &'static [&'static str],
    /// On vfio-pci, taken from a driver that is built into the kernel.
    pub detached: &'static [&'static str],
    /// On vfio-pci, claimed when it appeared in the running system, where its host driver was loaded already.
    pub later: &'static [&'static str],
    /// On vfio-pci: virtual functions that no host driver has seen, although it is loaded and takes them in the control boot.
    pub virtual_functions: &'static [&'static str],
    /// On vfio-pci, in slots that are filled while the system runs, in whatever order the kernel finds them. The host's driver may
    /// have been there for a moment: udev loads it for the first of them.
    pub plugged: &'static [&'static str],
    /// No longer there.
    pub gone: &'static [&'static str],
    /// On the driver of the control boot, after an attempt that failed.
    pub given_back: &'static [&'static str],
    /// The driver of the IOMMU comes at another time than in the control boot, and with it the groups of all devices.
    pub regrouped: bool,
    /// How the claim ends when it is run again, which must change nothing.
    pub status: u8,
    /// What the kernel log must say.
    pub says: &'static [&'static str],
    /// What sections of the evidence must say.
    pub told: &'static [(&'static str, &'static str)],
    /// Sections that must hold the SHA-256 sum of QEMU's ROM file.
    pub sums: &'static [&'static str],
}

pub const GPU: &[&str] = &["0000:01:00.0", "0000:01:00.1", "0000:01:00.2"];
pub const CONF: &str = "etc/vfio-early.conf";

/// A case with everything as usual; `..usual()` fills in what a case does not care about.
pub fn usual() -> Case {
    Case {
        name: "",
        about: "",
        suite: Suite::Bookworm,
        machine: Machine::Intel,
        contents: Contents::default(),
        overlay: &[],
        configuration: "",
        cmdline: "",
        expect: Expect::Boot(Expected::default()),
        slow: false,
    }
}

/// All cases, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut cases = claims();
    cases.extend(ids::cases());
    cases.extend(refusals());
    cases.extend(images());
    cases.extend(surroundings::cases());
    cases.extend(generators::generators());
    cases.extend(generators::faults());
    cases.extend(guests::cases());
    cases.extend(trial::cases());
    cases.extend(secure::cases());
    cases.extend(arm::cases());
    cases
}

/// Asked of a guest whose option ROMs are known.
const ROMS: &str = "\
ask rom-at-boot sha256sum /run/vfio-early/rom/0000:02:00.0.rom
ask rom-dump vfio-early rom dump 02:00.0 -o /run/now.rom
ask rom-on-demand sha256sum /run/now.rom
ask rom-verify vfio-early rom verify /run/now.rom --device 02:00.0
ask rom-none vfio-early rom dump 03:00.0 -o /run/none.rom
ask rom-shadow vfio-early rom dump 00:02.0 -o /run/shadow.rom
# Switched off again, the kernel gives nothing.
ask rom-off cat /sys/bus/pci/devices/0000:02:00.0/rom
ask rom-enable cat /sys/bus/pci/devices/0000:02:00.0/enable
";

/// Devices that go back to the host and come again, one that is configured and one that is not.
const BY_HAND: &str = "\
ask release vfio-early release 03:00.0
ask release-net ls /sys/bus/pci/devices/0000:03:00.0/net
ask drifted vfio-early status
ask bind vfio-early bind 03:00.0
ask bind-other vfio-early bind --save 02:00.0
ask saved cat /etc/vfio-early.d/0000:02:00.0.conf
rm /etc/vfio-early.d/0000:02:00.0.conf
ask bound vfio-early status
exec 7<>/dev/vfio/$(basename \"$(readlink /sys/bus/pci/devices/0000:02:00.0/iommu_group)\")
ask held vfio-early release 02:00.0
exec 7>&-
ask release-other vfio-early release 02:00.0
ask release-other-net ls /sys/bus/pci/devices/0000:02:00.0/net
ask released vfio-early status
";

/// A group that somebody has open.
const STATUS: &str = "\
exec 7<>/dev/vfio/$(basename \"$(readlink /sys/bus/pci/devices/0000:01:00.0/iommu_group)\")
ask held vfio-early status
exec 7>&-
ask engines vfio-early status --format prometheus
";

/// Who uses the memory of displays, and where the firmware's framebuffer is: before anything is claimed, and at the end.
const MEMORY: &[(&str, &str)] = &[
    ("lab/before", "[ -e /lab/seen ] || sh /lab/framebuffers >/lab/seen\n"),
    (
        "lab/framebuffers",
        "ls /sys/bus/platform/drivers/efi-framebuffer\ngrep -E 'efifb|0000:0[01]:0[02].0' /proc/iomem\n",
    ),
    (
        "lab/more",
        "echo @@ framebuffer-before\ncat /lab/seen\nask framebuffer-after sh /lab/framebuffers\nask checked vfio-early check\n",
    ),
];

/// The same, and a client of VFIO.
const CLIENT: &[(&str, &str)] = &[
    MEMORY[0],
    MEMORY[1],
    (
        "lab/more",
        "echo @@ framebuffer-before\ncat /lab/seen\nask framebuffer-after sh /lab/framebuffers\nask checked vfio-early check\n\
         ask client perl /lab/client 0000:01:00.0\n",
    ),
    ("lab/client", include_str!("client.pl")),
];

/// Debian's images have no perl.
const PERL: &[(&str, &str)] = &[(
    "usr/share/initramfs-tools/hooks/perl",
    "#!/bin/sh\n[ \"$1\" != prereqs ] || exit 0\n. /usr/share/initramfs-tools/hook-functions\ncopy_exec /usr/bin/perl\n",
)];

/// The reset methods of the two network cards.
const RESETS: &str = "\
for card in 02 03; do ask resets-$card cat /sys/bus/pci/devices/0000:$card:00.0/reset_method; done
";

/// Whether vfio-pci may let the two network cards sleep.
const POWER: &str = "\
for card in 02 03; do
	for what in power/control power_state d3cold_allowed; do
		case $what in power/control) name=power ;; power_state) name=power-state ;; *) name=d3cold ;; esac
		ask $name-$card cat /sys/bus/pci/devices/0000:$card:00.0/$what
	done
done
";

/// What the kernel lists for the first function of a card, and takes.
const RESET_CARD: &[(&str, &str)] = &[
    ("lab/before", "[ -e /lab/listed ] || cat /sys/bus/pci/devices/0000:06:00.0/reset_method >/lab/listed\n"),
    (
        "lab/more",
        "ask reset-before-0 cat /lab/listed\n\
         for function in 0 1; do ask reset-$function cat /sys/bus/pci/devices/0000:06:00.$function/reset_method; done\n\
         ask complaints sh -c 'dmesg | grep -ci \"reset method\"'\n\
         ask bus sh -c 'echo bus flr >/sys/bus/pci/devices/0000:06:00.0/reset_method'\n",
    ),
];

/// Whether a snapshot of the guest says what the guest says.
const SNAPSHOT: &str = "\
echo '@@ snapshot'
vfio-early -q snapshot -o /run/machine.txt
for command in 'status --all' 'status --json' check groups 'groups --tree' 'claim --dry-run' detect 'modules'; do
	vfio-early $command >/run/live 2>&1
	vfio-early --root /run/machine.txt $command >/run/over 2>&1
	if cmp -s /run/live /run/over; then echo \"same $command\"; else echo \"other $command\"; cat /run/live /run/over; fi
done
";

/// Devices that must end on vfio-pci.
fn claims() -> Vec<Case> {
    vec![
        Case {
            name: "gpu-slot",
            about: "a display device with its audio and USB functions, configuration packed by the hook",
            contents: Contents { files: &[(CONF, "claim 01:00.0 id=1234:1111\n")], ..Contents::default() },
            overlay: &[("lab/more", STATUS)],
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("status", "all 3 claimed devices are ready for a guest, the GPU at 0000:01:00.0 among them\n"),
                    ("status", "isolated from other groups by ACS"),
                    ("held", "in use by "),
                    ("held", "open in "),
                    ("engines", "vfio_early_claims{state=\"claimed\"} 3"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "twins",
            about: "one of two network cards with the same ID, by address, and reset in another way than its twin",
            configuration: "claim 0000:03:00.0 reset=bus+pm\n",
            overlay: &[("lab/more", RESETS)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:03:00.0"],
                told: &[
                    ("resets-02", "pm bus"),
                    ("resets-03", "bus pm"),
                    ("report", "\"op\":\"reset-method\",\"value\":\"bus pm\",\"result\":\"ok\""),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "by-path",
            about: "a device below a bridge, by path",
            configuration: "claim 00:1c.1/00.0\n",
            overlay: &[("lab/more", SNAPSHOT)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:02:00.0"],
                told: &[
                    ("snapshot", "same status --all"),
                    ("snapshot", "same status --json"),
                    ("snapshot", "same check"),
                    ("snapshot", "same groups\n"),
                    ("snapshot", "same groups --tree"),
                    ("snapshot", "same claim --dry-run"),
                    ("snapshot", "same detect"),
                    ("snapshot", "same modules"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "all-by-id",
            about: "both network cards by their ID",
            configuration: "claim 8086:10d3 match=all\n",
            expect: Expect::Boot(Expected { claimed: &["0000:02:00.0", "0000:03:00.0"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "cmdline",
            about: "claims on the kernel command line only",
            cmdline: "vfio_early.claim=01:00.0,with=card,03:00.0",
            expect: Expect::Boot(Expected {
                claimed: &["0000:01:00.0", "0000:01:00.1", "0000:01:00.2", "0000:03:00.0"],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "framebuffer",
            about: "the boot display, from below the firmware's framebuffer",
            configuration: "set framebuffer release\nclaim 00:02.0\n",
            cmdline: "vga=0x317",
            // vfio-pci takes the framebuffer away too: that this was done before is in the steps of the report.
            overlay: &[(
                "lab/before",
                "[ ! -e /sys/bus/platform/drivers/vesa-framebuffer/vesa-framebuffer.0 ] || echo lab: framebuffer >/dev/kmsg\n",
            )],
            expect: Expect::Boot(Expected {
                claimed: &["0000:00:02.0"],
                told: &[
                    ("log", "lab: framebuffer"),
                    ("report", "\"op\":\"release-framebuffer\",\"value\":\"vesa-framebuffer.0\",\"result\":\"ok\""),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "framebuffer-kept",
            about: "the boot display, whose claim fails: the firmware's framebuffer stays",
            contents: Contents { without: &["vfio-pci"], ..Contents::default() },
            configuration: "set framebuffer release\nclaim 00:02.0\n",
            cmdline: "vga=0x317",
            overlay: &[
                ("lab/before", "sh /lab/framebuffer before\n"),
                ("lab/after", "sh /lab/framebuffer after\n"),
                (
                    "lab/framebuffer",
                    "[ ! -e /sys/bus/platform/drivers/vesa-framebuffer/vesa-framebuffer.0 ] || \
                 echo \"lab: framebuffer $1\" >/dev/kmsg\n",
                ),
            ],
            expect: Expect::Boot(Expected {
                given_back: &["0000:00:02.0"],
                status: 1,
                says: &["vfio-pci"],
                told: &[("log", "lab: framebuffer before"), ("log", "lab: framebuffer after")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "uefi",
            about: "the only display, of class 0380, with the framebuffer of UEFI in its memory: it is released",
            suite: Suite::Trixie,
            machine: Machine::Uefi,
            configuration: "set framebuffer release\nclaim 01:00.0 id=1234:1111 allow=last-display\n",
            contents: Contents { files: PERL, ..Contents::default() },
            overlay: CLIENT,
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("framebuffer-before", "efi-framebuffer.0\n"),
                    ("framebuffer-before", " : efifb"),
                    ("report", "\"op\":\"release-framebuffer\",\"value\":\"efi-framebuffer.0\",\"result\":\"ok\""),
                    ("client", "BAR 0: 16777216 bytes"),
                    ("client", "read: 00000000\nmapped: 00000000\n"),
                    ("status", "all 3 claimed devices are ready for a guest"),
                    ("status-exit", "0"),
                    ("status-json", "\"boot_display\":true,\"boot_display_by\":\"framebuffer\""),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "uefi-kept",
            about: "the same without the release: the framebuffer keeps the memory, and status does not say ready",
            suite: Suite::Bookworm,
            machine: Machine::Uefi,
            configuration: "claim 01:00.0 id=1234:1111 allow=last-display\n",
            contents: Contents { files: PERL, ..Contents::default() },
            overlay: CLIENT,
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("framebuffer-after", " : efifb"),
                    ("status", "0000:01:00.0: efifb uses its memory"),
                    ("status-exit", "1"),
                    ("checked", "keeps its memory"),
                    ("client", "read: Device or resource busy\nmapped: Device or resource busy\n"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "uefi-released",
            about: "the same on Linux 6.1, which has the framebuffer below no PCI device: /proc/iomem tells where it is",
            machine: Machine::Uefi,
            configuration: "set framebuffer release\nclaim 01:00.0 id=1234:1111 allow=last-display\n",
            contents: Contents { files: PERL, ..Contents::default() },
            overlay: CLIENT,
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("framebuffer-before", " : efifb"),
                    ("report", "\"op\":\"release-framebuffer\",\"value\":\"efi-framebuffer.0\",\"result\":\"ok\""),
                    ("client", "BAR 0: 16777216 bytes"),
                    ("client", "read: 00000000\nmapped: 00000000\n"),
                    ("status-exit", "0"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "uefi-two",
            about: "the display that the framebuffer is not in: the host's console stays",
            suite: Suite::Trixie,
            machine: Machine::UefiTwo,
            configuration: "set framebuffer release\nclaim 01:00.0 id=1234:1111\n",
            overlay: MEMORY,
            expect: Expect::Boot(Expected {
                claimed: GPU,
                told: &[
                    ("framebuffer-before", " : efifb"),
                    ("framebuffer-before", "efi-framebuffer.0\n"),
                    ("status-exit", "0"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "slot",
            about: "a display with a second function, whose slot has a function that is not part of the card",
            suite: Suite::Trixie,
            machine: Machine::Slot,
            configuration: "claim 01:00.0 id=1234:1111\n",
            overlay: MEMORY,
            expect: Expect::Boot(Expected {
                claimed: &["0000:01:00.0", "0000:01:00.1"],
                told: &[("checked", "shares its slot with 0000:01:00.2"), ("status-exit", "0")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "bridges",
            about: "a card that brings bridges of its own: what is behind another one of them goes along",
            suite: Suite::Trixie,
            machine: Machine::Bridges,
            configuration: "claim 03:01.0 id=1b36:0100\n",
            expect: Expect::Boot(Expected { claimed: &["0000:03:01.0", "0000:04:01.0"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "power",
            about: "two network cards, one of which is kept awake",
            configuration: "claim 02:00.0\nclaim 03:00.0 power=on\n",
            overlay: &[("lab/more", POWER)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:02:00.0", "0000:03:00.0"],
                // vfio-pci lets a device sleep.
                told: &[("power-02", "auto"), ("power-03", "on"), ("power-state-03", "D0"), ("d3cold-03", "0")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "reset-card",
            about: "reset= for a card of two functions, of which the kernel lists more than it takes",
            suite: Suite::Backports,
            machine: Machine::Functions,
            configuration: "claim 06:00.* reset=bus+flr\n",
            overlay: RESET_CARD,
            expect: Expect::Boot(Expected {
                // Debian's kernels have the driver built in.
                detached: &["0000:06:00.0", "0000:06:00.1"],
                told: &[
                    ("reset-before-0", "bus"),
                    ("reset-0", "flr"),
                    ("reset-1", "flr"),
                    ("report", "\"op\":\"reset-method\",\"value\":\"flr\",\"result\":\"ok\""),
                    ("complaints-exit", "1"),
                    ("bus", "Invalid argument"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "virtual",
            about: "virtual functions of a network card and of an NVMe controller, which appear after the claim",
            suite: Suite::Trixie,
            machine: Machine::Functions,
            configuration: "claim vf:04:00.0\nclaim vf:05:00.0 id=1b36:0010\n",
            expect: Expect::Boot(Expected {
                virtual_functions: &["0000:04:10.0", "0000:04:10.2", "0000:05:00.1", "0000:05:00.2"],
                told: &[("status-exit", "0")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "built-in",
            about: "a device whose driver is built into the kernel",
            configuration: "claim 00:05.0\n",
            expect: Expect::Boot(Expected { detached: &["0000:00:05.0"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "by-hand",
            about: "released, drifted, bound again; another one bound, kept while it is open, released",
            configuration: "claim 03:00.0\n",
            overlay: &[("lab/more", BY_HAND)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:03:00.0"],
                says: &["0000:03:00.0: released to e1000e", "0000:02:00.0: claimed for vfio-pci, taken from e1000e"],
                told: &[
                    ("release-exit", "0"),
                    ("release-net-exit", "0"),
                    ("drifted", "it was on vfio-pci, e1000e has it now"),
                    ("drifted-exit", "1"),
                    ("bind-exit", "0"),
                    ("bind-other-exit", "0"),
                    ("saved", "claim 0000:02:00.0 id=8086:10d3"),
                    ("bound", "all 2 claimed devices are ready for a guest"),
                    ("bound", "0000:02:00.0 (bind)"),
                    ("bound-exit", "0"),
                    ("held", "open: stop the guest first"),
                    ("held-exit", "1"),
                    ("release-other-exit", "0"),
                    ("release-other-net-exit", "0"),
                    ("released", "the claimed device is ready for a guest"),
                    ("released-exit", "0"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "amd",
            about: "the graphics card behind AMD's IOMMU",
            machine: Machine::Amd,
            configuration: "claim 01:00.0\n",
            expect: Expect::Boot(Expected { claimed: GPU, ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "roms",
            about: "option ROMs: saved at boot and on demand, one without a BAR, one that is a shadow",
            machine: Machine::Roms,
            configuration: "claim 02:00.0 rom=save\nclaim 03:00.0 rom=save\n",
            overlay: &[("lab/more", ROMS)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:02:00.0", "0000:03:00.0"],
                sums: &["rom-at-boot", "rom-on-demand"],
                told: &[
                    ("rom-dump-exit", "0"),
                    ("rom-verify-exit", "0"),
                    ("rom-none", "no ROM BAR"),
                    ("rom-none-exit", "1"),
                    ("rom-shadow", "0xc0000"),
                    ("rom-off", "Invalid argument"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "trixie-gpu-slot",
            about: "gpu-slot on Debian 13",
            suite: Suite::Trixie,
            contents: Contents { files: &[(CONF, "claim 01:00.0 id=1234:1111\n")], ..Contents::default() },
            expect: Expect::Boot(Expected { claimed: GPU, ..Expected::default() }),
            ..usual()
        },
    ]
}

/// Makes the guest stand on a disk and a network card: the file system on dm-linear on dm-crypt, as LVM and LUKS set them
/// up, on an NVMe namespace that two controllers reach; the default route on a bridge on a bond. The initramfs itself stands
/// on nothing, so the program runs in a root of its own.
const IN_USE: &[(&str, &str)] = &[
    (
        "lab/initramfs-tools/hooks/in-use",
        "#!/bin/sh\n[ \"$1\" = prereqs ] && exit 0\n. /usr/share/initramfs-tools/hook-functions\n\
         manual_add_modules dm_crypt xts ecb bonding bridge ext4\ncopy_exec /sbin/dmsetup\ncopy_file script /lab/more\n",
    ),
    (
        "lab/more",
        "{ modprobe -a dm_crypt xts ecb bonding bridge ext4\n\
         disk=$(grep -lx 131072 /sys/class/block/nvme[0-9]n*/size | head -n 1)\n\
         disk=${disk%/size} disk=${disk##*/} key=0123456789abcdef0123456789abcdef\n\
         readlink /sys/class/block/$disk\n\
         dm='dmsetup create --noudevsync --noudevrules'\n\
         $dm crypt --table \"0 131072 crypt aes-xts-plain64 $key$key 0 /dev/$disk 0\"\n\
         $dm root --table '0 131072 linear /dev/dm-0 0'\n\
         busybox mke2fs /dev/dm-1\n\
         mkdir /new && mount -t ext4 /dev/dm-1 /new\n\
         mkdir /new/proc /new/sys /new/etc /new/run && cp /usr/bin/vfio-early /new/\n\
         mount -t proc proc /new/proc && mount -t sysfs sysfs /new/sys\n\
         nic=$(ls /sys/bus/pci/devices/0000:02:00.0/net)\n\
         busybox ip link set \"$nic\" down\n\
         echo +bond0 >/sys/class/net/bonding_masters\n\
         echo \"+$nic\" >/sys/class/net/bond0/bonding/slaves\n\
         busybox brctl addbr br0 && busybox brctl addif br0 bond0\n\
         for name in bond0 br0; do busybox ip link set $name up; done\n\
         busybox ip addr add 10.0.2.15/24 dev br0 && busybox ip route add default via 10.0.2.2\n\
         for claim in '04:00.0 id=1b36:0010' '05:00.0 id=1b36:0010' '06:00.0 id=1b36:0010' '02:00.0 id=8086:10d3' \
         '03:00.0 id=8086:10d3'; do echo \"claim $claim\"; done >/new/etc/vfio-early.conf\n\
         } >/lab/setup 2>&1\necho @@ setup\ncat /lab/setup /new/proc/self/mountinfo /proc/net/route\n\
         ask in-use busybox chroot /new /vfio-early check --json\n\
         ask in-use-claim busybox chroot /new /vfio-early claim --device 0000:04:00.0 --device 0000:02:00.0\n",
    ),
];

/// Claims that must not be carried out.
fn refusals() -> Vec<Case> {
    vec![
        Case {
            name: "in-use",
            about: "what the running system stands on is refused, what it does not stand on is not",
            machine: Machine::Layers,
            contents: Contents { files: IN_USE, ..Contents::default() },
            expect: Expect::Boot(Expected {
                told: &[
                    ("setup", "virtual/nvme-subsystem/nvme-subsys"),
                    ("in-use-exit", "1"),
                    ("in-use", "0000:04:00.0 (1b36:0010) is in use: mounted at / (through root, crypt, nvme"),
                    ("in-use", "0000:05:00.0 (1b36:0010) is in use: mounted at / (through root, crypt, nvme"),
                    ("in-use", "\"device\":\"0000:06:00.0\",\"state\":\"pending\""),
                    ("in-use", "0000:02:00.0 (8086:10d3) is in use: default route (through br0, bond0, e"),
                    ("in-use", "\"device\":\"0000:03:00.0\",\"state\":\"pending\""),
                    ("in-use-claim-exit", "1"),
                ],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "ambiguous",
            about: "an ID that two devices have",
            configuration: "claim 8086:10d3\n",
            expect: Expect::Boot(Expected { status: 1, says: &["8086:10d3"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "one-refused",
            about: "a refused claim does not stop the next one, nor does what the device cannot do",
            configuration: "claim 02:00.0 id=10de:1e04\nclaim 03:00.0 reset=bus+flr rebar=0:1M\n",
            overlay: &[("lab/more", RESETS)],
            expect: Expect::Boot(Expected {
                claimed: &["0000:03:00.0"],
                status: 1,
                says: &[
                    "10de:1e04",
                    "reset=bus+flr: cannot write",
                    "0000:03:00.0: reset=bus+flr: its reset_method lists `pm+bus`",
                    "rebar=0:1M of 0000:03:00.0: this BAR cannot",
                ],
                told: &[("resets-03", "pm bus")],
                ..Expected::default()
            }),
            ..usual()
        },
        Case {
            name: "iommu-absent",
            about: "the firmware offers no IOMMU",
            machine: Machine::Bare,
            configuration: "claim 01:00.0\n",
            expect: Expect::Boot(Expected { status: 3, says: &["IOMMU"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "iommu-off",
            about: "the kernel command line turns the IOMMU off",
            machine: Machine::IntelOff,
            configuration: "claim 01:00.0\n",
            expect: Expect::Boot(Expected { status: 3, says: &["intel_iommu=on"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "broken",
            about: "one broken line: nothing is claimed",
            configuration: "claim 01:00.0\nclaim 03:00.0 match=some\n",
            expect: Expect::Boot(Expected { status: 2, says: &["/etc/vfio-early.conf:2"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "off",
            about: "vfio_early=off: nothing is touched, whatever is configured",
            configuration: "claim 01:00.0\n",
            cmdline: "vfio_early=off",
            expect: Expect::Boot(Expected::default()),
            ..usual()
        },
        Case {
            name: "no-vfio",
            about: "vfio-pci is not in the image: the host's drivers get the devices back",
            contents: Contents { without: &["vfio-pci"], ..Contents::default() },
            configuration: "claim 01:00.0\n",
            expect: Expect::Boot(Expected { given_back: GPU, status: 1, says: &["vfio-pci"], ..Expected::default() }),
            ..usual()
        },
    ]
}

/// What happens when an image is made.
fn images() -> Vec<Case> {
    vec![
        Case {
            name: "image-order",
            about: "other scripts that would come first, depend on each other, or run in a circle",
            contents: Contents {
                files: &[
                    (CONF, "claim 03:00.0\n"),
                    (
                        "lab/initramfs-tools/scripts/init-top/10-nosy",
                        "#!/bin/sh\n[ \"$1\" = prereqs ] && echo udev\nexit 0\n",
                    ),
                    (
                        "lab/initramfs-tools/scripts/init-top/Udev",
                        "#!/bin/sh\n[ \"$1\" = prereqs ] && echo 10-nosy\nexit 0\n",
                    ),
                    (
                        "lab/initramfs-tools/scripts/init-top/circle-a",
                        "#!/bin/sh\n[ \"$1\" = prereqs ] && echo circle-b 00-vfio-early\nexit 0\n",
                    ),
                    (
                        "lab/initramfs-tools/scripts/init-top/circle-b",
                        "#!/bin/sh\n[ \"$1\" = prereqs ] && echo circle-a missing\nexit 0\n",
                    ),
                ],
                ..Contents::default()
            },
            expect: Expect::Boot(Expected { claimed: &["0000:03:00.0"], ..Expected::default() }),
            ..usual()
        },
        Case {
            name: "image-broken",
            about: "the build fails for a broken configuration",
            contents: Contents { files: &[(CONF, "claim 01:00.0\nclaim nonsense\n")], ..Contents::default() },
            expect: Expect::NoImage("/etc/vfio-early.conf:2"),
            ..usual()
        },
        Case {
            name: "image-no-script",
            about: "the build fails if the script would not run",
            contents: Contents {
                disabled: &["usr/share/initramfs-tools/scripts/init-top/00-vfio-early"],
                ..Contents::default()
            },
            expect: Expect::NoImage("00-vfio-early would not run"),
            ..usual()
        },
        Case {
            name: "image-late",
            about: "the build fails if the script would run after udev",
            contents: Contents {
                files: &[(
                    "lab/initramfs-tools/scripts/init-top/00-vfio-early",
                    "#!/bin/sh\n[ \"$1\" = prereqs ] && echo udev\nexit 0\n",
                )],
                ..Contents::default()
            },
            expect: Expect::NoImage("would not run before scripts/init-top/udev"),
            ..usual()
        },
    ]
}
