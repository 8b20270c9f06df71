// SPDX-License-Identifier: MIT OR Apache-2.0
//! The header of an EFI image and the driver behind it (UEFI Specification, "PCI Option ROMs"; the checks are those of
//! edk2, MdeModulePkg/Bus/Pci/PciBusDxe/PciOptionRomSupport.c).

use crate::json::words;

use super::bytes::{blocks, is_blank, part, u16_at, up_to};
use super::decompress::{self, Budget};
use super::pe::{self, Pe};
use super::problem::Problems;
use super::signature::{self, Signer};
use super::versions::{self, Version};

/// The header of an EFI image, and the driver it points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Efi {
    /// Whether 0x0EF1 is at offset 4.
    pub signature_ok: bool,
    /// 11: boot service driver, 12: runtime driver. The firmware takes nothing else.
    pub subsystem: u16,
    /// The machine the driver runs on, see [`machine_name`].
    pub machine: u16,
    /// 0: not compressed, 1: compressed as in the UEFI Specification.
    pub compression: u16,
    /// Where the driver starts, in bytes from the start of the image.
    pub image_offset: usize,
    /// The size in the header ("initialization size"), in bytes.
    pub declared: usize,
    /// What is at that offset.
    pub payload: Payload,
    /// The driver as it is stored, in bytes from the start of the file: offset and length.
    pub stored: (usize, usize),
    /// The size of the driver after decompression, if it was compressed and could be decompressed.
    pub unpacked: Option<usize>,
    /// The header of the driver itself.
    pub pe: Option<Pe>,
    /// Who signed it.
    pub signers: Vec<Signer>,
    /// Whether a firmware for the machine of the driver would load it: every check of edk2 passed.
    pub loadable: bool,
    /// Whether it would after `rom repair`: only the compression type in the header is wrong.
    pub(super) repairable: bool,
}

impl Efi {
    /// The machine that the driver is for: by its own header, or else by that of the image.
    pub(super) fn built_for(&self) -> u16 {
        self.pe.map_or(self.machine, |pe| pe.machine)
    }

    /// Who signed the driver, in words.
    pub(super) fn signature_text(&self, pe: &Pe) -> String {
        if !pe.signed {
            return "not signed".to_owned();
        }
        let one = |signer: &Signer| format!(" by {} (issuer {})", signer.name, signer.issuer);
        format!("signed{}", self.signers.iter().map(one).collect::<Vec<_>>().join(" and"))
    }
}

/// What is where the EFI header points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A driver.
    Pe,
    /// A compressed driver.
    Compressed,
    /// Neither.
    Unknown,
}

words!(Payload { Pe: "pe", Compressed: "compressed", Unknown: "unknown" });

/// The machine types, as OVMF and its builds are named.
const MACHINES: &[(u16, &str)] = &[
    (0x014c, "ia32"),
    (0x0200, "ia64"),
    (0x01c2, "arm"),
    (0x0ebc, "ebc"),
    (0x5032, "riscv32"),
    (0x5064, "riscv64"),
    (0x6264, "loongarch64"),
    (0x8664, "x64"),
    (0xaa64, "aarch64"),
];

/// The machine type of a guest that KVM runs here: that of the host.
const GUEST_MACHINE: u16 = if cfg!(target_arch = "aarch64") {
    0xaa64
} else if cfg!(target_arch = "riscv64") {
    0x5064
} else if cfg!(target_arch = "loongarch64") {
    0x6264
} else {
    0x8664
};

/// The name of a machine type.
pub fn machine_name(machine: u16) -> &'static str {
    MACHINES.iter().find(|(number, _)| *number == machine).map_or("unknown machine", |(_, name)| name)
}

/// The machine type of a guest, by its name here or in QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestMachine(pub u16);

impl Default for GuestMachine {
    fn default() -> Self {
        Self(GUEST_MACHINE)
    }
}

impl std::str::FromStr for GuestMachine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = match text {
            "x86_64" => "x64",
            "i386" | "i686" => "ia32",
            "arm64" => "aarch64",
            other => other,
        };
        let known = MACHINES.iter().filter(|(_, name)| !matches!(*name, "ebc" | "ia64"));
        let found = known.clone().find(|(_, known)| *known == name).map(|(number, _)| Self(*number));
        found.ok_or_else(|| {
            format!("unknown machine; known are {}", known.map(|(_, name)| *name).collect::<Vec<_>>().join(", "))
        })
    }
}

