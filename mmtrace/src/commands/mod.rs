//! The subcommands over captures and scenarios: what each takes, and what it prints.

mod ahead;
mod blame;
mod cells;
mod dump;
mod error;
pub mod explore;
mod info;
pub mod mark;
pub mod replay;
pub mod report;
mod seek_bench;
pub mod tables;
mod time_text;

pub use dump::{DumpArgs, Dumped, dump};
pub use error::ShowError;
pub use info::{InfoArgs, info};
