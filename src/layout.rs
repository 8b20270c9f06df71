// SPDX-License-Identifier: MIT OR Apache-2.0
//! Text for people, in 80 columns.

use std::borrow::Cow;

/// How wide a line may be.
const COLUMNS: usize = 80;

/// A line that a terminal only shows: recordings and reports come from strangers, and hold what they like.
pub(crate) fn plain(line: &str) -> Cow<'_, str> {
    if line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return line.into();
    }
    line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// Breaks a line at its blanks where it is too long; what follows begins with `indent`. Blanks inside a line that fits are
/// kept, so that columns stay columns.
pub(crate) fn wrap(line: &str, indent: &str) -> String {
    let mut text = String::new();
    let line = plain(line);
    let mut rest = line.trim_end();
    let mut before = "";
    // A line of few bytes has no more letters than that.
    while before.len().saturating_add(rest.len()) > COLUMNS
        && before.len().saturating_add(rest.chars().count()) > COLUMNS
    {
        let room = COLUMNS.saturating_sub(before.len());
        let start = rest.len().saturating_sub(rest.trim_start().len());
        let blank = |(at, letter): &(usize, char)| *letter == ' ' && *at > start;
        let end = rest.char_indices().nth(room.saturating_add(1)).map_or(rest.len(), |(at, _)| at);
        let fits = rest.get(..end).unwrap_or_default().char_indices().rev().find(blank);
        // A word that is longer than a line stays whole: addresses and paths are copied.
        let Some((at, _)) = fits.or_else(|| rest.char_indices().skip(room).find(blank)) else { break };
        let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(before);
        text.push_str(head.trim_end());
        text.push('\n');
        rest = tail.trim_start();
        before = indent;
    }
    text.push_str(before);
    text.push_str(rest);
    text.push('\n');
    text
}

/// Breaks every line of a text that is too long; what follows is indented by two more than the line itself.
pub(crate) fn flow(text: &str) -> String {
    let indent = |line: &str| line.len().saturating_sub(line.trim_start().len()).saturating_add(2);
    let mut flowed = String::with_capacity(text.len());
    text.lines().for_each(|line| flowed.push_str(&wrap(line, &" ".repeat(indent(line)))));
    flowed
}

/// Rows in columns, each as wide as its widest cell, two blanks apart and two from the left. The last cell of a row may be
/// long: it is wrapped. Returns the text of each row.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for (column, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        let width = cell.chars().count();
        match widths.get_mut(column) {
            Some(known) => *known = width.max(*known),
            None => widths.push(width),
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:width$}"));
        wrap(&cells.collect::<String>(), "      ")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_break_at_blanks_and_long_words_stay_whole() {
        let words = "word ".repeat(40);
        let wrapped = wrap(&words, "  ");
        assert!(wrapped.lines().count() == 3 && wrapped.lines().all(|line| line.chars().count() <= 80), "{wrapped}");
        assert_eq!(wrap("a  b   c", ""), "a  b   c\n");
        let path = "x".repeat(100);
        assert_eq!(wrap(&format!("at {path} end"), "  "), format!("at\n  {path}\n  end\n"));
        assert_eq!(wrap("", ""), "\n");
        assert_eq!(wrap("\u{1b}[2Ja\nb\u{9b}", ""), "?[2Ja?b?\n");
    }
}
