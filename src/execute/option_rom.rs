// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads and saves the option ROM of a device, and restores the device's state whatever happens.
//!
//! The kernel shows it as the attribute `rom` (drivers/pci/pci-sysfs.c, `pci_read_rom`): it is readable after `1` was
//! written to it, until exactly `0` and a newline is. While it is read, the ROM BAR is enabled, and where the card shares
//! its address decoder, nothing else of the card answers.

use crate::inventory::{self, Holders, PCI};
use crate::machine::{self, Error, Machine};
use crate::pci::{Address, ExpectedId};
use crate::plan::is_vfio_driver;
use crate::problem::Code;
use crate::rom::{self, GuestMachine, JudgedRom, VfctRom};

use super::step;

/// The largest ROM BAR that PCI allows.
pub const MAX_ROM_SIZE: usize = 16 * 1024 * 1024;
/// The largest file: a whole flash image. Chips of mainboards have 64 MiB at most.
pub const MAX_ROM_FILE_SIZE: usize = 4 * MAX_ROM_SIZE;

/// The table with which the firmware passes the ROMs of AMD graphics.
const VFCT: &str = "/sys/firmware/acpi/tables/VFCT";

/// A ROM that was read from a device.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they hold, judged for the device.
    pub judged: JudgedRom,
    /// What else people should know about it.
    pub warnings: Vec<RomWarning>,
}

/// A ROM that was saved.
#[derive(Clone, Debug)]
pub struct SavedRom {
    /// The file it was saved to.
    pub path: String,
    /// What it holds, judged for the device.
    pub judged: JudgedRom,
    /// What people should know about it.
    pub warnings: Vec<RomWarning>,
}

/// Why a ROM may not be what it seems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RomWarning {
    /// A short word for programs.
    pub code: Code,
    /// What it is, and what to do.
    pub message: String,
}

impl RomWarning {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why a ROM could not be read or saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RomError {
    /// A short word for programs.
    pub code: Code,
    /// What went wrong, and what to do.
    pub message: String,
    /// The permission for it is missing.
    pub denied: bool,
    /// An operation did not return in time.
    pub hangs: bool,
}

impl RomError {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), denied: false, hangs: false }
    }

    fn from_error(code: Code, error: &Error) -> Self {
        let denied = error.is_denied();
        let advice = if denied { " (this needs root)" } else { "" };
        Self { code, message: format!("{error}{advice}"), denied, hangs: error.is_timeout() }
    }
}

/// The ID of a device.
pub fn device_id(machine: &dyn Machine, address: Address) -> Result<ExpectedId, RomError> {
    let identity =
        inventory::identity(machine, address).ok_or_else(|| RomError::new(Code::NoDevice, "no such device"))?;
    Ok(ExpectedId { vendor: identity.vendor, device: identity.device, subsystem: None })
}

/// Reads the option ROM of a device and judges it: for the device itself, or for another ID that is expected.
pub fn dump(
    machine: &dyn Machine,
    address: Address,
    expected: Option<ExpectedId>,
    guest: GuestMachine,
) -> Result<Dump, RomError> {
    let id = device_id(machine, address)?;
    let driver = inventory::driver(machine, address).unwrap_or_default();
    let vfio = driver.as_deref().filter(|driver| is_vfio_driver(driver));
    let holders =
        vfio.and_then(|driver| Holders::read(machine).of_device(machine, address, driver)).unwrap_or_default();
    if let Some(who) = holders.first() {
        let message =
            format!("{who} has the device open: reading its ROM would disturb the guest; stop the guest first");
        return Err(RomError::new(Code::RomInGuest, message));
    }
    let bar = RomBar::read(machine, address);
    let mut access = RomAccess { machine, address, undo: Vec::new(), hangs: false };
    let read = access.read(driver.as_deref(), &bar);
    let mut warnings: Vec<RomWarning> = access.restore().into_iter().collect();
    let bytes = match read {
        Ok(bytes) => {
            warnings.extend(bar.shadow.then(|| RomWarning::new(Code::RomShadow, SHADOW)));
            bytes
        }
        Err(error) => {
            let Some((bytes, by_id)) = rom_from_vfct(machine, address) else { return Err(error) };
            let how =
                if by_id { ", found by its ID, because the bus numbers there are not those of the kernel" } else { "" };
            let message = format!("using the copy in the firmware's VFCT table{how}: {}", error.message);
            warnings.push(RomWarning::new(Code::RomFromFirmware, message));
            bytes
        }
    };
    let judged = rom::judge_for(rom::parse(&bytes), Some(expected.as_ref().unwrap_or(&id)), guest);
    for problem in &judged.rom.problems {
        match problem.code {
            "empty" | "all-ff" | "all-00" => {
                return Err(RomError::new(Code::RomBlank, format!("{}: {}", problem.message, problem.remedy)));
            }
            "truncated"
                if bytes.len() == bar.size && warnings.iter().all(|warning| warning.code != Code::RomWindow) =>
            {
                let message = format!("the ROM is longer than the {} bytes that its BAR shows", bar.size);
                warnings.push(RomWarning::new(Code::RomWindow, message));
            }
            _ => {}
        }
    }
    Ok(Dump { bytes, judged, warnings })
}

