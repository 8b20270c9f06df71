// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing and reading JSON. A general-purpose library accounted for a tenth of the program's size.

mod read;
mod write;

pub use read::{FromJson, Value, read};
pub use write::{Json, object, to_string};

/// `fields!(Name { field, ... })` implements [`Json`] for a structure: an object with these fields, in this order. Omitting
/// a field is a compile-time error. `r#type` is written as `type`.
macro_rules! fields {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::json::Json for $name {
            fn json(&self, out: &mut String) {
                let Self { $($field),* } = self;
                $crate::json::object(out, concat!($(stringify!($field), " "),*), &[$($field),*]);
            }
        }
    };
}

/// `readable!(Name { field, ... })` implements [`FromJson`] for a structure. A field that is missing or has the wrong type
/// takes its default, and unknown fields are skipped, so that documents of other versions can be read.
macro_rules! readable {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::json::FromJson for $name {
            fn from_json(value: &$crate::json::Value) -> Option<Self> {
                value.is_object().then(|| Self {
                    $($field: $crate::json::FromJson::from_json(value.field(stringify!($field))).unwrap_or_default()),*
                })
            }
        }
    };
}

/// `words!(Name { Variant: "word", ... })` implements [`Json`] and a method `name` for an enumeration.
macro_rules! words {
    ($name:ident { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $name {
            /// Its name in documents and in text.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl $crate::json::Json for $name {
            fn json(&self, out: &mut String) {
                self.name().json(out);
            }
        }
    };
}

/// `readable_words!(Name { Variant: "word", ... })`: as `words!`, and read back from them; an unknown word is `None`.
macro_rules! readable_words {
    ($name:ident { $($variant:ident: $word:literal),* $(,)? }) => {
        $crate::json::words!($name { $($variant: $word),* });

        impl $crate::json::FromJson for $name {
            fn from_json(value: &$crate::json::Value) -> Option<Self> {
                match value {
                    $($crate::json::Value::Text(word) if word == $word => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {fields, readable, readable_words, words};
