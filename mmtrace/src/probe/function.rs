//! Which function of this kernel an event's program may sit on.
//!
//! A name is not enough. BTF can describe another function of the same name: on 6.1 that of
//! `mm_init()` does, and a program attached by it clobbers the real one's arguments, so that the
//! next fork panics. So the parameters must be those of a kernel that was examined, name by name.

use mmtrace_common::{Function, Spec};

use super::{refusal::Refusal, symbols::Symbols};
use crate::btf::{Btf, Param};

/// Functions that are never hooked, and what happened when they were.
pub(crate) const HARMFUL: &[(&str, &str)] = &[
    ("__rcu_read_lock", "a program on it hung Linux 6.1 each time"),
    ("__rcu_read_unlock", "a program on it runs inside every RCU section, its own among them"),
    ("mm_init", "Linux 6.1's BTF describes another function of this name, and the next fork panicked"),
    ("_raw_spin_lock", "programs on it made Linux 7.2 panic and Linux 6.1 hang"),
    ("_raw_spin_unlock", "programs on it made Linux 7.2 panic and Linux 6.1 hang"),
];

/// An event's parameters, by the names of the event table, and the function that has them.
pub(super) struct Prototype {
    pub(super) params: Vec<Param>,
    pub(super) symbol: Option<&'static str>,
    /// Whether the function returns anything.
    pub(super) returns: bool,
}

/// Returns the first of an event's functions whose parameters are those of an examined kernel.
pub(super) fn prototype(btf: &Btf, symbols: &Symbols, spec: &'static Spec) -> Result<Prototype, Refusal> {
    let mut reason = None;
    for function in spec.site.functions {
        match candidate(btf, symbols, function) {
            Ok(Some(prototype)) => return Ok(prototype),
            Ok(None) => {}
            Err(refusal) => reason = reason.or(Some(refusal)),
        }
    }
    Err(reason.unwrap_or_else(|| {
        let mut names: Vec<&str> = spec.site.functions.iter().map(|f| f.symbol).collect();
        names.dedup();
        Refusal::NoFunction(names.join(" or "))
    }))
}

/// `None` when the kernel's BTF has no such function.
fn candidate(btf: &Btf, symbols: &Symbols, function: &'static Function) -> Result<Option<Prototype>, Refusal> {
    let symbol = function.symbol;
    if let Some((_, why)) = HARMFUL.iter().find(|(name, _)| *name == symbol) {
        return Err(Refusal::Harmful(symbol, why));
    }
    let damaged = |e: crate::btf::BtfError| Refusal::Prototype(e.to_string());
    let prototypes = btf.func_prototypes(symbol).map_err(damaged)?;
    let Some(first) = prototypes.first() else { return Ok(None) };
    // Of several that differ, which is the symbol's cannot be told.
    if let Some(other) = prototypes.iter().find(|p| !is(p, function)) {
        let list = |params: &mut dyn Iterator<Item = &str>| params.collect::<Vec<_>>().join(", ");
        return Err(Refusal::Signature {
            symbol,
            have: list(&mut other.iter().map(|p| p.name.as_str())),
            expected: list(&mut function.params.iter().map(|p| there(p))),
        });
    }
    match symbols.count(symbol) {
        Some(0) => return Err(Refusal::NoSymbol { symbol, clone: symbols.clone_of(symbol) }),
        Some(1) | None => {}
        Some(several) => return Err(Refusal::SeveralSymbols(symbol, several)),
    }
    let params =
        first.iter().zip(function.params).map(|(p, name)| Param { name: here(name).to_owned(), ty: p.ty.clone() });
    let returns = btf.func_returns(symbol).map_err(damaged)?.unwrap_or(false);
    Ok(Some(Prototype { params: params.collect(), symbol: Some(symbol), returns }))
}

fn is(params: &[Param], function: &Function) -> bool {
    params.len() == function.params.len() && params.iter().zip(function.params).all(|(p, name)| p.name == there(name))
}

/// Returns the kernel's name of a parameter.
fn there(name: &str) -> &str {
    name.split_once(':').map_or(name, |(there, _)| there)
}

/// Returns the event table's name of a parameter.
fn here(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, here)| here)
}

#[cfg(test)]
mod tests {
    use mmtrace_common::SPECS;

    use super::*;

    #[test]
    fn no_event_sits_on_a_function_that_does_harm() {
        for function in SPECS.iter().flat_map(|s| s.site.functions) {
            assert!(HARMFUL.iter().all(|(name, _)| *name != function.symbol), "{}", function.symbol);
        }
    }

    #[test]
    fn every_parameter_that_an_event_reads_is_in_each_of_its_signatures() {
        for spec in SPECS.iter().filter(|s| s.site.at.is_function()) {
            assert!(!spec.site.functions.is_empty(), "{}", spec.name);
            for function in spec.site.functions {
                for field in spec.fields.iter().filter(|f| f.required) {
                    if let Some(name) = field.source.parameter() {
                        let known = function.params.iter().any(|p| here(p) == name);
                        assert!(known, "{}: {} has no {name}", spec.name, function.symbol);
                    }
                }
            }
        }
    }
}
