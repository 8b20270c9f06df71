// SPDX-License-Identifier: MIT OR Apache-2.0
//! The versions and names in a ROM: of its firmware, its vendor, its driver.

use crate::json::fields;

use super::bytes::{array, find, part, printable, sum, u8_at, u16_at, up_to};

/// A version or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What it is, for example `vBIOS version`.
    pub name: &'static str,
    /// The text, printable ASCII.
    pub text: String,
}

fields!(Version { name, text });

/// Every text is at most this long.
const MAX_LENGTH: usize = 80;
/// The highest number of versions for one image.
const MAX_VERSIONS: usize = 6;

fn add(versions: &mut Vec<Version>, name: &'static str, text: String) {
    let version = Version { name, text };
    if !version.text.is_empty() && versions.len() < MAX_VERSIONS && !versions.contains(&version) {
        versions.push(version);
    }
}

/// Those of a legacy image: its PnP header, NVIDIA's table, and the texts of well-known programs.
pub(super) fn of_legacy_image(image: &[u8], versions: &mut Vec<Version>) {
    pnp(image, versions);
    let head = up_to(image, 0, 0x1_0000);
    if let Some(version) = nvidia(head) {
        add(versions, "vBIOS version", version);
    }
    if let Some(at) = find(head, b"SeaVGABIOS") {
        add(versions, "built from", printable(up_to(head, at, 10), 10));
    }
}

/// The PnP option ROM header (Plug and Play BIOS Specification 1.0A, section 3.2): manufacturer and product.
fn pnp(image: &[u8], versions: &mut Vec<Version>) -> Option<()> {
    let at = usize::from(u16_at(image, 0x1a)?);
    let header = image.get(at..)?;
    if at == 0 || !header.starts_with(b"$PnP") {
        return None;
    }
    let length = usize::from(u8_at(header, 5)?).saturating_mul(16);
    if sum(part(header, 0, length)?) == 0 {
        for (field, name) in [(0x0e, "manufacturer"), (0x10, "product")] {
            let string = usize::from(u16_at(header, field)?);
            if string != 0 {
                add(versions, name, printable(up_to(image, string, MAX_LENGTH), MAX_LENGTH));
            }
        }
    }
    Some(())
}

/// The version in NVIDIA's BIOS information table: token `i`, five bytes (Linux, nouveau/nvkm/subdev/bios/base.c).
fn nvidia(image: &[u8]) -> Option<String> {
    let at = find(image, b"\xff\xb8BIT\0")?;
    let table = image.get(at..)?;
    let (header, size) = (usize::from(u8_at(table, 8)?), usize::from(u8_at(table, 9)?));
    for index in 0..usize::from(u8_at(table, 10)?) {
        let token = table.get(header.checked_add(index.checked_mul(size)?)?..)?;
        if u8_at(token, 0)? == b'i' && u16_at(token, 2)? >= 5 {
            let [micro, minor, chip, major, patch] = array(image, usize::from(u16_at(token, 4)?))?;
            return Some(format!("{major:02x}.{chip:02x}.{minor:02x}.{micro:02x}.{patch:02x}"));
        }
    }
    None
}

/// Those of a driver: its name and its version, from the UTF-16 texts that a firmware would show.
pub(super) fn of_driver(driver: &[u8], versions: &mut Vec<Version>) {
    let (mut name, mut number) = (String::new(), String::new());
    let mut run = String::new();
    let mut at = 0_usize;
    while let Some(pair) = array::<2>(driver, at) {
        let wide = matches!(pair, [b' '..=b'~', 0]);
        if wide && run.len() <= MAX_LENGTH {
            let [low, _] = pair;
            run.push(char::from(low));
        } else if !wide && !run.is_empty() {
            let text = run.trim();
            if rank(text) > rank(&name) {
                name = text.to_owned();
            } else if number.is_empty() && text.len() < 48 && is_version(text) {
                number = text.to_owned();
            }
            run.clear();
        }
        at = at.saturating_add(2);
    }
    add(versions, "driver", name);
    add(versions, "driver version", number);
}

/// How well a text names a driver; 0: it does not. Drivers also hold sentences, prompts, formats and paths.
fn rank(text: &str) -> u8 {
    const NAMES: &[&str] = &["GOP", "Driver", "UEFI", "iPXE", ".efidrv"];
    let sentence =
        text.len() > 64 || text.split(' ').count() > 9 || text.contains(['%', '\\', ':', '=', '?', ',', '!']);
    if sentence || text.len() < 6 || !NAMES.iter().any(|name| text.contains(name)) {
        return 0;
    }
    match text.contains(|c: char| c.is_ascii_digit()) && text.contains("Driver") {
        false => 1,
        true if text.contains("GOP") => 3,
        true => 2,
    }
}

/// Whether a text is a version number, such as `1.0.0+git`.
fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && text.bytes().filter(|&b| b == b'.').count() > 1
}