/// Reads the option ROM of a device and saves it. It is saved even if it is not valid, with a warning.
pub(super) fn save(machine: &dyn Machine, address: Address, path: &str) -> Result<SavedRom, RomError> {
    let Dump { bytes, judged, mut warnings } = dump(machine, address, None, GuestMachine::default())?;
    machine.save(path, &bytes).map_err(|error| RomError::from_error(Code::RomNotSaved, &error))?;
    warnings.extend(judged.why_not_valid().map(|why| RomWarning::new(Code::RomDoubtful, why)));
    Ok(SavedRom { path: path.to_owned(), judged, warnings })
}

const SHADOW: &str = "this is the boot display: the kernel shows the firmware's copy at 0xc0000 (at most 128 KiB, \
    possibly changed since), not the card's own ROM; to read that, make another card the boot display";

/// The ROM BAR, from the seventh line of `resource` (include/linux/ioport.h).
struct RomBar {
    /// Its size in bytes; 0 if unknown.
    size: usize,
    /// The kernel shows the copy of a boot display's ROM in memory (`IORESOURCE_ROM_SHADOW`).
    shadow: bool,
}

impl RomBar {
    fn read(machine: &dyn Machine, address: Address) -> Self {
        let text = machine::text(machine, &format!("{PCI}/devices/{address}/resource")).unwrap_or_default();
        let flags = text.lines().nth(6).and_then(|line| inventory::hexadecimal(line.split(' ').nth(2)?)).unwrap_or(0);
        let size = inventory::bar_size(&text, 6);
        Self { size: usize::try_from(size).unwrap_or(0), shadow: flags & 2 != 0 }
    }
}

/// Access to the ROM of a device, and what was changed for it.
struct RomAccess<'a> {
    machine: &'a dyn Machine,
    address: Address,
    /// Paths and the values to restore, in the order of the changes, and whether restoring must succeed.
    undo: Vec<(String, String, bool)>,
    /// An operation timed out: no more waiting for this device.
    hangs: bool,
}

