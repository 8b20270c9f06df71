// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading JSON: any document (RFC 8259), because another version of the program may have written it.

/// The maximum nesting depth.
const MAX_DEPTH: u8 = 32;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`, a number that is not a `u64`, or a missing field.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A non-negative integer.
    Number(u64),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object: its fields in order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// The value of a field; `Null` if it is missing.
    pub fn field(&self, name: &str) -> &Value {
        let Self::Object(fields) = self else { return &Self::Null };
        fields.iter().find(|(key, _)| key == name).map_or(&Self::Null, |(_, value)| value)
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

/// Types that can be read from a value.
pub trait FromJson: Sized {
    /// Converts a value; `None` if it has the wrong type.
    fn from_json(value: &Value) -> Option<Self>;
}

impl FromJson for String {
    fn from_json(value: &Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text.clone()) } else { None }
    }
}

impl FromJson for bool {
    fn from_json(value: &Value) -> Option<Self> {
        if let Value::Bool(value) = value { Some(*value) } else { None }
    }
}

impl FromJson for u64 {
    fn from_json(value: &Value) -> Option<Self> {
        if let Value::Number(number) = value { Some(*number) } else { None }
    }
}

impl FromJson for u8 {
    fn from_json(value: &Value) -> Option<Self> {
        u64::from_json(value)?.try_into().ok()
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: &Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::from_json(value).map(Some) }
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: &Value) -> Option<Self> {
        let Value::List(values) = value else { return None };
        // An element that a newer program added in a form of its own costs that element, not the list.
        Some(values.iter().filter_map(T::from_json).collect())
    }
}

/// Parses a document; `None` if it is not valid JSON.
pub fn read(text: &str) -> Option<Value> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(MAX_DEPTH)?;
    (reader.peek().is_none()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips blanks and returns the next byte.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        let blanks = rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\n', '\r']).len());
        self.skip(blanks);
        self.rest().as_bytes().first().copied()
    }

    fn skip(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    /// Skips blanks and this text; `None` if something else follows.
    fn expect(&mut self, word: &str) -> Option<()> {
        self.peek()?;
        self.rest().starts_with(word).then(|| self.skip(word.len()))
    }

    fn value(&mut self, depth: u8) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        match self.peek()? {
            b'{' => {
                self.skip(1);
                let mut fields = Vec::new();
                while self.has_next(b'}', fields.is_empty())? {
                    self.peek()?;
                    let name = self.string()?;
                    self.expect(":")?;
                    fields.push((name, self.value(depth)?));
                }
                Some(Value::Object(fields))
            }
            b'[' => {
                self.skip(1);
                let mut values = Vec::new();
                while self.has_next(b']', values.is_empty())? {
                    values.push(self.value(depth)?);
                }
                Some(Value::List(values))
            }
            b'"' => self.string().map(Value::Text),
            b't' => self.expect("true").map(|()| Value::Bool(true)),
            b'f' => self.expect("false").map(|()| Value::Bool(false)),
            b'n' => self.expect("null").map(|()| Value::Null),
            _ => self.number(),
        }
    }

    /// Skips a comma or the end of an array or object. Returns whether another element follows.
    fn has_next(&mut self, end: u8, first: bool) -> Option<bool> {
        match self.peek()? {
            next if next == end => {
                self.skip(1);
                Some(false)
            }
            _ if first => Some(true),
            // Nothing but another element may follow a comma: `[1,]` is none.
            b',' => {
                self.skip(1);
                (self.peek()? != end).then_some(true)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let digits = rest.get(..end).filter(|digits| !digits.is_empty())?;
        self.skip(end);
        Some(digits.parse().map_or(Value::Null, Value::Number))
    }

    fn string(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut characters = self.rest().strip_prefix('"')?.chars();
        loop {
            match characters.next()? {
                '"' => break,
                '\\' => out.push(match characters.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'u' => {
                        let unit = unit(&mut characters)?;
                        match char::from_u32(unit) {
                            Some(character) => character,
                            // The first half of a UTF-16 surrogate pair.
                            None => {
                                let (Some('\\'), Some('u')) = (characters.next(), characters.next()) else {
                                    return None;
                                };
                                let low = self::unit(&mut characters)?;
                                let high = unit.checked_sub(0xd800).filter(|high| *high < 0x400)?;
                                let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                                char::from_u32(high.wrapping_shl(10).wrapping_add(low).wrapping_add(0x1_0000))?
                            }
                        }
                    }
                    character @ ('"' | '\\' | '/') => character,
                    _ => return None,
                }),
                '\0'..' ' => return None,
                character => out.push(character),
            }
        }
        self.at = self.text.len().saturating_sub(characters.as_str().len());
        Some(out)
    }
}

/// Four hexadecimal digits.
fn unit(characters: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut unit = 0_u32;
    for _ in 0..4 {
        unit = unit.wrapping_shl(4) | characters.next()?.to_digit(16)?;
    }
    Some(unit)
}
