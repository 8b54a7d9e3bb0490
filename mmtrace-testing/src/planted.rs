//! Rules about events that the captures in `testdata/` do not have: which test plants a fault for each.

use mmtrace_model::verdict::RuleId;

/// Test of `mmtrace-model`, and the rules that it plants faults for. `mmtrace/tests/planted/` has those of the others.
pub const PLANTED_IN_MODEL: [(&str, &[RuleId]); 2] = {
    use RuleId::*;
    [
        ("functions", &[L09, L10, L11, L12, L13, L14, L15, L16, L17, L18, L19, L20, L21, L22, L26, L27, L33, L34]),
        ("tables", &[L23, L24, L25, L28, L29, L30, L31, L32, L47, L48]),
    ]
};
