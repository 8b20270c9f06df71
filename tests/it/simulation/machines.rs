// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines and configurations made by hand, each for one way in which a claim can go.

use nix::errno::Errno;

use super::case::Case;
use crate::simulated::{Builder, GPU, GPU_AUDIO, GPU_UCSI, GPU_USB, IGPU, NIC, NVME, Place, Probe, SATA, Version};

/// An internal display, a card of four functions at 01:00, one of two at 02:00, NVMe at 03:00, a network card at 04:00.
pub(super) fn desktop(config: &str) -> Builder {
    desktop_with(Version::default(), config)
}

/// The same with this kernel.
pub(super) fn desktop_with(version: Version, config: &str) -> Builder {
    let mut builder = Builder::of(version);
    for port in 1..=4 {
        builder.port(&format!("0000:00:0{port}.0"));
    }
    builder.function("0000:00:12.0", None, &IGPU).function("0000:00:17.0", None, &SATA);
    for (function, model) in [GPU, GPU_AUDIO, GPU_USB, GPU_UCSI].iter().enumerate() {
        builder.function(&format!("0000:01:00.{function}"), Some("0000:00:01.0"), model);
    }
    for (function, model) in [GPU, GPU_AUDIO].iter().enumerate() {
        builder.function(&format!("0000:02:00.{function}"), Some("0000:00:02.0"), model);
    }
    builder.function("0000:03:00.0", Some("0000:00:03.0"), &NVME);
    builder.function("0000:04:00.0", Some("0000:00:04.0"), &NIC);
    builder.config(config);
    builder
}

/// The host's drivers were there first.
pub(super) fn taken(mut builder: Builder) -> Builder {
    for module in ["nouveau", "snd_hda_intel", "xhci_pci", "i2c_nvidia_gpu", "i915", "nvme", "e1000e"] {
        builder.loaded(module);
    }
    builder
}

/// The cards have option ROMs. One is asleep, the memory of the other is switched off.
fn with_roms(mut builder: Builder) -> Builder {
    for address in ["0000:01:00.0", "0000:02:00.0"] {
        builder.attribute(address, "rom", "not much of a ROM").attribute(address, "enable", "0");
    }
    builder.attribute("0000:01:00.0", "power/control", "auto");
    builder
}

const BOTH: &str = "claim 01:00.0\nclaim 02:00.0\n";

