// SPDX-License-Identifier: MIT OR Apache-2.0
//! Prints the topology as a tree, 80 columns wide: from the root ports down, with isolation marks and group numbers.

use std::fmt::Write as _;

use crate::pci::Address;

use super::function_isolation::Isolation;
use super::multimap::{self, Entry};
use super::{Examination, topology::Node};

/// The width of a line.
const COLUMNS: usize = 80;
/// Levels below this one are not indented further.
const MAX_INDENT: u64 = 10;

/// What the marks mean, printed below the tree.
const LEGEND: &str = "= isolates by ACS  ~ by quirk  ! does not isolate  . not needed  ? unknown\n";

impl Examination<'_> {
    /// The tree of the groups that have one of `addresses` as a member and of the bridges above, or of all functions if
    /// `addresses` is empty: a line for each function, and a legend.
    pub fn tree(&self, addresses: &[Address]) -> String {
        // A parent is numbered from 1; 0 is the root.
        let parent_key = |index: usize| multimap::key(index).saturating_add(1);
        let key_of_parent = |node: &Node<'_>| node.parent.or(node.real_dma_device).map_or(0, parent_key);
        let mut children: Vec<Entry> = Vec::new();
        let selected = self.groups.iter().filter(|group| !addresses.is_empty() && group.is_selected(addresses));
        for group in selected {
            for device in &group.devices {
                // A bridge is added for each function below it; sorting removes duplicates.
                let mut next = self.topology.index_of(*device);
                while let Some(index) = next {
                    let node = self.topology.node(index);
                    children.push((key_of_parent(node), index));
                    next = node.parent.or(node.real_dma_device);
                }
            }
        }
        if addresses.is_empty() {
            let nodes = self.topology.nodes.iter().enumerate();
            children = nodes.map(|(index, node)| (key_of_parent(node), index)).collect();
        }
        let children = multimap::sorted(children);
        // The group numbers are in one column.
        let last_id = self.groups.last().map_or(0, |group| group.id);
        let width = COLUMNS.saturating_sub(last_id.to_string().len().saturating_add(6).max(8)).saturating_sub(1);
        let mut out = String::new();
        // The functions to be drawn, the next one last. The lowest byte of the number is the level; above it, a bit for each
        // level tells whether its branch continues.
        let mut stack: Vec<Entry> = Vec::new();
        let (mut parent, mut level, mut branches) = (0, 0, 0);
        loop {
            let branch = 256_u64.wrapping_shl(level);
            for (at, (_, index)) in multimap::equal_range(&children, parent).iter().rev().enumerate() {
                let continues = if at == 0 { 0 } else { branch };
                stack.push((branches & !branch | continues | u64::from(level), *index));
            }
            let Some((number, index)) = stack.pop() else { break };
            self.write_branch(&mut out, index, number, width);
            (parent, branches) = (parent_key(index), number & !255);
            level = u32::try_from((number & 255).saturating_add(1).min(MAX_INDENT)).unwrap_or(0);
        }
        out.push_str(LEGEND);
        out
    }

    /// Draws one function. `number` is that of the stack, `width` the space before the group number.
    fn write_branch(&self, out: &mut String, index: usize, number: u64, width: usize) {
        let node = self.topology.node(index);
        let mark = match node.isolation {
            Isolation::Acs => '=',
            Isolation::Quirk(_) => '~',
            Isolation::Missing(_) => '!',
            Isolation::NotNeeded => '.',
            Isolation::Unknown => '?',
        };
        let mut line = String::new();
        let level = number & 255;
        for at in 0..=level {
            let continues = number.wrapping_shr(8).wrapping_shr(u32::try_from(at).unwrap_or(0)) & 1 != 0;
            line.push_str(match (continues, at == level) {
                (true, false) => "| ",
                (false, false) => "  ",
                (true, true) => "|-",
                (false, true) => "`-",
            });
        }
        let function = node.function;
        let _ = write!(line, "{mark} {} {:04x}:{:04x} ", function.address, function.vendor, function.device);
        let _ = write!(line, "{} {}", node.type_name(), function.driver.as_deref().unwrap_or(""));
        let _ = write!(out, "{line:<width$.width$} ");
        match function.sys_group {
            Some(group) => writeln!(out, "group {group}"),
            None => writeln!(out, "no group"),
        }
        .unwrap_or_default();
    }
}
