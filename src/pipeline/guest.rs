// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the inventory that the description of a guest needs.

use crate::execute::option_rom::MAX_ROM_SIZE;
use crate::exit::{Exit, Failure};
use crate::guest::{self, Cards, Guest, Options};
use crate::inventory::{Device, Extent, Features, Inventory, Resources, rom_path};
use crate::machine::Machine;
use crate::pci::{Address, ExpectedId};
use crate::plan::Iommu;
use crate::rom::{self, JudgedRom};

/// Why there is no description: how the command ends, and the reasons.
pub(crate) type Refused = (Exit, Vec<String>);

/// What a guest with these devices needs.
pub fn guest(machine: &dyn Machine, options: &Options) -> Result<Result<Guest, Refused>, Failure> {
    let mut inventory = Inventory::survey(machine, false)?;
    let near = inventory.near(&options.devices);
    inventory.read_details(machine, &near, Extent::Full);
    find_physical_functions(machine, &mut inventory, &options.devices);
    let iommu = Iommu::of(&inventory);
    if !iommu.is_enabled() {
        return Ok(Err((Exit::Unprotected, vec![format!("no guest can have a device: {}", iommu.reason())])));
    }
    let Cards { cards, notes, unclaimed } = match guest::cards(&inventory, options) {
        Ok(cards) => cards,
        Err(reasons) => return Ok(Err((Exit::NotMet, reasons))),
    };
    if options.iommufd {
        let without = |device: &&&Device| Features::read(machine, device).vfio.is_none();
        if let Some(device) = cards.iter().flatten().find(without) {
            let reason = format!(
                "--iommufd: {} has no file in /dev/vfio/devices; the kernel makes them from Linux 6.6 on, with \
                 CONFIG_VFIO_DEVICE_CDEV",
                device.address
            );
            return Ok(Err((Exit::NotMet, vec![reason])));
        }
    }
    let roms: Vec<(Address, JudgedRom)> =
        cards.iter().flatten().filter_map(|device| saved_rom(machine, device)).collect();
    let resources = Resources::read(machine, &guest::nodes(&cards));
    let mut guest = guest::describe(&inventory, &resources, &cards, &roms, options)?;
    guest.notes.splice(0..0, notes);
    guest.unclaimed = unclaimed;
    Ok(Ok(guest))
}

/// The saved option ROM of a device, judged for it.
fn saved_rom(machine: &dyn Machine, device: &Device) -> Option<(Address, JudgedRom)> {
    let path = rom_path(device.address);
    // A guest must not start from what somebody else put there.
    let bytes = machine.untrusted(&path).is_none().then(|| machine.read(&path, MAX_ROM_SIZE).ok())??;
    let id = ExpectedId { vendor: device.identity.vendor, device: device.identity.device, subsystem: None };
    Some((device.address, rom::judge(rom::parse(&bytes), Some(&id))))
}

/// Finds the physical functions of those devices that are virtual ones, with their details.
fn find_physical_functions(machine: &dyn Machine, inventory: &mut Inventory, devices: &[Address]) {
    let mut physical = Vec::new();
    for device in inventory.devices.iter_mut().filter(|device| devices.contains(&device.address) && device.is_virtual())
    {
        device.physical = Features::read(machine, device).physical.and_then(|address| address.parse().ok());
        physical.extend(device.physical);
    }
    inventory.read_details(machine, &physical, Extent::Full);
}
