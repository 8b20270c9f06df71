// SPDX-License-Identifier: MIT OR Apache-2.0
//! A strict reader of JSON (RFC 8259), and a layout of it for people's eyes.

/// A JSON value; numbers and strings as they are written.
#[derive(Debug, PartialEq)]
pub(crate) enum Value {
    /// A number, `true`, `false` or `null`.
    Word(String),
    /// A string, with its quotes and escapes.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object; keys with their quotes and escapes, in order.
    Object(Vec<(String, Value)>),
}

impl Value {
    #[allow(dead_code, reason = "one of the tests that share this file needs it")]
    /// Puts another word in the place of every value of this key.
    pub(crate) fn replace(&mut self, wanted: &str, word: &str) {
        match self {
            Self::Word(_) | Self::Text(_) => {}
            Self::List(list) => list.iter_mut().for_each(|value| value.replace(wanted, word)),
            Self::Object(object) => {
                for (key, value) in object {
                    if key.trim_matches('"') == wanted {
                        *value = Self::Word(word.to_owned());
                    }
                    value.replace(wanted, word);
                }
            }
        }
    }
}

/// Reads exactly one document. An object that has a key twice is refused too.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(reader.wrong("end of the document")) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong(&self, expected: &str) -> String {
        format!(
            "at byte {}: expected {expected}, found {:?}",
            self.at,
            self.rest().chars().take(20).collect::<String>()
        )
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\n', '\r', '\t']).len();
    }

    /// Takes `mark` and the white space before it, if it is there.
    fn take(&mut self, mark: char) -> bool {
        self.space();
        let found = self.rest().starts_with(mark);
        self.at += if found { mark.len_utf8() } else { 0 };
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > 64 {
            return Err(self.wrong("less depth"));
        }
        if self.take('[') {
            let mut list = Vec::new();
            if self.take(']') {
                return Ok(Value::List(list));
            }
            loop {
                list.push(self.value(depth + 1)?);
                if self.take(']') {
                    return Ok(Value::List(list));
                }
                if !self.take(',') {
                    return Err(self.wrong(", or ]"));
                }
            }
        }
        if self.take('{') {
            let mut object: Vec<(String, Value)> = Vec::new();
            if self.take('}') {
                return Ok(Value::Object(object));
            }
            loop {
                self.space();
                let key = self.string()?;
                if object.iter().any(|(known, _)| *known == key) {
                    return Err(format!("at byte {}: {key} is there twice", self.at));
                }
                if !self.take(':') {
                    return Err(self.wrong(":"));
                }
                object.push((key, self.value(depth + 1)?));
                if self.take('}') {
                    return Ok(Value::Object(object));
                }
                if !self.take(',') {
                    return Err(self.wrong(", or }"));
                }
            }
        }
        self.space();
        if self.rest().starts_with('"') {
            return self.string().map(Value::Text);
        }
        let word: String =
            self.rest().chars().take_while(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)).collect();
        if !matches!(word.as_str(), "true" | "false" | "null") && !is_number(&word) {
            return Err(self.wrong("a value"));
        }
        self.at += word.len();
        Ok(Value::Word(word))
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        let mut chars = self.rest().char_indices();
        if chars.next().is_none_or(|(_, c)| c != '"') {
            return Err(self.wrong("a string"));
        }
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(self.text[start..self.at].to_owned());
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {}
                    Some('u') if (0..4).all(|_| chars.next().is_some_and(|(_, c)| c.is_ascii_hexdigit())) => {}
                    _ => return Err(self.wrong("a known escape")),
                },
                c if c < ' ' => return Err(self.wrong("no bare control character")),
                _ => {}
            }
        }
        Err(self.wrong("an end of the string"))
    }
}

fn is_number(word: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    digits(whole) && digits(fraction) && digits(exponent) && (whole == "0" || !whole.starts_with('0'))
}

/// The document in lines of at most 100 columns where that can be done; every word of it unchanged.
pub(crate) fn layout(value: &Value, indent: usize) -> String {
    let short = flat(value);
    if indent + short.len() <= 100 {
        return short;
    }
    let inner = " ".repeat(indent + 2);
    let (open, lines, close): (_, Vec<String>, _) = match value {
        Value::Word(_) | Value::Text(_) => return short,
        Value::List(list) => ('[', list.iter().map(|value| layout(value, indent + 2)).collect(), ']'),
        Value::Object(object) => {
            ('{', object.iter().map(|(key, value)| format!("{key}: {}", layout(value, indent + 2))).collect(), '}')
        }
    };
    format!("{open}\n{inner}{}\n{}{close}", lines.join(&format!(",\n{inner}")), " ".repeat(indent))
}

fn flat(value: &Value) -> String {
    match value {
        Value::Word(word) | Value::Text(word) => word.clone(),
        Value::List(list) => format!("[{}]", list.iter().map(flat).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let pairs: Vec<String> = object.iter().map(|(key, value)| format!("{key}: {}", flat(value))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
    }
}

#[test]
fn only_json_is_taken_for_json() {
    for good in ["{}", " [1, -0.5e+3, \"a\\u00e9\\n\", null] \n", "{\"a\": {\"b\": []}, \"c\": true}", "0"] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "{} {}",
        "[1,]",
        "[01]",
        "[.5]",
        "[1.]",
        "[+1]",
        "{a: 1}",
        "{\"a\" 1}",
        "{\"a\": 1, \"a\": 2}",
        "'a'",
        "\"a",
        "nul",
        "\"\u{1}\"",
        "\"\\x\"",
        "[1 2]",
        "{\"a\": }",
        "NaN",
        "\"\\u12\"",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
    let value = parse("{\"a\":[1,2],\"b\":\"x\"}").unwrap();
    assert_eq!(layout(&value, 0), "{\"a\": [1, 2], \"b\": \"x\"}");
    assert_eq!(
        layout(&value, 90),
        format!("{{\n{0}\"a\": [1, 2],\n{0}\"b\": \"x\"\n{1}}}", " ".repeat(92), " ".repeat(90))
    );
}
