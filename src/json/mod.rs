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

/// `readable!(Name { field, ... })` implements [`FromJson`] for a structure.
macro_rules! readable {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::json::FromJson for $name {
            fn from_json(value: &$crate::json::Value) -> Option<Self> {
                Some(Self { $($field: $crate::json::FromJson::from_json(value.field(stringify!($field)))?),* })
            }
        }
    };
}

/// `words!(Name { Variant: "word", ... })` implements [`Json`] and a method `name` for an enumeration.
macro_rules! words {
    ($name:ident { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $name {
            /// Its name in documents.
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

pub(crate) use {fields, readable, words};
