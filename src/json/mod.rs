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

/// `readable!(Name { field, ... })`: the structure is read back from such an object.
macro_rules! readable {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::json::FromJson for $name {
            fn from_json(value: &$crate::json::Value) -> Option<Self> {
                Some(Self { $($field: $crate::json::FromJson::from_json(value.field(stringify!($field)))?),* })
            }
        }
    };
}

/// `words!(Name { Variant: "word", ... })`: the enumeration has these names, and is written as them.
macro_rules! words {
    ($name:ident { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $name {
            /// The word for it.
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
