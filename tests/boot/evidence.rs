// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a guest told: reads what `guest/lab/evidence` wrote.

use std::collections::BTreeMap;

/// The sections of the evidence, by name, without carriage returns.
#[derive(Debug, Default)]
pub struct Evidence(BTreeMap<String, String>);

/// What holds a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub driver: Option<String>,
    /// None when unset, which the kernel shows as `(null)`.
    pub driver_override: Option<String>,
    pub iommu_group: Option<String>,
}

impl Evidence {
    /// Takes complete evidence apart; says what is wrong with anything else.
    pub fn parse(text: &str) -> Result<Evidence, String> {
        let mut sections = BTreeMap::new();
        let (mut name, mut body) = (String::new(), String::new());
        for line in text.lines().map(|line| line.trim_end_matches('\r')) {
            if let Some(next) = line.strip_prefix("@@ ") {
                sections.insert(std::mem::replace(&mut name, next.to_owned()), std::mem::take(&mut body));
            } else {
                body += line;
                body.push('\n');
            }
        }
        if name != "end" {
            return Err("the guest's evidence is incomplete".to_owned());
        }
        Ok(Evidence(sections))
    }

    /// A section's text, empty when there is none.
    pub fn section(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The beginning of a section, for a message: the whole is in evidence.txt.
    pub fn beginning(&self, name: &str) -> String {
        let text = self.section(name).trim();
        let lines: Vec<&str> = text.lines().take(6).collect();
        let more = if text.lines().count() > lines.len() { " ..." } else { "" };
        lines.join("\n") + more
    }

    /// How a command that the guest ran ended.
    pub fn exit(&self, name: &str) -> Option<u8> {
        self.section(&format!("{name}-exit")).trim().parse().ok()
    }

    /// The devices of a section by address. A group is named after its first member: its number depends on who came first.
    pub fn devices(&self, section: &str) -> BTreeMap<String, Device> {
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        for line in self.section(section).lines() {
            // "./ADDRESS/driver_override:VALUE" or "lrwxrwxrwx ... ./ADDRESS/driver -> TARGET".
            let Some((_, path)) = line.split_once("./") else { continue };
            let Some((address, rest)) = path.split_once('/') else { continue };
            let device = devices.entry(address.to_owned()).or_default();
            if let Some(value) = rest.strip_prefix("driver_override:") {
                device.driver_override = Some(value.to_owned()).filter(|value| value != "(null)");
            } else if let Some((link, target)) = rest.split_once(" -> ") {
                let target = target.rsplit('/').next().map(str::to_owned);
                match link {
                    "driver" => device.driver = target,
                    "iommu_group" => device.iommu_group = target,
                    _ => {}
                }
            }
        }
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        for (address, device) in &mut devices {
            if let Some(group) = &mut device.iommu_group {
                first.entry(group.clone()).or_insert_with(|| address.clone()).clone_into(group);
            }
        }
        devices
    }

    /// The drivers that the kernel let probe a device, in order.
    ///
    /// From the messages of `really_probe` in drivers/base/dd.c: up to 6.1 `bus: 'pci': really_probe: probing driver X
    /// with device ADDRESS`, later `pci ADDRESS: bus: 'pci': really_probe: probing driver X with device`.
    pub fn probes(&self, address: &str) -> Vec<&str> {
        let mut drivers = Vec::new();
        for line in self.section("log").lines().take_while(|line| !line.ends_with("lab: more")) {
            let Some((before, after)) = line.split_once("bus: 'pci': really_probe: probing driver ") else { continue };
            let Some((driver, named)) = after.split_once(" with device") else { continue };
            let named = if named.is_empty() { before.trim_end().trim_end_matches(':') } else { named };
            if named.rsplit(' ').next() == Some(address) {
                drivers.push(driver);
            }
        }
        drivers
    }

    /// Whether a driver's own probe of a device has run, by what it says there. The driver core asks every driver that
    /// matches; the PCI core answers for it where drivers are kept from virtual functions (drivers/pci/pci-driver.c,
    /// `pci_device_can_probe`), and only the lines of the driver core are in the log then.
    pub fn speaks(&self, driver: &str, address: &str) -> bool {
        let prefix = format!(" {driver} {address}: ");
        let core = ["bus: 'pci'", "driver_bound", "rejects match"];
        self.section("log").lines().any(|line| line.contains(&prefix) && !core.iter().any(|word| line.contains(word)))
    }

    /// Seconds from just before the claim to just after it, the start of two shells included.
    pub fn share(&self) -> Option<f64> {
        let stamp = |mark: &str| {
            let line = self.section("log").lines().find(|line| line.ends_with(mark))?;
            line.trim_start_matches('[').split(']').next()?.trim().parse::<f64>().ok()
        };
        Some(stamp("lab: after")? - stamp("lab: before")?)
    }
}
