// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an ELF file of 64 bits says about itself (System V ABI, chapters 4 and 5).

/// What matters of it.
#[derive(Debug)]
pub(crate) struct Elf {
    /// A shared object that says it is an executable.
    pub(crate) is_pie: bool,
    /// It asks for a dynamic loader.
    pub(crate) has_interpreter: bool,
    /// How many libraries it asks for.
    pub(crate) needed: usize,
    /// It has a symbol table.
    pub(crate) has_symbols: bool,
}

impl Elf {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        const INTERPRETER: u64 = 3;
        const DYNAMIC: u64 = 2;
        const SYMBOLS: u64 = 2;
        const NEEDED: u64 = 1;
        const FLAGS_1: u64 = 0x6fff_fffb;
        const PIE: u64 = 0x0800_0000;
        // Magic, 64 bits, little-endian.
        assert_eq!(bytes[..6], *b"\x7fELF\x02\x01");
        let number = |at: u64, length: usize| {
            let at = usize::try_from(at).unwrap();
            bytes[at..at + length].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        let table =
            |at: u64, size: u64, count: u64| (0..number(count, 2)).map(move |n| number(at, 8) + n * number(size, 2));
        let segments: Vec<u64> = table(0x20, 0x36, 0x38).collect();
        let mut sections = table(0x28, 0x3a, 0x3c);
        let dynamic = segments.iter().find(|at| number(**at, 4) == DYNAMIC);
        let entries: Vec<(u64, u64)> = dynamic.map_or_else(Vec::new, |at| {
            let (start, length) = (number(at + 8, 8), number(at + 32, 8));
            (start..start + length).step_by(16).map(|at| (number(at, 8), number(at + 8, 8))).collect()
        });
        Self {
            is_pie: number(16, 2) == 3 && entries.iter().any(|(tag, value)| *tag == FLAGS_1 && value & PIE != 0),
            has_interpreter: segments.iter().any(|at| number(*at, 4) == INTERPRETER),
            needed: entries.iter().filter(|(tag, _)| *tag == NEEDED).count(),
            has_symbols: sections.any(|at| number(at + 4, 4) == SYMBOLS),
        }
    }
}
