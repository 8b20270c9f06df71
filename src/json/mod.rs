// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON documents, written and read in a few hundred instructions: a general library was a tenth of the program.

mod read;
mod write;

pub use read::{FromJson, Value, read};
pub use write::{Json, object, to_string};

/// `fields!(Name { field, ... })`: the structure is written as an object of these fields, in this order. A field that is
/// left out does not compile. `r#type` is written `type`.
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

/// `readable!(Name { field, ... })`: the structure is read back from such an object. A field that is missing or of another
/// kind takes its default and an unknown one is skipped, so that a document of another version is read as far as it goes.
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

/// `words!(Name { Variant: "word", ... })`: the enumeration has these names, and is written as them.
macro_rules! words {
    ($name:ident { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $name {
            /// The word for it in documents and in text.
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
