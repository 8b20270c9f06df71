// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine as a tree in 80 columns: root ports down to functions, with group numbers and isolation marks.

use std::fmt::Write as _;

use crate::pci::Address;

use super::function_isolation::Isolation;
use super::multimap::{self, Entry};
use super::{Examination, topology::Node};

const WIDTH: usize = 80;
/// Deeper levels are drawn no further to the right.
const DEEPEST: u64 = 10;

/// What the marks mean, for below the drawing.
const LEGEND: &str = "= isolates by ACS  ~ known to isolate  ! does not isolate  . need not  ? unknown\n";

impl Examination<'_> {
    /// The tree of all functions, or of the groups that hold one of `only`, with what is above: a line each, and the legend
    /// of its marks.
    pub fn tree(&self, only: &[Address]) -> String {
        // Numbered from 1, so that 0 stands for the root.
        let below = |index: usize| multimap::key(index).saturating_add(1);
        let above = |node: &Node<'_>| node.parent.or(node.real_dma_device).map_or(0, below);
        let mut children: Vec<Entry> = Vec::new();
        let wanted = self.groups.iter().filter(|group| !only.is_empty() && group.is_selected(only));
        for group in wanted {
            for device in &group.devices {
                // Bridges may come often: sorting drops what is there already.
                let mut next = self.topology.index_of(*device);
                while let Some(index) = next {
                    let node = self.topology.node(index);
                    children.push((above(node), index));
                    next = node.parent.or(node.real_dma_device);
                }
            }
        }
        if only.is_empty() {
            let nodes = self.topology.nodes.iter().enumerate();
            children = nodes.map(|(index, node)| (above(node), index)).collect();
        }
        let children = multimap::sorted(children);
        // The column of the group numbers, which all begin alike.
        let most = self.groups.last().map_or(0, |group| group.id);
        let room = WIDTH.saturating_sub(most.to_string().len().saturating_add(6).max(8)).saturating_sub(1);
        let mut out = String::new();
        // What is still to be drawn, the next last.
        let mut stack: Vec<Entry> = Vec::new();
        let (mut parent, mut level, mut lines) = (0, 0, 0);
        loop {
            // The level is the lowest byte of the number; above it, a bit for each level tells whether its line goes on.
            let onward = 256_u64.wrapping_shl(level);
            for (at, (_, index)) in multimap::equal_range(&children, parent).iter().rev().enumerate() {
                let goes_on = if at == 0 { 0 } else { onward };
                stack.push((lines & !onward | goes_on | u64::from(level), *index));
            }
            let Some((number, index)) = stack.pop() else { break };
            self.branch(&mut out, index, number, room);
            (parent, lines) = (below(index), number & !255);
            level = u32::try_from((number & 255).saturating_add(1).min(DEEPEST)).unwrap_or(0);
        }
        out.push_str(LEGEND);
        out
    }

    fn branch(&self, out: &mut String, index: usize, number: u64, room: usize) {
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
            let goes_on = number.wrapping_shr(8).wrapping_shr(u32::try_from(at).unwrap_or(0)) & 1 != 0;
            line.push_str(match (goes_on, at == level) {
                (true, false) => "| ",
                (false, false) => "  ",
                (true, true) => "|-",
                (false, true) => "`-",
            });
        }
        let function = node.function;
        let _ = write!(line, "{mark} {} {:04x}:{:04x} ", function.address, function.vendor, function.device);
        let _ = write!(line, "{} {}", node.type_name(), function.driver.as_deref().unwrap_or(""));
        let _ = write!(out, "{line:<room$.room$} ");
        match function.sys_group {
            Some(group) => writeln!(out, "group {group}"),
            None => writeln!(out, "no group"),
        }
        .unwrap_or_default();
    }
}
