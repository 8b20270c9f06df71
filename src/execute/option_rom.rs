// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the option ROM of a device, and puts everything back however that ends.
//!
//! The kernel shows it as the attribute `rom` (drivers/pci/pci-sysfs.c, `pci_read_rom`): it is readable after `1` was
//! written to it, until exactly `0` and a newline is. While it is read, the ROM BAR is enabled, and where the card shares
//! its address decoder, nothing else of the card answers.

use crate::inventory::{self, Holders, PCI};
use crate::machine::{self, Error, Machine};
use crate::pci::{Address, ExpectedId, parse_modalias};
use crate::plan::is_vfio_driver;
use crate::rom::{self, Judgement, Severity};

use super::step;

/// The largest ROM BAR that PCI allows.
pub const MOST: usize = 16 * 1024 * 1024;

/// Where the firmware hands over the ROMs of AMD graphics.
const VFCT: &str = "/sys/firmware/acpi/tables/VFCT";

/// A ROM that was read.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What the device says it is.
    pub id: ExpectedId,
    /// What people should know about it.
    pub notes: Vec<Trouble>,
}

/// Why a ROM could not be read, or may not be what it seems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// A short word for programs.
    pub code: &'static str,
    /// What it is, and what to do.
    pub message: String,
    /// The rights for it are missing.
    pub denied: bool,
    /// Something did not come back.
    pub hangs: bool,
}

impl Trouble {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), denied: false, hangs: false }
    }

    fn with(code: &'static str, error: &Error) -> Self {
        let denied = error.is_denied();
        let advice = if denied { " (this needs root)" } else { "" };
        Self { code, message: format!("{error}{advice}"), denied, hangs: error.is_timeout() }
    }
}

/// What a device says it is.
pub fn identify(machine: &dyn Machine, address: Address) -> Result<ExpectedId, Trouble> {
    let modalias = machine.attribute(&format!("{PCI}/devices/{address}/modalias")).unwrap_or_default();
    let identity = parse_modalias(&modalias).ok_or_else(|| Trouble::new("no-device", "there is no such device"))?;
    Ok(ExpectedId { vendor: identity.vendor, device: identity.device, subsystem: None })
}

/// Reads the option ROM of a device.
pub fn dump(machine: &dyn Machine, address: Address) -> Result<Dump, Trouble> {
    let id = identify(machine, address)?;
    let driver = inventory::driver(machine, address).unwrap_or_default();
    let vfio = driver.as_deref().filter(|driver| is_vfio_driver(driver));
    let holders =
        vfio.and_then(|driver| Holders::read(machine).of_device(machine, address, driver)).unwrap_or_default();
    if let Some(who) = holders.first() {
        let message = format!("{who} has the device open, and reading its ROM would disturb it: stop the guest first");
        return Err(Trouble::new("rom-in-guest", message));
    }
    let window = Window::read(machine, address);
    let mut work = Work { machine, address, undo: Vec::new(), hangs: false };
    let read = work.read(driver.as_deref(), &window);
    let left = work.put_back();
    let mut notes: Vec<Trouble> = left.into_iter().collect();
    let bytes = match read {
        Ok(bytes) => {
            notes.extend(window.shadow.then(|| Trouble::new("rom-shadow", SHADOW)));
            bytes
        }
        Err(trouble) => {
            let Some(bytes) = from_firmware(machine, address, &id) else { return Err(trouble) };
            let message = format!("this is the copy in the firmware's VFCT table: {}", trouble.message);
            notes.push(Trouble::new("rom-from-firmware", message));
            bytes
        }
    };
    let judgement = rom::judge(&rom::parse(&bytes), Some(&id));
    for problem in &judgement.problems {
        match problem.code {
            "empty" | "all-ff" | "all-00" => {
                return Err(Trouble::new("rom-blank", format!("{}: {}", problem.message, problem.remedy)));
            }
            "truncated" if bytes.len() == window.size && notes.iter().all(|note| note.code != "rom-window") => {
                let message = format!("the ROM is longer than the {} bytes that its BAR shows of it", window.size);
                notes.push(Trouble::new("rom-window", message));
            }
            _ => {}
        }
    }
    notes.extend(doubt(&judgement));
    Ok(Dump { bytes, id, notes })
}

