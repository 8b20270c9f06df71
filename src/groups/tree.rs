// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine as a tree in 80 columns: root ports down to functions, with group numbers and isolation marks.

use std::fmt::Write as _;

use super::isolation::Isolation;
use super::{Examination, order};

const WIDTH: usize = 80;
/// Deeper levels are drawn no further to the right.
const DEEPEST: usize = 10;

/// What the marks mean, for below the drawing.
const LEGEND: &str = "= isolates by ACS  ~ known to isolate  ! does not isolate  . need not  ? unknown\n";

impl Examination<'_> {
    /// The tree of all functions, a line each, with the legend of its marks.
    pub fn tree(&self) -> String {
        // Numbered from 1, so that 0 stands for the root.
        let above = |parent: Option<usize>| parent.map_or(0, |parent| order::number(parent).saturating_add(1));
        let nodes = self.machine.nodes.iter().enumerate();
        let children =
            order::sort(nodes.map(|(index, node)| (above(node.parent.or(node.stands_for)), index)).collect());
        let below = |parent: Option<usize>| order::with(&children, above(parent));
        let mut out = String::new();
        // What is still to be drawn, the next last: the function, and the lines to its left.
        let mut stack: Vec<(usize, String)> = Vec::new();
        let push = |stack: &mut Vec<(usize, String)>, parent: Option<usize>, left: &str| {
            let list = below(parent);
            for (position, (_, index)) in list.iter().enumerate().rev() {
                let ends = position.saturating_add(1) == list.len();
                let mark = if ends { '`' } else { '|' };
                stack.push((*index, format!("{left}{mark}")));
            }
        };
        push(&mut stack, None, "");
        while let Some((index, left)) = stack.pop() {
            self.branch(&mut out, index, &left);
            // The corner of a last child has nothing below it.
            let mut onward: String = left.chars().map(|mark| if mark == '`' { ' ' } else { mark }).collect();
            if onward.len() > DEEPEST {
                onward.truncate(DEEPEST);
            }
            push(&mut stack, Some(index), &onward);
        }
        out.push_str(LEGEND);
        out
    }

    fn branch(&self, out: &mut String, index: usize, left: &str) {
        let Some(node) = self.machine.nodes.get(index) else { return };
        let mark = match self.regrouping.isolation.get(index) {
            Some(Isolation::Acs) => '=',
            Some(Isolation::Quirk(_)) => '~',
            Some(Isolation::No(_)) => '!',
            Some(Isolation::NotNeeded) => '.',
            Some(Isolation::Unknown) | None => '?',
        };
        let mut line = String::new();
        for corner in left.chars() {
            line.push(corner);
            line.push(' ');
        }
        let function = node.function;
        line.pop();
        let _ = write!(line, "-{mark} {} ", function.address);
        let group = function.sys_group.map_or_else(|| "no group".to_owned(), |group| format!("group {group}"));
        let driver = function.driver.as_deref().unwrap_or("");
        let _ = write!(line, "{:04x}:{:04x} {} {driver}", function.vendor, function.device, node.kind());
        let room = WIDTH.saturating_sub(group.len()).saturating_sub(1);
        let text: String = line.chars().take(room).collect();
        let _ = writeln!(out, "{text:<room$} {group}");
    }
}
