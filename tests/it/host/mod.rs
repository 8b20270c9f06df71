// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program on machines that are directories (`--root DIR`), where it really opens, writes, waits and saves: what is
//! hostile there, what hangs, what is full, and the streams and arguments that it is started with.
//!
//! Rights and file systems are taken away by user and mount namespaces, so this needs no root, and root is no way around.

mod arguments;
mod configuration;
mod hanging;
mod helper;
mod hostile;
mod image;
mod links;
mod output;
mod saving;
mod streams;
mod surroundings;
mod variables;