/// All of them.
pub(super) fn all() -> Vec<Case> {
    let case = |name: &str, builder: &Builder| Case::new(name, builder.start(), &[]);
    let probe = |mut builder: Builder, driver: &str, device: &str, how: Probe| {
        let key = (driver.to_owned(), device.to_owned());
        builder.with(|state| {
            state.probe.insert(key, how);
        });
        builder
    };
    let keep = format!("{BOTH}set on-failure keep\n");
    let mut cases = vec![
        case("an initramfs before any driver", &desktop(BOTH)),
        case("every host driver was first", &taken(desktop_with(Version::V6_1, BOTH))),
        case("vfio-pci is built in", desktop(BOTH).built_in("vfio_pci")),
        case("vfio-pci is loaded", taken(desktop_with(Version::V7_2, BOTH)).loaded("vfio_pci")),
        case("keep, with every host driver first", &taken(desktop(&keep))),
        case("a network card and a disk by ID", &taken(desktop("claim 8086:15bc\nclaim 144d:a808:1462:3711\n"))),
        case(
            "by path and with its group",
            taken(desktop("claim 00:02.0/00.0 with=group\nclaim 04:00.0\n")).group("0000:04:00.0", Some(40)),
        ),
        case("all by ID", &taken(desktop("claim 10de:* match=all\n"))),
        case(
            "refused and missing",
            &taken(desktop("claim 01:00.0 id=10de:1234\nclaim 09:00.0\nclaim 03:00.0\nclaim 02:00.0\n")),
        ),
        case("without an IOMMU", taken(desktop(BOTH)).with(|state| state.tree.remove("/sys/class/iommu/dmar0"))),
        case("off", taken(desktop(BOTH)).file("/proc/cmdline", "vfio_early=off\n")),
    ];
    let roms = BOTH.replace('\n', " rom=save\n");
    cases.push(case("with option ROMs", &with_roms(desktop(&roms))));
    cases.push(case("with option ROMs, and every host driver first", &with_roms(taken(desktop(&roms)))));
    let missing = |state: &mut crate::simulated::State| state.module("vfio_pci").place = Place::RealRoot;
    cases.push(case("the image has no vfio-pci", taken(desktop(BOTH)).with(missing)));
    let old = desktop_with(Version::V6_1, BOTH).with(missing).start();
    cases.push(Case::new("the image has no vfio-pci, and no driver was first", old, &[]));
    cases.push(case("keep, and the image has no vfio-pci", taken(desktop(&keep)).with(missing)));
    cases.push(case("there is no modprobe", taken(desktop(BOTH)).with(|state| state.modprobe = false)));
    let hangs = probe(desktop(&keep), "vfio-pci", "0000:01:00.0", Probe::HangThenBind);
    cases.push(case("keep, and vfio-pci's probe hangs", &hangs));
    for how in
        [Probe::Fail(Errno::EIO), Probe::FailOnce(Errno::EIO), Probe::HangThenBind, Probe::HangThenFail(Errno::EIO)]
    {
        // In 6.1 the override is behind the lock that a hanging probe holds, later it is not.
        let name = format!("vfio-pci's probe of the audio function: {how:?}");
        let old = desktop_with(Version::V6_1, BOTH);
        cases.push(case(&name, &probe(taken(old), "vfio-pci", "0000:01:00.1", how)));
        let name = format!("vfio-pci's probe on an untouched machine: {how:?}");
        cases.push(case(&name, &probe(desktop(BOTH), "vfio-pci", "0000:01:00.0", how)));
    }
    // The host's driver will not have its device back at the first try.
    let stubborn = probe(taken(desktop(BOTH)), "vfio-pci", "0000:01:00.1", Probe::Fail(Errno::EIO));
    cases.push(case(
        "the host's driver fails once",
        &probe(stubborn, "nouveau", "0000:01:00.0", Probe::FailOnce(Errno::EIO)),
    ));
    cases.push(case(
        "asleep in D3cold, stuck there, and on vfio-pci already",
        taken(desktop("claim 01:00.0\nclaim 02:00.0\nclaim 04:00.0\n"))
            .loaded("vfio_pci")
            .attribute("0000:01:00.0", "power_state", "D3cold")
            .attribute("0000:01:00.0", "power/control", "auto")
            .attribute("0000:02:00.0", "power_state", "D3cold")
            .with(|state| {
                state.stuck.push("0000:02:00.0".to_owned());
                state.claim("0000:04:00.0", "vfio-pci");
            }),
    ));
    cases.push(case(
        "the boot display, its frame buffer released",
        taken(desktop("claim 01:00.0\nset framebuffer release\n")).boot_display("0000:01:00.0"),
    ));
    // The kernel refuses `bus` for the functions of a card of several, and takes it for the network card.
    let resets = "claim 01:00.0 reset=bus+flr\nclaim 02:00.0 reset=flr\nclaim 04:00.0 reset=pm+bus\n";
    let with_resets = |mut builder: Builder| {
        // A function that comes along and has another way; a function without any; one that is claimed already, and asleep.
        builder.resets("0000:01:00.3", "pm").resets("0000:02:00.1", "");
        builder.loaded("vfio_pci").resets("0000:04:00.0", "pm flr").with(|state| {
            state.sleep.insert("0000:04:00.0".to_owned(), "D3cold");
            state.claim("0000:04:00.0", "vfio-pci");
        });
        builder
    };
    cases.push(case("reset methods", &with_resets(taken(desktop(resets)))));
    let failing = with_resets(probe(taken(desktop(resets)), "vfio-pci", "0000:01:00.1", Probe::Fail(Errno::EIO)));
    cases.push(case("reset methods of a slot that is given back", &failing));
    let rebars = "claim 01:00.0 rebar=1:8G\nclaim 02:00.0 rebar=1:32G\nclaim 04:00.0 rebar=1:1G\n";
    let with_bars = |mut builder: Builder| {
        // A card that can, one below a bridge with a small window, and one that is claimed already.
        builder.resizable("0000:01:00.0").resizable("0000:02:00.0").resizable("0000:04:00.0").with(|state| {
            state.windows.insert("0000:02:00.0".to_owned(), 9);
        });
        builder
    };
    cases.push(case("BARs of other sizes", &with_bars(desktop(rebars))));
    let mut running = with_bars(taken(desktop(rebars)));
    running.loaded("vfio_pci").with(|state| state.claim("0000:04:00.0", "vfio-pci"));
    cases.push(case("BARs of other sizes, and every host driver first", &running));
    cases.push(case(
        "a BAR that is as it shall be",
        with_bars(taken(desktop("claim 01:00.0 rebar=1:256M\n"))).with(|_| ()),
    ));
    cases.push(Case::new("only one device", taken(desktop(BOTH)).start(), &["0000:02:00.0"]));
    cases
}
