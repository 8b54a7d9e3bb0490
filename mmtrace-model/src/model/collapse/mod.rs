//! Collapses to huge pages: khugepaged, MADV_COLLAPSE, `retract_page_tables()`.

pub(in crate::model) mod khugepaged;
pub(in crate::model) mod retract;
