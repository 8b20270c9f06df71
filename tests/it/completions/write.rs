// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables in the three shells' words, put into the shells' own functions (bash.in, zsh.in, fish.in).

use std::fmt::Write;

use vfio_early::config::OPTIONS;

use super::kind::{kind, of_option};
use crate::support::usage::{Opt, Usage};

/// What the parser knows before argh does, and what argh calls by one name more.
const VERSION: &str = "print the version";
const HELP: &str = "print what there is";

/// Options that may stand anywhere: those of the program itself.
fn global(all: &[Usage]) -> &Usage {
    all.iter().find(|usage| usage.path.is_empty()).unwrap()
}

/// Puts texts in the places of `@NAME@`, each on a line of its own or within one.
fn fill(template: &str, places: &[(&str, String)]) -> String {
    let mut text = template.replace("@RECORDED@", include_str!("recorded.awk").trim_end());
    for (name, filling) in places {
        let place = format!("@{name}@");
        assert!(text.contains(&place), "no {place}");
        text = text.replace(&place, filling.trim_end_matches('\n'));
    }
    text
}

/// A word for bash, zsh: in single quotes.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The file completions/vfio-early.
pub(crate) fn bash(all: &[Usage]) -> String {
    let options = |options: &[Opt]| {
        let one = |option: &Opt| option.names.join("|") + if option.repeats { "..." } else { "" };
        options.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    let values = |usage: &Usage| {
        let mut found = Vec::new();
        for option in &usage.options {
            let Some(value) = &option.value else { continue };
            found.extend(option.names.iter().map(|name| format!("{name}={}", kind(usage, value))));
        }
        found.join(" ")
    };
    let mut commands = String::new();
    for usage in all {
        write!(commands, "\t{})", quote(&usage.path)).unwrap();
        let mut put = |name: &str, text: String| {
            if !text.is_empty() {
                write!(commands, "\n\t\t{name}={}", quote(&text)).unwrap();
            }
        };
        if !usage.commands.is_empty() {
            let names: Vec<&str> = usage.commands.iter().map(|(name, _)| name.as_str()).collect();
            put("commands", names.join(" "));
        }
        if usage.path.is_empty() {
            put("options", "--version".to_owned());
        } else {
            put("options", options(&usage.options));
            put("values", values(usage));
        }
        let one = |word: &crate::support::usage::Word| kind(usage, &word.name) + if word.repeats { "..." } else { "" };
        put("words", usage.words.iter().map(one).collect::<Vec<_>>().join(" "));
        commands.push_str("\n\t\t;;\n");
    }
    let mut claim = String::new();
    for word in OPTIONS {
        writeln!(claim, "\t{}) kind={} ;;", word.name, quote(&of_option(word.values))).unwrap();
    }
    fill(
        include_str!("bash.in"),
        &[
            ("COMMANDS", commands),
            ("GLOBAL_OPTIONS", options(&global(all).options) + " -h|--help"),
            ("GLOBAL_VALUES", values(global(all))),
            ("CLAIM_OPTIONS", claim),
        ],
    )
}

/// The file completions/_vfio-early.
pub(crate) fn zsh(all: &[Usage]) -> String {
    let mut functions = String::new();
    for usage in all {
        let mut specs: Vec<String> = if usage.path.is_empty() {
            vec![format!("'(- *)--version[{VERSION}]'")]
        } else {
            usage.options.iter().map(|option| zsh_option(usage, option)).collect()
        };
        let mut words = usage.words.iter().peekable();
        let mut place = 0;
        while let Some(word) = words.next() {
            place += 1;
            let place = if word.repeats { "*".to_owned() } else { place.to_string() };
            assert!(words.peek().is_none() || !word.repeats);
            specs.push(quote(&format!("{place}:{}:{}", zsh_text(&word.help), zsh_action(&kind(usage, &word.name)))));
        }
        let name = match usage.path.as_str() {
            "" => "_vfio-early_program".to_owned(),
            path => format!("_vfio-early_{}", path.replace(' ', "_")),
        };
        // A command below the program, or below another command.
        let below = if usage.path.is_empty() { "_vfio-early" } else { name.as_str() };
        writeln!(functions, "{name}() {{").unwrap();
        if usage.commands.is_empty() {
            specs.insert(0, "\t_arguments -S $global".to_owned());
            writeln!(functions, "{}\n}}\n", specs.join(" \\\n\t\t")).unwrap();
            continue;
        }
        let list: Vec<String> = usage.commands.iter().map(|(name, help)| quote(&format!("{name}:{help}"))).collect();
        writeln!(functions, "\tlocal curcontext=$curcontext context state state_descr ret=1\n\tlocal -a line commands\n\tlocal -A opt_args").unwrap();
        writeln!(functions, "\tcommands=(\n\t\t{}\n\t)", list.join("\n\t\t")).unwrap();
        specs.push("'(-)1:command:{_describe -t commands command commands}'".to_owned());
        specs.push("'(-)*::argument:->argument'".to_owned());
        specs.insert(0, "\t_arguments -C -S $global".to_owned());
        writeln!(functions, "{} && return", specs.join(" \\\n\t\t")).unwrap();
        // The words of the command alone are left to what completes them.
        writeln!(functions, "\t[[ $state == argument ]] || return 1").unwrap();
        writeln!(
            functions,
            "\tcurcontext=${{curcontext%:*}}-$words[1]:\n\t_call_function ret {below}_$words[1]\n\treturn ret\n}}\n"
        )
        .unwrap();
    }
    let mut everywhere = vec![format!("\t\t'(- *)'{{-h,--help}}'[{HELP}]'")];
    everywhere.extend(global(all).options.iter().map(|option| format!("\t\t{}", zsh_option(global(all), option))));
    let (mut names, mut values) = (String::new(), String::new());
    for word in OPTIONS {
        writeln!(names, "\t\t\t{}) shown+=({}) ;;", word.name, quote(&format!("{}=  {}", word.name, word.help)))
            .unwrap();
        let of = of_option(word.values);
        let action = match of.as_str() {
            "id" => "_vfio-early_devices id".to_owned(),
            "any" => "_message -r value".to_owned(),
            joined if joined.contains('+') => {
                format!("compset -P '*+'; _wanted values expl value compadd -S + -q {}", joined.replace('+', " "))
            }
            one => format!("_wanted values expl value compadd {}", one.replace('|', " ")),
        };
        writeln!(values, "\t{}) {action} ;;", word.name).unwrap();
    }
    fill(
        include_str!("zsh.in"),
        &[
            ("CLAIM_OPTIONS", names),
            ("CLAIM_VALUES", values),
            ("FUNCTIONS", functions),
            ("GLOBAL", everywhere.join("\n")),
        ],
    )
}

/// One option for `_arguments`.
fn zsh_option(usage: &Usage, option: &Opt) -> String {
    let equals = if option.value.is_some() { "=" } else { "" };
    let mut rest = format!("[{}]", zsh_text(&option.help));
    if let Some(value) = &option.value {
        write!(rest, ":{value}:{}", zsh_action(&kind(usage, value)).replace("{}", "")).unwrap();
        rest = rest.replace(&format!(":{value}:"), &format!(":{}:", zsh_text(value)));
    }
    if let [name] = option.names.as_slice() {
        let star = if option.repeats { "*" } else { "" };
        return quote(&format!("{star}{name}{equals}{rest}"));
    }
    let names: Vec<String> = option.names.iter().map(|name| format!("{name}{equals}")).collect();
    let others = if option.repeats { "*".to_owned() } else { format!("({})", option.names.join(" ")) };
    format!("'{others}'{{{}}}{}", names.join(","), quote(&rest))
}

/// A text within a specification: without what ends it.
fn zsh_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:").replace('[', "\\[").replace(']', "\\]")
}

