// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/terminal.svg, the README's picture: a session on the recorded machine of the README, as the program prints it.
//! `VFIO_EARLY_BLESS=1 cargo test --test it picture::` draws it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::guides::session;

/// Of one character, and of one line.
const WIDTH: usize = 8;
const HEIGHT: usize = 19;

/// What the picture shows of a command's output: not how a proposal begins, and no devices below the claims.
fn excerpt<'a>(command: &str, text: &'a str) -> Vec<&'a str> {
    let lines = text.lines();
    match command {
        "detect" => lines.skip_while(|line| !line.starts_with("# 0000:")).collect(),
        "status" => {
            let end = lines.clone().position(|line| line.starts_with("Last claim")).unwrap() + 1;
            lines.take(end).collect()
        }
        _ => lines.collect(),
    }
}

fn svg(lines: &[String]) -> String {
    let columns = lines.iter().map(|line| line.chars().count()).max().unwrap();
    let (width, height) = ((columns + 4) * WIDTH, (lines.len() + 2) * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"vfio-early in a terminal\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"#1d1f21\"/>\n\
         <g font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#d8dad9\" \
         xml:space=\"preserve\">\n"
    );
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_empty()) {
        let fill = if line.starts_with("$ ") {
            " fill=\"#8abe7a\" font-weight=\"bold\""
        } else if line.starts_with('#') {
            " fill=\"#969896\""
        } else {
            ""
        };
        let text = line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        // The columns stay in line in any font.
        let length = line.chars().count() * WIDTH;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" textLength=\"{length}\"{fill}>{text}</text>",
            2 * WIDTH,
            (number + 2) * HEIGHT - 6
        )
        .unwrap();
    }
    svg + "</g>\n</svg>\n"
}

#[test]
fn the_picture_shows_what_the_program_prints() {
    let mut lines = Vec::new();
    for (command, text) in session("picture") {
        // What prints nothing.
        match command {
            "check" => lines.push("$ vfio-early detect > /etc/vfio-early.d/gpu.conf".to_owned()),
            "status" => lines.extend(["$ update-initramfs -u && reboot".to_owned(), String::new()]),
            _ => {}
        }
        lines.push(format!("$ vfio-early {command}"));
        lines.extend(excerpt(command, &text).into_iter().map(str::to_owned));
        if !lines.last().unwrap().is_empty() {
            lines.push(String::new());
        }
    }
    lines.pop();
    let new = svg(&lines);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/terminal.svg");
    if fs::read_to_string(&path).is_ok_and(|old| old == new) {
        return;
    }
    if std::env::var_os("VFIO_EARLY_BLESS").is_some() {
        fs::write(&path, new).unwrap();
        return;
    }
    panic!("docs/terminal.svg is stale: VFIO_EARLY_BLESS=1 cargo test --test it picture::, and look at it");
}
