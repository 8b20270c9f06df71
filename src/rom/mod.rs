// SPDX-License-Identifier: MIT OR Apache-2.0
//! Option ROMs: bytes in, values out. Nothing here touches the machine.
//!
//! [`parse`] accepts any bytes and never fails: each problem becomes a [`RomProblem`] with its offset. [`judge`] adds what
//! follows for a guest and for a device, and returns the one value, [`JudgedRom`], that everything else prints or saves.
//! [`text`] and [`json`] print it; [`extract`](extract()) and [`repair`](repair()) make new bytes.
//!
//! Sources: PCI Firmware Specification 3.3, section 5; UEFI Specification, "PCI Option ROMs" and "Compression Algorithm
//! Specification"; and for the vendors' extensions, the files that the modules name.
//!
//! Cost: time is linear in the size of the file; memory beside the file is one decompressed driver of at most 4 MiB, and
//! for a repair one copy of the file.

mod atom;
mod bytes;
mod chain;
mod checks;
mod compatibility;
mod decompress;
pub mod efi;
mod extract;
mod first_image;
mod image;
pub mod json;
mod judge;
mod nvidia;
mod parse;
mod pcir;
mod pe;
mod problem;
mod repair;
mod signature;
pub mod text;
mod vbt;
mod versions;
mod vfct;

pub use atom::Atom;
pub use compatibility::{Compatibility, Usable};
pub use efi::{Efi, GuestMachine, Payload};
pub use extract::{ExtractError, ExtractTarget, Extracted, extract};
pub use first_image::Prefix;
pub use image::{Checksum, Image};
pub use judge::{JudgedRom, Verdict, judge, judge_for};
pub use nvidia::Npde;
pub use parse::{Rom, parse};
pub use pcir::{EFI, LEGACY, Pcir, code_type_name};
pub use pe::Pe;
pub use problem::RomProblem;
pub use repair::{Change, RepairError, Repaired, repair};
pub use signature::Signer;
pub use vbt::Vbt;
pub use versions::Version;
pub use vfct::{VfctRom, parse_vfct};
