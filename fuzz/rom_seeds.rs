// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writes the ROMs that tests/rom describes into the corpus of each target.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/rom/build.rs"]
mod build;

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(here.join("../tests/rom"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let rom = build::build(&fs::read_to_string(&path)?);
            for target in ["rom_parse", "rom_extract", "rom_repair"] {
                let corpus = here.join("corpus").join(target);
                fs::create_dir_all(&corpus)?;
                fs::write(corpus.join(path.file_stem().unwrap_or_default()), &rom)?;
            }
        }
    }
    Ok(())
}
