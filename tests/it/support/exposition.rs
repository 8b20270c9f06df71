// SPDX-License-Identifier: MIT OR Apache-2.0
//! A strict reader of Prometheus' text exposition format, version 0.0.4: stricter than the engines, because what is written
//! here needs none of what they forgive. Every metric has one HELP and then one TYPE line before its samples, its samples
//! stand together, and no two have the same labels.

/// One sample, its labels as they are meant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: String,
}

fn is_name(text: &str, colon: bool) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    let mut bytes = text.bytes();
    bytes.next().is_some_and(first) && bytes.all(|byte| first(byte) || byte.is_ascii_digit())
}

/// Reads a whole file, or says what is wrong with which line.
pub(crate) fn parse(text: &str) -> Result<Vec<Sample>, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut samples: Vec<Sample> = Vec::new();
    let mut known: Vec<String> = Vec::new();
    let mut helped = None;
    for (line, number) in text.lines().zip(1..) {
        let wrong = |what: &str| format!("line {number}: {what}: {line}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            if helped.is_some() || known.iter().any(|known| known == name) || !is_name(name, true) {
                return Err(wrong("HELP out of place"));
            }
            let mut rest = words;
            while let Some((_, after)) = rest.split_once('\\') {
                rest = after.strip_prefix(['\\', 'n']).ok_or_else(|| wrong("escape"))?;
            }
            helped = Some(name.to_owned());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let name = helped.take().ok_or_else(|| wrong("TYPE without HELP"))?;
            if kind != format!("{name} gauge") {
                return Err(wrong("TYPE"));
            }
            known.push(name);
        } else {
            let sample = sample(line).map_err(wrong)?;
            if helped.is_some() || known.last() != Some(&sample.name) {
                return Err(wrong("out of place"));
            }
            let same = |other: &Sample| other.name == sample.name && other.labels == sample.labels;
            if samples.iter().any(same) {
                return Err(wrong("twice"));
            }
            samples.push(sample);
        }
    }
    let silent = known.iter().find(|name| !samples.iter().any(|sample| sample.name == **name));
    silent.map_or(Ok(samples), |name| Err(format!("{name} has no sample")))
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name, true) {
        return Err("name");
    }
    let mut labels: Vec<(String, String)> = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("label")?;
            if !is_name(label, false) || label.starts_with("__") || labels.iter().any(|(known, _)| known == label) {
                return Err("label name");
            }
            let mut text = String::new();
            let mut letters = after.chars();
            loop {
                match letters.next().ok_or("label without end")? {
                    '"' => break,
                    '\\' => text.push(match letters.next() {
                        Some('n') => '\n',
                        Some(letter @ ('\\' | '"')) => letter,
                        _ => return Err("escape"),
                    }),
                    letter => text.push(letter),
                }
            }
            labels.push((label.to_owned(), text));
            match letters.next() {
                Some(',') => rest = letters.as_str(),
                Some('}') => {
                    rest = letters.as_str();
                    break;
                }
                _ => return Err("what follows a label"),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    // Digits and one point: what is written here has no exponents, signs or times.
    let plain = value.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !plain || value.parse::<f64>().is_err() {
        return Err("value");
    }
    Ok(Sample { name: name.to_owned(), labels, value: value.to_owned() })
}

#[test]
fn the_reader_refuses_what_is_wrong() {
    let good = "# HELP a b\n# TYPE a gauge\na{b=\"\\\\\\\"\\n\",c=\"\"} 1\na 0.5\n";
    let samples = parse(good).unwrap();
    assert_eq!(samples[0].labels, [("b".to_owned(), "\\\"\n".to_owned()), ("c".to_owned(), String::new())]);
    for (from, to) in [
        ("a 0.5\n", "a 0.5"),
        ("a 0.5", "b 0.5"),
        ("a 0.5", "a  0.5"),
        ("a 0.5", "a x"),
        ("a 0.5", "a"),
        ("a 0.5", "a{} 0.5"),
        ("a 0.5", "a{b=\"\\\\\\\"\\n\",c=\"\"} 0"),
        ("# HELP a b\n", ""),
        ("# HELP a b\n", "# HELP a b\n# HELP a b\n"),
        ("# TYPE a gauge\n", ""),
        ("# TYPE a gauge\n", "# TYPE a meter\n"),
        ("# HELP a b", "# HELP a b\\"),
        ("b=\"", "1b=\""),
        ("\\\\", "\\q"),
        (",c=\"\"}", ",b=\"\"}"),
        (",c=\"\"}", " }"),
        ("\na 0.5", "\n# HELP b b\n# TYPE b gauge\nb 1\na 0.5"),
        ("\na 0.5", "\na 0.5\n# HELP b b\n# TYPE b gauge"),
    ] {
        assert!(good.contains(from), "{from}");
        assert!(parse(&good.replace(from, to)).is_err(), "{from:?} -> {to:?}");
    }
}
