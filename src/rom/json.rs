// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON document of `rom show`. Numbers are numbers; IDs and classes are hexadecimal digits in lower case.

use crate::json::fields;

use super::efi::machine_name;
use super::image::{Checksum, Image};
use super::pcir::code_type_name;
use super::{Atom, Compatibility, JudgedRom, Npde, Payload, Prefix, RomProblem, Signer, Usable, Vbt, Verdict, Version};

/// The whole document.
#[derive(Clone, Debug)]
pub struct RomJson {
    size: usize,
    prefix: Option<Prefix>,
    images: Vec<ImageJson>,
    trailing_bytes: usize,
    efi_capable: bool,
    verdict: Verdict,
    ovmf: Compatibility,
    seabios: Compatibility,
    card: Option<Compatibility>,
    problems: Vec<RomProblem>,
}

fields!(RomJson { size, prefix, images, trailing_bytes, efi_capable, verdict, ovmf, seabios, card, problems });

#[derive(Clone, Debug)]
struct ImageJson {
    offset: usize,
    length: usize,
    signature: String,
    declared_length: usize,
    code_type: u8,
    code_type_name: &'static str,
    vendor: String,
    device: String,
    class: String,
    pcir_offset: usize,
    pcir_signature: &'static str,
    pcir_revision: u8,
    pcir_length: usize,
    pcir_last: bool,
    code_revision: u16,
    device_list: Vec<String>,
    vital_data: Option<u16>,
    run_time_length: Option<usize>,
    configuration_utility: Option<u16>,
    dmtf_clp: Option<u16>,
    last: bool,
    in_pci_chain: bool,
    found_by: Vec<&'static str>,
    checksum: Checksum,
    pcir_checksum: Checksum,
    npde: Option<Npde>,
    efi: Option<EfiJson>,
    atom: Option<Atom>,
    vbt: Option<Vbt>,
    versions: Vec<Version>,
}

fields!(ImageJson {
    offset,
    length,
    signature,
    declared_length,
    code_type,
    code_type_name,
    vendor,
    device,
    class,
    pcir_offset,
    pcir_signature,
    pcir_revision,
    pcir_length,
    pcir_last,
    code_revision,
    device_list,
    vital_data,
    run_time_length,
    configuration_utility,
    dmtf_clp,
    last,
    in_pci_chain,
    found_by,
    checksum,
    pcir_checksum,
    npde,
    efi,
    atom,
    vbt,
    versions
});

#[derive(Clone, Debug)]
struct EfiJson {
    signature_ok: bool,
    subsystem: u16,
    machine: String,
    machine_name: &'static str,
    compression: u16,
    image_offset: usize,
    payload: Payload,
    payload_offset: usize,
    payload_length: usize,
    uncompressed_length: Option<usize>,
    pe_machine: Option<String>,
    pe_subsystem: Option<u16>,
    signed: Option<bool>,
    signers: Vec<Signer>,
    loadable: bool,
}

fields!(EfiJson {
    signature_ok,
    subsystem,
    machine,
    machine_name,
    compression,
    image_offset,
    payload,
    payload_offset,
    payload_length,
    uncompressed_length,
    pe_machine,
    pe_subsystem,
    signed,
    signers,
    loadable
});

/// The document of a ROM.
pub fn document(judged: &JudgedRom) -> RomJson {
    let rom = &judged.rom;
    RomJson {
        size: rom.size,
        prefix: rom.prefix.clone(),
        images: rom.images.iter().map(image).collect(),
        trailing_bytes: rom.trailing(),
        efi_capable: judged.ovmf.answer != Usable::No,
        verdict: judged.verdict,
        ovmf: judged.ovmf.clone(),
        seabios: judged.seabios.clone(),
        card: judged.card.clone(),
        problems: rom.problems.clone(),
    }
}

fn id(value: u16) -> String {
    format!("{value:04x}")
}

fn image(image: &Image) -> ImageJson {
    let pcir = &image.pcir;
    let [a, b] = image.signature;
    ImageJson {
        offset: image.offset,
        length: image.length,
        signature: format!("{a:02x}{b:02x}"),
        declared_length: image.efi.as_ref().map_or(image.declared, |efi| efi.declared),
        code_type: pcir.code_type,
        code_type_name: code_type_name(pcir.code_type),
        vendor: id(pcir.vendor),
        device: id(pcir.device),
        class: format!("{:06x}", pcir.class),
        pcir_offset: pcir.offset,
        pcir_signature: pcir.signature,
        pcir_revision: pcir.revision,
        pcir_length: pcir.image_length,
        pcir_last: pcir.last,
        code_revision: pcir.code_revision,
        device_list: pcir.device_list.iter().map(|&device| id(device)).collect(),
        vital_data: pcir.vital_data,
        run_time_length: pcir.run_time_length,
        configuration_utility: pcir.configuration_utility,
        dmtf_clp: pcir.dmtf_clp,
        last: image.last,
        in_pci_chain: image.in_pci_chain(),
        found_by: [("bios", image.found_by.bios), ("uefi", image.found_by.uefi)]
            .iter()
            .filter(|(_, found)| *found)
            .map(|(who, _)| *who)
            .collect(),
        checksum: image.checksum,
        pcir_checksum: match image.pcir_sum {
            Some(0) => Checksum::Ok,
            Some(_) => Checksum::Bad,
            None => Checksum::None,
        },
        npde: image.npde,
        efi: image.efi.as_ref().map(|efi| EfiJson {
            signature_ok: efi.signature_ok,
            subsystem: efi.subsystem,
            machine: id(efi.machine),
            machine_name: machine_name(efi.machine),
            compression: efi.compression,
            image_offset: efi.image_offset,
            payload: efi.payload,
            payload_offset: efi.stored.0,
            payload_length: efi.stored.1,
            uncompressed_length: efi.unpacked,
            pe_machine: efi.pe.map(|pe| id(pe.machine)),
            pe_subsystem: efi.pe.map(|pe| pe.subsystem),
            signed: efi.pe.map(|pe| pe.signed),
            signers: efi.signers.clone(),
            loadable: efi.loadable,
        }),
        atom: image.atom.clone(),
        vbt: image.vbt.clone(),
        versions: image.versions.clone(),
    }
}