fn zsh_action(kind: &str) -> String {
    match kind {
        "device" => "_vfio-early_devices".to_owned(),
        "id" => "{_vfio-early_devices id}".to_owned(),
        "file" | "root" => "_files".to_owned(),
        "rom" => "_vfio-early_files_or_devices".to_owned(),
        "release" => "_vfio-early_releases".to_owned(),
        "any" => " ".to_owned(),
        _ => match kind.strip_prefix("claim:") {
            Some(names) => format!("{{_vfio-early_claims {}}}", names.replace(',', " ")),
            None => format!("({})", kind.replace('|', " ")),
        },
    }
}

/// The file completions/vfio-early.fish.
pub(crate) fn fish(all: &[Usage]) -> String {
    let mut lines = String::new();
    let mut put = |condition: &str, rest: &str, help: &str| {
        let condition = if condition.is_empty() { String::new() } else { format!(" -n \"{condition}\"") };
        let help = if help.is_empty() { String::new() } else { format!(" -d {}", fish_quote(help)) };
        writeln!(lines, "complete -c vfio-early{condition}{rest}{help}").unwrap();
    };
    let name = |names: &[String]| {
        let mut text = String::new();
        for name in names {
            match name.strip_prefix("--") {
                Some(long) => write!(text, " -l {long}").unwrap(),
                None => write!(text, " -s {}", name.trim_start_matches('-')).unwrap(),
            }
        }
        text
    };
    let mut with_value = Vec::new();
    put("", " -s h -l help", HELP);
    for usage in all {
        if usage.path.is_empty() {
            put("__vfio_early_at ''", " -l version", VERSION);
        }
        for option in &usage.options {
            // Those of the program stand behind any command.
            let behind = if usage.path.is_empty() { "*" } else { usage.path.as_str() };
            let pairs = option.names.iter().filter(|_| option.value.is_some());
            with_value.extend(pairs.map(|name| fish_quote(&format!("{behind} {name}"))));
            let at = match (usage.path.is_empty(), option.repeats) {
                (true, _) => String::new(),
                (false, true) => format!("__vfio_early_at {}", fish_quote(&usage.path)),
                (false, false) => format!("__vfio_early_at {} {}", fish_quote(&usage.path), option.names.join(" ")),
            };
            let value = option.value.as_ref().map(|value| fish_value(&kind(usage, value)));
            // Required, and no file unless it says so.
            let value = value.map(|value| if value == " -F" { " -r -F".to_owned() } else { format!(" -x{value}") });
            let value = value.unwrap_or_default();
            put(&at, &(name(&option.names) + &value), &option.help);
        }
        let at = format!("__vfio_early_at {}", fish_quote(&usage.path));
        for (name, help) in &usage.commands {
            put(&at, &format!(" -a {name}"), help);
        }
        for (place, word) in usage.words.iter().enumerate() {
            let at = if word.repeats { at.clone() } else { format!("{at} {place}") };
            put(&at, &fish_value(&kind(usage, &word.name)), "");
        }
    }
    let parents: Vec<String> = all
        .iter()
        .filter(|usage| !usage.commands.is_empty() && !usage.path.is_empty())
        .map(|usage| fish_quote(&usage.path))
        .collect();
    let (mut claim, mut values) = (String::new(), String::new());
    for word in OPTIONS {
        writeln!(
            claim,
            "                case {}\n                    printf '%s\\t%s\\n' {}= {}",
            word.name,
            word.name,
            fish_quote(word.help)
        )
        .unwrap();
        writeln!(values, "        case {}", word.name).unwrap();
        match of_option(word.values).as_str() {
            "id" => writeln!(values, "            printf '%s\\n' $before(__vfio_early_devices id)").unwrap(),
            "any" => {}
            words => {
                writeln!(values, "            printf '%s\\n' $before{{{}}}", words.replace(['|', '+'], ",")).unwrap();
            }
        }
    }
    fill(
        include_str!("fish.in"),
        &[
            ("PARENTS", parents.join(" ")),
            ("VALUE_OPTIONS", with_value.join(" ")),
            ("CLAIM_OPTIONS", claim),
            ("CLAIM_VALUES", values),
            ("COMPLETE", lines),
        ],
    )
}

fn fish_quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn fish_value(kind: &str) -> String {
    match kind {
        "device" => " -a '(__vfio_early_devices)'".to_owned(),
        "id" => " -a '(__vfio_early_devices id)'".to_owned(),
        "file" | "root" => " -F".to_owned(),
        "rom" => " -F -a '(__vfio_early_devices)'".to_owned(),
        "release" => " -a '(__vfio_early_releases)'".to_owned(),
        "any" => String::new(),
        _ => match kind.strip_prefix("claim:") {
            Some(names) => {
                let names = names.replace(',', " ");
                format!(" -a '(__vfio_early_devices; __vfio_early_claim_options {names})'")
            }
            None => format!(" -a '{}'", kind.replace('|', " ")),
        },
    }
}
