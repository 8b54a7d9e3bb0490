//! Page tables: entries, PTE tables and their lives, `pte_offset_map` calls, tables that are unlinked.

pub mod entry;
pub mod lifecycle;
pub(in crate::model) mod pte_offset_map;
pub mod shadow;
pub(in crate::model) mod unlinking;
