// SPDX-License-Identifier: MIT OR Apache-2.0
//! Multimaps from a number to indices of functions, as sorted vectors. All of them have the same entry type, because each
//! type that is sorted adds kilobytes to the program.

/// A key and the index of a function.
pub(super) type Entry = (u64, usize);

/// Sorts entries and removes duplicates.
pub(super) fn sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_unstable();
    entries.dedup();
    entries
}

/// The entries with this key. `entries` must be sorted.
pub(super) fn equal_range(entries: &[Entry], key: u64) -> &[Entry] {
    let first = entries.partition_point(|entry| entry.0 < key);
    let rest = entries.get(first..).unwrap_or_default();
    rest.get(..rest.partition_point(|entry| entry.0 == key)).unwrap_or_default()
}

/// Whether one of these entries holds this index. `entries` must be sorted and have one key.
pub(super) fn contains(entries: &[Entry], index: usize) -> bool {
    entries.binary_search_by_key(&index, |entry| entry.1).is_ok()
}

/// An index, or another `usize`, as a key.
pub(super) fn key(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(u64::MAX)
}