/// Reads the EFI part of the image at `at` that should be `length` bytes long.
pub(super) fn parse(
    rom: &[u8],
    at: usize,
    length: usize,
    budget: &mut Budget,
    problems: &mut Problems,
    versions: &mut Vec<Version>,
) -> Option<Efi> {
    let image = up_to(rom, at, length);
    let declared = blocks(u16_at(image, 2)?);
    let mut efi = Efi {
        signature_ok: part(image, 4, 4)? == [0xf1, 0x0e, 0, 0],
        subsystem: u16_at(image, 8)?,
        machine: u16_at(image, 10)?,
        compression: u16_at(image, 12)?,
        image_offset: usize::from(u16_at(image, 0x16)?),
        declared,
        payload: Payload::Unknown,
        stored: (at, 0),
        unpacked: None,
        pe: None,
        signers: Vec::new(),
        loadable: false,
        repairable: false,
    };
    let error = check_header(&efi, length);
    if let Some((place, message)) = &error {
        problems.error("efi-header", at.saturating_add(*place), message.clone(), DUMP_OR_ASK_VENDOR);
    }
    let start = at.saturating_add(efi.image_offset);
    // A header with a wrong size may still have a whole driver: search to the end of the image.
    let end = if error.is_some() || declared == 0 { length } else { declared };
    let stored = up_to(up_to(image, 0, end), efi.image_offset, usize::MAX);
    efi.stored = (start, stored.len());
    let head = up_to(stored, 0, 64);
    if stored.starts_with(b"MZ") {
        efi.payload = Payload::Pe;
        parse_driver(&mut efi, stored, problems, versions);
        if efi.compression == 1 {
            // The first bytes of a driver are no length that fits.
            let message = "the EFI header says that the driver is compressed, but it is not".to_owned();
            let remedy = "`rom repair` corrects the header";
            problems.repairable("efi-compression-type", at.saturating_add(0x0c), message, remedy);
        }
    } else if efi.compression == 1 && !is_blank(head) {
        efi.payload = Payload::Compressed;
        match decompress::decompress(stored, budget) {
            Ok(driver) => {
                efi.unpacked = Some(driver.len());
                let packed = decompress::sizes(stored).map_or(0, |(packed, _)| packed);
                efi.stored.1 = packed.saturating_add(8).min(stored.len());
                parse_driver(&mut efi, &driver, problems, versions);
            }
            Err(error) => {
                problems.error(
                    "efi-compression",
                    start,
                    format!("the driver cannot be decompressed: {error}"),
                    DUMP_OR_ASK_VENDOR,
                );
            }
        }
    } else {
        let what = if is_blank(head) { "nothing but FF or 00" } else { "no driver" };
        problems.error("efi-payload", start, format!("the EFI header points to {what}"), DUMP_OR_ASK_VENDOR);
    }
    let driver = error.is_none() && efi.pe.is_some_and(|pe| matches!(pe.subsystem, 11 | 12));
    efi.repairable = driver && efi.payload == Payload::Pe && efi.compression == 1;
    efi.loadable = driver && !efi.repairable;
    Some(efi)
}

const DUMP_OR_ASK_VENDOR: &str =
    "dump the ROM again while the card is awake and has no driver, or get it from the vendor";

/// The subsystem of an application.
pub(super) const APPLICATION: u16 = 10;

/// The first check of edk2 that the header fails: offset in the image, and why.
fn check_header(efi: &Efi, length: usize) -> Option<(usize, String)> {
    if !efi.signature_ok {
        Some((4, "the EFI signature 0x0EF1 is missing".to_owned()))
    } else if !matches!(efi.subsystem, 11 | 12) {
        Some((8, format!("subsystem {} is neither a boot service (11) nor a runtime driver (12)", efi.subsystem)))
    } else if efi.compression > 1 {
        Some((12, format!("unknown compression type {}", efi.compression)))
    } else if efi.declared > length {
        Some((2, format!("the EFI header says {} bytes, the image has {length}", efi.declared)))
    } else if efi.image_offset >= efi.declared {
        let (offset, declared) = (efi.image_offset, efi.declared);
        Some((0x16, format!("the driver offset {offset:#x} is outside the image of {declared:#x} bytes")))
    } else {
        None
    }
}

/// Reads the driver itself: compares its header with that of the image, and collects its versions.
fn parse_driver(efi: &mut Efi, driver: &[u8], problems: &mut Problems, versions: &mut Vec<Version>) {
    let start = efi.stored.0;
    let at_header = start.saturating_sub(efi.image_offset);
    let Some(pe) = pe::parse(driver) else {
        problems.error("efi-pe", start, "the driver has no PE header".to_owned(), DUMP_OR_ASK_VENDOR);
        return;
    };
    efi.pe = Some(pe);
    efi.signers = pe.signatures.map(|place| signature::signers(driver, place)).unwrap_or_default();
    if efi.payload == Payload::Pe && pe.size <= efi.stored.1 {
        efi.stored.1 = pe.size;
    }
    if pe.size > driver.len() {
        let message = format!("the driver has {} bytes, but only {} are present", pe.size, driver.len());
        problems.error("efi-truncated", start, message, DUMP_OR_ASK_VENDOR);
        efi.pe = None;
    }
    if pe.machine != efi.machine {
        let (is, says) = (machine_name(pe.machine), machine_name(efi.machine));
        let message = format!("the driver is for {is}, the EFI header says {says}: some firmware does not start it");
        problems.warning("efi-machine", at_header.saturating_add(10), message, "");
    }
    match pe.subsystem {
        11 | 12 if pe.subsystem == efi.subsystem => {}
        11 | 12 => {
            let message = format!("the driver has subsystem {}, the EFI header says {}", pe.subsystem, efi.subsystem);
            problems.note("efi-subsystem", start, message);
        }
        APPLICATION => {
            let message = "this is an application, not a driver: OVMF would start it and the guest would hang";
            problems.error("efi-application", start, message.to_owned(), DUMP_OR_ASK_VENDOR);
        }
        other => {
            let message =
                format!("subsystem {other} of the driver is neither a boot service (11) nor a runtime driver (12)");
            problems.error("efi-subsystem", start, message, DUMP_OR_ASK_VENDOR);
        }
    }
    versions::of_driver(driver, versions);
}
