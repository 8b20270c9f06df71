// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing JSON.

use std::fmt::Write;

/// Types that can be written to a document.
pub trait Json {
    /// Appends the value to a document (RFC 8259).
    fn json(&self, out: &mut String);
}

/// Writes a value as a document.
pub fn to_string(value: &dyn Json) -> String {
    let mut out = String::new();
    value.json(&mut out);
    out
}

/// Appends an object to a document. `names` are separated by blanks.
pub fn object(out: &mut String, names: &str, values: &[&dyn Json]) {
    let mut before = '{';
    for (name, value) in names.split_ascii_whitespace().zip(values) {
        out.push(before);
        name.strip_prefix("r#").unwrap_or(name).json(out);
        out.push(':');
        value.json(out);
        before = ',';
    }
    out.push_str(if before == '{' { "{}" } else { "}" });
}

impl Json for str {
    fn json(&self, out: &mut String) {
        out.push('"');
        for character in self.chars() {
            match character {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(character);
                }
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                '\0'..' ' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(character));
                }
                _ => out.push(character),
            }
        }
        out.push('"');
    }
}

impl Json for String {
    fn json(&self, out: &mut String) {
        self.as_str().json(out);
    }
}

impl Json for bool {
    fn json(&self, out: &mut String) {
        out.push_str(if *self { "true" } else { "false" });
    }
}

impl Json for u64 {
    fn json(&self, out: &mut String) {
        let _ = write!(out, "{self}");
    }
}

impl Json for u32 {
    fn json(&self, out: &mut String) {
        u64::from(*self).json(out);
    }
}

impl Json for u16 {
    fn json(&self, out: &mut String) {
        u64::from(*self).json(out);
    }
}

impl Json for u8 {
    fn json(&self, out: &mut String) {
        u64::from(*self).json(out);
    }
}

impl Json for usize {
    fn json(&self, out: &mut String) {
        u64::try_from(*self).unwrap_or(u64::MAX).json(out);
    }
}

impl<T: Json + ?Sized> Json for &T {
    fn json(&self, out: &mut String) {
        (**self).json(out);
    }
}

impl<T: Json> Json for Option<T> {
    fn json(&self, out: &mut String) {
        match self {
            Some(value) => value.json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn json(&self, out: &mut String) {
        let mut before = '[';
        for value in self {
            out.push(before);
            value.json(out);
            before = ',';
        }
        out.push_str(if before == '[' { "[]" } else { "]" });
    }
}
