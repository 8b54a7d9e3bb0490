//! Migration: entries, calls of `migrate_pages()`, tasks that wait.

pub mod entries;
pub(in crate::model) mod migrate_pages;
pub(in crate::model) mod wait;
