//! Satchel: the backend with its faces: the command line, the window, and two for other programs.
//!
//! Rooms: [`message`] (what faces and backend say to each other), [`backend`] (does the work, owns the
//! runtime, knows no window), [`cli`] and [`ui`] (draw and print, decide nothing), [`serve`] (HTTP and MCP for
//! other programs, decides nothing either), [`parse`] (reads files in worker processes), [`config`] (settings and
//! folders). What the window can do, a command can do.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

pub mod backend;
pub mod cli;
pub mod config;
pub mod message;
pub mod parse;
pub mod serve;
pub mod state;
pub mod ui;
pub mod units;

// Makes Cargo build this crate anew for another clone that shares the build folder: `.cargo/config.toml`.
const _: Option<&str> = option_env!("SATCHEL_CHECKOUT");