impl RomAccess<'_> {
    fn path(&self, name: &str) -> String {
        format!("{PCI}/devices/{}/{name}", self.address)
    }

    fn read(&mut self, driver: Option<&str>, bar: &RomBar) -> Result<Vec<u8>, RomError> {
        let names = self.machine.list(&self.path("")).unwrap_or_default();
        if names.iter().all(|name| name != "rom") {
            let message = "the device has no option ROM (no ROM BAR): normal for integrated graphics and for most functions \
                that are not displays";
            return Err(RomError::new(Code::NoRom, message));
        }
        let asleep = self.wake().err();
        // Without a driver, the kernel may have left its memory decoding disabled.
        let enabled = self.attribute("enable");
        if driver.is_none() && enabled == "0" {
            // If this fails, reading fails too.
            let _ = self.change("enable", "1", "0");
        }
        if self.hangs {
            return Err(RomError { hangs: true, ..RomError::new(Code::RomUnreadable, "the device does not respond") });
        }
        let path = self.path("rom");
        let fail = |error: &Error| RomError::from_error(Code::RomUnreadable, error);
        let number = |error: &Error| error.source.raw_os_error();
        let mut read = self.machine.read_device(&path, MAX_ROM_SIZE);
        // If it can be read, it is enabled already, or this is a recorded machine.
        if read.as_ref().is_err_and(|error| number(error) == Some(nix::libc::EINVAL)) {
            self.change("rom", "1\n", "0\n").map_err(|error| fail(&error))?;
            read = self.machine.read_device(&path, MAX_ROM_SIZE);
        }
        match read {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            Err(error) if number(&error) == Some(nix::libc::EINVAL) => {
                Err(RomError::new(Code::RomUnreadable, "the ROM is disabled and cannot be enabled here"))
            }
            Err(error) if number(&error) != Some(nix::libc::EIO) => {
                self.hangs |= error.is_timeout();
                Err(fail(&error))
            }
            _ => Err(RomError::new(Code::RomUnreadable, why_unreadable(driver, bar, asleep.as_ref()))),
        }
    }

    fn attribute(&self, name: &str) -> String {
        machine::text(self.machine, &self.path(name)).unwrap_or_default()
    }

    /// Wakes the device, and keeps it awake.
    fn wake(&mut self) -> Result<(), Error> {
        let control = self.attribute("power/control");
        if control != "auto" && self.attribute("power_state") != "D3cold" {
            return Ok(());
        }
        if !control.is_empty() {
            self.undo.push((self.path("power/control"), control, true));
        }
        let result = step::wake(self.machine, self.address);
        self.note_timeout(&result);
        result
    }

    /// Writes an attribute, and remembers the value to restore.
    fn change(&mut self, name: &str, value: &str, back: &str) -> Result<(), Error> {
        let path = self.path(name);
        let result = self.write(&path, value);
        self.undo.push((path, back.to_owned(), result.is_ok()));
        self.note_timeout(&result);
        match result {
            // A recorded machine takes no changes: it shows what it has.
            Err(error) if error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            result => result,
        }
    }

    fn write(&self, path: &str, value: &str) -> Result<(), Error> {
        if self.hangs { self.machine.queue_write(path, value) } else { self.machine.write(path, value) }
    }

    fn note_timeout(&mut self, result: &Result<(), Error>) {
        self.hangs |= result.as_ref().is_err_and(Error::is_timeout);
    }

    /// Restores everything; returns what should have been restored and could not be.
    fn restore(mut self) -> Option<RomWarning> {
        let mut left = None;
        while let Some((path, value, sure)) = self.undo.pop() {
            // Try twice: nothing else restores it.
            let result = self.write(&path, &value).or_else(|_| self.write(&path, &value));
            self.note_timeout(&result);
            if let (Err(error), true) = (result, sure) {
                left = Some(RomWarning::new(
                    Code::RomLeftOpen,
                    format!("cannot restore the state from before the ROM was read: {error}"),
                ));
            }
        }
        left
    }
}

/// Why the kernel found nothing that looks like a ROM.
fn why_unreadable(driver: Option<&str>, bar: &RomBar, asleep: Option<&Error>) -> String {
    const NOTHING: &str = "the kernel finds no option ROM (see the kernel log)";
    match (bar.shadow, asleep, driver) {
        (true, ..) => format!("{NOTHING}: {SHADOW}"),
        (_, Some(error), _) => format!("{NOTHING}: the device could not be woken: {error}"),
        (_, _, Some(driver)) => {
            format!(
                "{NOTHING}: {driver} is bound and may have disabled the device's memory; save the ROM at boot with rom=save"
            )
        }
        _ => format!("{NOTHING}: the card has none, or has not responded since a reset; power the machine off and on"),
    }
}

/// The ROM of a device in the firmware's table, and whether it was found by its ID alone.
///
/// An entry is for the device at its place (Linux, drivers/gpu/drm/amd/amdgpu/amdgpu_bios.c, `amdgpu_acpi_vfct_bios`). Where
/// the kernel has renumbered the buses, no device is there any more, and the ID and the subsystem have to do.
fn rom_from_vfct(machine: &dyn Machine, address: Address) -> Option<(Vec<u8>, bool)> {
    let table = machine.read(VFCT, MAX_ROM_SIZE).ok()?;
    let identity = inventory::identity(machine, address)?;
    let place = (usize::from(address.bus), usize::from(address.device), usize::from(address.function));
    let mut roms = rom::parse_vfct(&table)?;
    roms.retain(|rom| {
        rom.id == (identity.vendor, identity.device)
            && (rom.subsystem == (0, 0) || rom.subsystem == (identity.subvendor, identity.subdevice))
    });
    if let Some(exact) = roms.iter().find(|rom| rom.at == place && address.domain == 0) {
        return Some((exact.rom.to_vec(), false));
    }
    let at_place = |rom: &VfctRom<'_>| {
        let (bus, device, function) = rom.at;
        let address = format!("0000:{bus:02x}:{device:02x}.{function:x}").parse().ok()?;
        inventory::identity(machine, address)
    };
    // One that is at the place of an equal card is that card's.
    roms.retain(|rom| at_place(rom).is_none_or(|other| (other.vendor, other.device) != rom.id));
    let only = roms.first().filter(|rom| roms.len() == 1 && at_place(rom).is_none());
    only.map(|rom| (rom.rom.to_vec(), true))
}
