//! Writers that wait behind migrations.

use serde::Serialize;

/// A writer that waited for a task while that task waited for a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The rule that measures it.
    #[serde(skip)]
    pub rule: &'static str,
    /// The task that waited for the migration.
    pub waiter: u32,
    /// The writer that waited for that task.
    pub writer: u32,
    /// The mm, as a kernel pointer.
    #[serde(serialize_with = "hex")]
    pub mm: u64,
    /// The VMA that the waiter held for read; 0 if it held the mmap_lock.
    #[serde(serialize_with = "hex")]
    pub vma: u64,
    /// The address on which the waiter faulted.
    #[serde(serialize_with = "hex")]
    pub addr: u64,
    /// Time for which both waited, nanoseconds.
    pub ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn hex<S: serde::Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{value:#x}"))
}
