// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON that is written and read, judged by a library that knows nothing of it.

use miniserde::json::{Number, Value as Judge};
use proptest::prelude::*;
use vfio_early::json::{Json, Value, object, read, to_string};

/// Any value, a few levels deep.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::Number),
        any::<String>().prop_map(Value::Text),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            // A document names each field once.
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A value written with the program's own means.
struct Written<'a>(&'a Value);

impl Json for Written<'_> {
    fn json(&self, out: &mut String) {
        match self.0 {
            Value::Null => None::<bool>.json(out),
            Value::Bool(value) => value.json(out),
            Value::Number(value) => value.json(out),
            Value::Text(value) => value.json(out),
            Value::List(values) => values.iter().map(Written).collect::<Vec<_>>().json(out),
            Value::Object(fields) => {
                let names = fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ");
                let values: Vec<_> = fields.iter().map(|(_, value)| Written(value)).collect();
                let values: Vec<&dyn Json> = values.iter().map(|value| -> &dyn Json { value }).collect();
                object(out, &names, &values);
            }
        }
    }
}

/// What the library made of it.
fn judged(value: &Judge) -> Value {
    match value {
        Judge::Bool(value) => Value::Bool(*value),
        Judge::Number(Number::U64(number)) => Value::Number(*number),
        Judge::Null | Judge::Number(_) => Value::Null,
        Judge::String(text) => Value::Text(text.clone()),
        Judge::Array(values) => Value::List(values.iter().map(judged).collect()),
        Judge::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), judged(value))).collect())
        }
    }
}

/// Objects in the order of the library: by name, the last one of each.
fn sorted(value: Value) -> Value {
    match value {
        Value::List(values) => Value::List(values.into_iter().map(sorted).collect()),
        Value::Object(fields) => {
            let fields: std::collections::BTreeMap<_, _> =
                fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        value => value,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_alike_by_both(value in values()) {
        let text = to_string(&Written(&value));
        let back = read(&text);
        prop_assert_eq!(back.as_ref(), Some(&value), "{}", text);
        let judge: Judge = miniserde::json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
        prop_assert_eq!(judged(&judge), value, "{}", text);
    }

    /// Text close to JSON: what the library takes is taken here with the same meaning.
    #[test]
    fn what_others_write_is_understood(text in r#"([\[\]{},: 0-9.eE\-]|true|false|null|"a"|"\\u00e9"|"\\ud83d\\ude00"|"\\ud83d"|"\\n"|"b":)*"#) {
        let ours = read(&text);
        if let Ok(judge) = miniserde::json::from_str::<Judge>(&text) {
            prop_assert_eq!(ours.map(sorted), Some(judged(&judge)), "{}", text);
        }
    }

    #[test]
    fn no_text_is_too_strange(text in any::<String>()) {
        let _ = read(&text);
    }
}

#[test]
fn depth_ends() {
    assert_eq!(read(&"[".repeat(1_000_000)), None);
    assert_eq!(read(&format!("{}{}", "[".repeat(1000), "]".repeat(1000))), None);
    assert!(read(&format!("{}{}", "[".repeat(20), "]".repeat(20))).is_some());
}

#[test]
fn what_is_no_json_is_refused() {
    for text in [
        "",
        "[1,]",
        "{\"a\":1,}",
        "[1 2]",
        "{\"a\" 1}",
        "{a:1}",
        "\"\n\"",
        "\"\\x\"",
        "1 2",
        "[",
        "tru",
        "{,}",
        "\"\\ud83dx\"",
    ] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn odd_characters_survive() {
    let text = "a\"b\\c\u{0}\u{1f}\n\t\r\u{7f}é😀";
    assert_eq!(to_string(&text), "\"a\\\"b\\\\c\\u0000\\u001f\\n\\t\\r\u{7f}é😀\"");
    assert_eq!(read(&to_string(&text)), Some(Value::Text(text.to_owned())));
    assert_eq!(read(" \"\\ud83d\\ude00\" "), Some(Value::Text("😀".to_owned())));
}
