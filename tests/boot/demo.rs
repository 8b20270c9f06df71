// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows one machine booted without and with vfio-early, side by side, in 80 columns of plain text.

use crate::boot::Boot;
use crate::cases::{Case, Expect};
use crate::evidence::Evidence;
use crate::lab::{Contents, Lab};
use crate::machine::DEVICES;
use crate::run::{boot_of, side_by_side};

/// Boots the machine of a case twice and prints what came of it. Answers whether it came out as it should.
pub fn show(case: &Case) -> Result<bool, String> {
    let Expect::Boot(expected) = &case.expect else { return Err(format!("{} boots nothing", case.name)) };
    println!("Preparing: Debian's packages on the first run (a few minutes), then two boots.\n");
    let lab = Lab::new()?;
    let with = Boot { name: "demo-with", ..boot_of(case) };
    // What else the case asks of its guest, only the guest with the claim can answer.
    let without =
        Boot { name: "demo-without", contents: Contents::default(), overlay: &[], configuration: "", ..boot_of(case) };
    let boots = [without, with];
    let outcomes = side_by_side(&boots, |boot| boot.run(&lab)).into_iter().collect::<Result<Vec<_>, _>>()?;
    let (without, with) = (&outcomes[0].evidence, &outcomes[1].evidence);

    println!("\nOne machine, booted twice (Linux {}).", with.section("kernel").trim());
    println!("The only difference is a file, /etc/vfio-early.conf:\n");
    for (_, text) in case.contents.files {
        text.lines().for_each(|line| println!("    {line}"));
    }
    println!("\nWhich driver holds each device, and which ones the kernel ever let probe it:\n");
    println!("    {:12}  {:21}  {:13}  {:13}  with: probed by", "device", "", "without", "with");
    println!("    {:-<12}  {:-<21}  {:-<13}  {:-<13}  {:-<14}", "", "", "", "", "");
    for (address, what) in DEVICES {
        let [left, right] = [without, with].map(|evidence| driver(evidence, address));
        println!("    {address:12}  {what:21}  {left:13}  {right:13}  {}", with.probes(address).join(", "));
    }
    println!("\nvfio-early status, inside the guest that was booted with it:\n");
    with.section("status").lines().for_each(|line| println!("    {line}"));

    let faults = expected.faults(without, with);
    for text in &faults {
        println!("\nNot as it should be: {text}");
    }
    if faults.is_empty() {
        println!("\nNo driver but vfio-pci ever touched the graphics card. Configure yours alike.");
    }
    Ok(faults.is_empty())
}

fn driver(evidence: &Evidence, address: &str) -> String {
    let device = evidence.devices("devices").remove(address).unwrap_or_default();
    device.driver.unwrap_or_else(|| "none".to_owned())
}
