// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keywords of the configuration, in tables that the parser, the manual's tests and the completions share.

/// A keyword and its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyword {
    /// The keyword, as in a configuration file.
    pub name: &'static str,
    /// The values: literals in lower case, separated by `|`, and placeholders in upper case.
    pub values: &'static str,
    /// A description of one line.
    pub help: &'static str,
}

/// The first word of a line.
pub const DIRECTIVES: &[Keyword] = &[
    Keyword { name: "claim", values: "SELECTOR [OPTION...]", help: "bind devices to a VFIO driver" },
    Keyword { name: "set", values: "NAME VALUE", help: "change a setting" },
];

/// The options of a claim, written `NAME=VALUE`.
pub const OPTIONS: &[Keyword] = &[
    Keyword {
        name: "id",
        values: "VVVV:DDDD[:SSVV:SSDD]",
        help: "the expected ID; a device with any other ID is refused",
    },
    Keyword { name: "match", values: "one|all", help: "whether an ID or a pattern may match several devices" },
    Keyword { name: "with", values: "card|group|none", help: "what to claim along with a selected device" },
    Keyword { name: "driver", values: "vfio-pci|auto|NAME", help: "the driver to bind the device to" },
    Keyword { name: "rom", values: "save|none", help: "whether to save the option ROM first" },
    Keyword { name: "reset", values: "METHOD[+METHOD...]", help: "the reset methods, in the order to try them" },
    Keyword { name: "rebar", values: "BAR:SIZE", help: "the size of a BAR; may be given for several BARs" },
    Keyword { name: "power", values: "on", help: "keep the device awake while no guest uses it" },
    Keyword { name: "allow", values: "GUARD[+GUARD...]", help: "guards to override for this claim" },
];

/// The kernel's names of reset methods (drivers/pci/pci.c, `pci_reset_fn_methods`).
pub const RESET_METHODS: &[&str] = &["device_specific", "acpi", "flr", "af_flr", "pm", "bus", "cxl_bus"];

/// The settings.
pub const SETTINGS: &[Keyword] = &[
    Keyword { name: "trial", values: "yes|no", help: "whether a boot that is not confirmed is the last to claim" },
    Keyword { name: "iommu", values: "required|optional", help: "whether claims require an IOMMU" },
    Keyword { name: "isolation", values: "required|optional", help: "whether claims require isolated IOMMU groups" },
    Keyword { name: "on-failure", values: "restore|keep", help: "what to do with a slot that could not be claimed" },
    Keyword { name: "framebuffer", values: "keep|release", help: "what to do with the firmware framebuffer" },
    Keyword { name: "adopt-ids", values: "yes|no", help: "whether the IDs in vfio-pci's ids= count as claims" },
    Keyword { name: "step-timeout", values: "SECONDS", help: "the time limit of one step, 1 to 300 seconds" },
];

/// The keyword of that name.
pub(super) fn find(table: &'static [Keyword], name: &str) -> Option<&'static Keyword> {
    table.iter().find(|keyword| keyword.name == name)
}

/// The names of all keywords.
pub(super) fn names(table: &[Keyword]) -> Vec<&'static str> {
    table.iter().map(|keyword| keyword.name).collect()
}

/// Joins names: `one, two or three`.
pub(super) fn list(names: &[&str]) -> String {
    let mut text = String::new();
    for (name, left) in names.iter().zip((0..names.len()).rev()) {
        text.push_str(name);
        text.push_str(match left {
            0 => "",
            1 => " or ",
            _ => ", ",
        });
    }
    text
}

/// Quotes a word for a message of one line: shortened if it is long, control characters replaced.
pub(super) fn quote(word: &str) -> String {
    const MAX_CHARACTERS: usize = 80;
    let mut text = String::from("`");
    text.extend(word.chars().take(MAX_CHARACTERS).map(|letter| if letter.is_control() { '?' } else { letter }));
    text.push_str(if word.chars().nth(MAX_CHARACTERS).is_some() { "...`" } else { "`" });
    text
}

/// The message for a `word` that is not among the `known` ones. Suggests a similar one.
pub(super) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let near = known.iter().filter(|_| word.len() < 32).map(|name| (distance(word, name), name));
    let near =
        near.filter(|(distance, name)| *distance <= 2 && *distance < name.len()).min_by_key(|(distance, _)| *distance);
    let meant = near.map(|(_, name)| format!(" (did you mean `{name}`?)")).unwrap_or_default();
    format!("unknown {what} {}{meant}; expected {}", quote(word), list(known))
}

/// The edit distance (Levenshtein) of two words.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (letter, start) in one.bytes().zip(1_usize..) {
        let (mut left, mut corner) = (start, start.saturating_sub(1));
        for (cell, against) in row.iter_mut().zip(std::iter::once(None).chain(other.bytes().map(Some))) {
            let above = *cell;
            if let Some(against) = against {
                let replaced = corner.saturating_add(usize::from(letter != against));
                left = replaced.min(left.saturating_add(1)).min(above.saturating_add(1));
            }
            *cell = left;
            corner = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        for (one, other, far) in
            [("", "", 0), ("with", "with", 0), ("wiht", "with", 2), ("wit", "with", 1), ("a", "", 1), ("", "abc", 3)]
        {
            assert_eq!(distance(one, other), far, "{one} {other}");
            assert_eq!(distance(other, one), far, "{other} {one}");
        }
        assert_eq!(
            unknown("option", "wiht", &["id", "with"]),
            "unknown option `wiht` (did you mean `with`?); expected id or with"
        );
        assert_eq!(unknown("option", "xy", &["id", "a", "b"]), "unknown option `xy`; expected id, a or b");
    }

    #[test]
    fn hostile_words_are_quoted_on_one_short_line() {
        assert_eq!(quote("a\n\u{1b}[0m"), "`a??[0m`");
        assert_eq!(quote(&"x".repeat(80)).len(), 82);
        assert_eq!(quote(&"é".repeat(4096)).chars().count(), 85);
    }
}