/// The worst that is wrong with a ROM, if it cannot be used as it is.
pub fn doubt(judgement: &Judgement) -> Option<Trouble> {
    let errors = || judgement.problems.iter().filter(|problem| problem.severity == Severity::Error);
    let worst = errors().find(|problem| !problem.repairable).or_else(|| errors().next())?;
    let message = format!("the option ROM is {}: {} ({})", judgement.verdict.word(), worst.message, worst.remedy);
    Some(Trouble::new("rom-doubtful", message))
}

/// Reads the option ROM of a device and saves it. Returns what people should know.
pub(super) fn save(machine: &dyn Machine, address: Address, path: &str) -> Result<Vec<Trouble>, Trouble> {
    let dump = dump(machine, address)?;
    machine.save(path, &dump.bytes).map_err(|error| Trouble::with("rom-not-saved", &error))?;
    Ok(dump.notes)
}

const SHADOW: &str = "this is the boot display: the kernel shows the copy in memory that the firmware left at 0xc0000 \
    (128 KiB at most) and that may have changed since, not the card's own ROM; make another card the boot display to \
    read that";

/// What the seventh line of `resource` says of the ROM BAR (include/linux/ioport.h).
struct Window {
    /// Its size in bytes; 0 where nobody knows.
    size: usize,
    /// It is the copy of a boot display's ROM in memory (`IORESOURCE_ROM_SHADOW`).
    shadow: bool,
}

impl Window {
    fn read(machine: &dyn Machine, address: Address) -> Self {
        let text = machine::text(machine, &format!("{PCI}/devices/{address}/resource")).unwrap_or_default();
        let flags = text.lines().nth(6).and_then(|line| inventory::hexadecimal(line.split(' ').nth(2)?)).unwrap_or(0);
        let size = inventory::bar_size(&text, 6);
        Self { size: usize::try_from(size).unwrap_or(0), shadow: flags & 2 != 0 }
    }
}

/// What was changed to read a ROM.
struct Work<'a> {
    machine: &'a dyn Machine,
    address: Address,
    /// What to write to where, last things first, and whether that must work.
    undo: Vec<(String, String, bool)>,
    /// Something did not come back: no more waiting for this device.
    hangs: bool,
}

