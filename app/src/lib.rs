//! Satchel: the backend with its two faces, the command line and the window.
//!
//! Rooms: [`message`] (what faces and backend say to each other), [`backend`] (does the work, owns the
//! runtime, knows no window), [`cli`] and [`ui`] (draw and print, decide nothing), [`parse`] (reads files in
//! worker processes), [`config`] (settings and folders). What the window can do, a command can do.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod backend;
pub mod cli;
pub mod config;
pub mod message;
pub mod parse;
pub mod state;
pub mod ui;
pub mod units;

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