impl Work<'_> {
    fn path(&self, name: &str) -> String {
        format!("{PCI}/devices/{}/{name}", self.address)
    }

    fn read(&mut self, driver: Option<&str>, window: &Window) -> Result<Vec<u8>, Trouble> {
        let names = self.machine.list(&self.path("")).unwrap_or_default();
        if names.iter().all(|name| name != "rom") {
            let message = "it has no option ROM of its own (no ROM BAR): normal for graphics inside a processor and for \
                most functions that are no display";
            return Err(Trouble::new("no-rom", message));
        }
        let asleep = self.wake().err();
        // Without a driver, the kernel may have left its memory switched off.
        let enabled = self.word("enable");
        if driver.is_none() && enabled == "0" {
            // That it fails shows soon enough.
            let _ = self.change("enable", "1", "0");
        }
        if self.hangs {
            return Err(Trouble { hangs: true, ..Trouble::new("rom-unreadable", "the device does not answer") });
        }
        let path = self.path("rom");
        let fail = |error: &Error| Trouble::with("rom-unreadable", error);
        let number = |error: &Error| error.source.raw_os_error();
        let mut read = self.machine.read_device(&path, MOST);
        // What can be read as it is needs no switching: somebody left it on, or it is a record of a machine.
        if read.as_ref().is_err_and(|error| number(error) == Some(nix::libc::EINVAL)) {
            self.change("rom", "1\n", "0\n").map_err(|error| fail(&error))?;
            read = self.machine.read_device(&path, MOST);
        }
        match read {
            Ok(bytes) if !bytes.is_empty() => Ok(bytes),
            Err(error) if number(&error) == Some(nix::libc::EINVAL) => {
                Err(Trouble::new("rom-unreadable", "its ROM is switched off, and cannot be switched on here"))
            }
            Err(error) if number(&error) != Some(nix::libc::EIO) => {
                self.hangs |= error.is_timeout();
                Err(fail(&error))
            }
            _ => Err(Trouble::new("rom-unreadable", unreadable(driver, window, asleep.as_ref()))),
        }
    }

    fn word(&self, name: &str) -> String {
        machine::text(self.machine, &self.path(name)).unwrap_or_default()
    }

    /// Wakes the device, and keeps it awake.
    fn wake(&mut self) -> Result<(), Error> {
        let control = self.word("power/control");
        if control != "auto" && self.word("power_state") != "D3cold" {
            return Ok(());
        }
        if !control.is_empty() {
            self.undo.push((self.path("power/control"), control, true));
        }
        let result = step::wake(self.machine, self.address);
        self.note(&result);
        result
    }

    /// Writes an attribute, and remembers what it has to get back.
    fn change(&mut self, name: &str, value: &str, back: &str) -> Result<(), Error> {
        let path = self.path(name);
        let result = self.write(&path, value);
        self.undo.push((path, back.to_owned(), result.is_ok()));
        self.note(&result);
        match result {
            // A machine that takes no changes is a record: it shows what it has.
            Err(error) if error.source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
            result => result,
        }
    }

    fn write(&self, path: &str, value: &str) -> Result<(), Error> {
        if self.hangs { self.machine.queue_write(path, value) } else { self.machine.write(path, value) }
    }

    fn note(&mut self, result: &Result<(), Error>) {
        self.hangs |= result.as_ref().is_err_and(Error::is_timeout);
    }

    /// Puts everything back; what could not be put back, and should have been.
    fn put_back(mut self) -> Option<Trouble> {
        let mut left = None;
        while let Some((path, value, sure)) = self.undo.pop() {
            // Once more, because nobody else will.
            let result = self.write(&path, &value).or_else(|_| self.write(&path, &value));
            self.note(&result);
            if let (Err(error), true) = (result, sure) {
                left = Some(Trouble::new(
                    "rom-left-open",
                    format!("{error}: it is not as it was before the ROM was read"),
                ));
            }
        }
        left
    }
}

/// Why the kernel found nothing that looks like a ROM.
fn unreadable(driver: Option<&str>, window: &Window, asleep: Option<&Error>) -> String {
    const NOTHING: &str = "the kernel finds no option ROM there (the kernel log tells what it saw)";
    match (window.shadow, asleep, driver) {
        (true, ..) => format!("{NOTHING}: {SHADOW}"),
        (_, Some(error), _) => format!("{NOTHING}: it could not be woken: {error}"),
        (_, _, Some(driver)) => {
            format!("{NOTHING}: {driver} has it and may have switched its memory off; read it at boot, with rom=save")
        }
        _ => format!(
            "{NOTHING}: the card has none, or does not answer since it was reset; switch the machine off and on"
        ),
    }
}

/// The ROM of a device in the firmware's table.
fn from_firmware(machine: &dyn Machine, address: Address, id: &ExpectedId) -> Option<Vec<u8>> {
    let table = machine.read(VFCT, MOST).ok()?;
    let place = (usize::from(address.bus), usize::from(address.device), usize::from(address.function));
    let mut roms = rom::vfct(&table)?;
    roms.retain(|rom| rom.id == (id.vendor, id.device));
    // Where the kernel numbered the buses anew, the ID alone has to do.
    let exact = roms.iter().find(|rom| rom.at == place && address.domain == 0);
    exact.or_else(|| roms.first().filter(|_| roms.len() == 1)).map(|rom| rom.rom.to_vec())
}
