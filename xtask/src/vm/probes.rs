//! The resolution of the probes on a kernel, compared with the one in `testdata/probes/`.
//!
//! A kernel may move a parameter or a member at any time, and mmtrace follows. That is no failure, but it should be
//! seen. To lose a probe is one.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use mmtrace_model::kernel_version::KernelVersion;
use serde_json::{Map, Value, json};

use crate::workspace::Workspace;

/// Folder of the tables.
pub(crate) const FOLDER: &str = "testdata/probes";

/// The difference of a table from the one in `testdata/probes/`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Drift {
    /// No difference.
    None,
    /// There is no table to compare with.
    New,
    /// Differences, one per line, and the probes that are no longer attached.
    Some { lines: Vec<String>, lost: Vec<String> },
}

/// The table from what the doctor said and a capture's manifest, which knows what was attached, and how.
pub(super) fn table(doctor: &Value, manifest: &Value) -> Value {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let attached = |event: &Value| {
        let probes = list(&manifest["context"]["probes"]);
        probes.into_iter().find(|p| p["event"] == *event).map(|p| (p["form"].clone(), p["reason"].clone()))
    };
    let mut probes = Map::new();
    for probe in list(&doctor["probes"]) {
        let text = |field: &str| probe[field].as_str().unwrap_or_default().to_owned();
        let (form, reason) =
            attached(&probe["event"]).unwrap_or_else(|| (probe["form"].clone(), probe["reason"].clone()));
        let mut row = Map::new();
        for (field, value) in [
            ("form", form),
            ("reason", reason),
            ("arguments", probe["arguments"].clone()),
            ("absent", probe["absent"].clone()),
        ] {
            let empty = value.as_array().is_some_and(Vec::is_empty) || value.is_null();
            if !empty {
                row.insert(field.to_owned(), value);
            }
        }
        probes.insert(format!("{}:{}", text("system"), text("event")), row.into());
    }
    let off: BTreeMap<String, Value> = list(&doctor["rules_off"])
        .into_iter()
        .map(|rule| (rule["id"].as_str().unwrap_or_default().to_owned(), rule["reason"].clone()))
        .collect();
    json!({
        "probes": probes,
        "offsets": doctor["offsets"],
        "enums": manifest["context"]["enums"],
        "rules_not_observable": off,
    })
}

fn path(workspace: &Workspace, series: KernelVersion) -> PathBuf {
    workspace.path(FOLDER).join(format!("{series}.json"))
}

/// Compares a table with the one of the checkout.
pub(super) fn compare(workspace: &Workspace, series: KernelVersion, table: &Value) -> Result<Drift> {
    let path = path(workspace, series);
    let Ok(known) = fs::read(&path) else { return Ok(Drift::New) };
    let known: Value = serde_json::from_slice(&known).with_context(|| format!("{} is no JSON", path.display()))?;
    Ok(drift(&known, table))
}

/// Puts a table into the checkout.
pub(super) fn write(workspace: &Workspace, series: KernelVersion, table: &Value) -> Result<String> {
    let path = path(workspace, series);
    fs::create_dir_all(workspace.path(FOLDER))?;
    let text = serde_json::to_string_pretty(table)? + "\n";
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(workspace.shown(&path).to_string())
}

fn drift(known: &Value, now: &Value) -> Drift {
    let (before, after) = (flat(known), flat(now));
    let mut lines = Vec::new();
    for key in before.keys().chain(after.keys().filter(|key| !before.contains_key(*key))) {
        let (was, is) = (before.get(key), after.get(key));
        if was != is {
            lines.extend(was.map(|value| format!("- {key}: {value}")));
            lines.extend(is.map(|value| format!("+ {key}: {value}")));
        }
    }
    if lines.is_empty() {
        return Drift::None;
    }
    let attached = |table: &Value, event: &str| table["probes"][event]["form"].is_string();
    let events = known["probes"].as_object().into_iter().flat_map(Map::keys);
    let lost = events.filter(|event| attached(known, event) && !attached(now, event)).cloned().collect();
    Drift::Some { lines, lost }
}

/// Every value that is none of values, by its path.
fn flat(value: &Value) -> BTreeMap<String, String> {
    fn walk(value: &Value, path: &str, into: &mut BTreeMap<String, String>) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path} {key}") };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| walk(value, &below(key), into)),
            other => {
                into.insert(path.to_owned(), other.to_string());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(value, "", &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doctor() -> Value {
        json!({
            "probes": [
                {"system": "a", "event": "x", "form": "tp_btf", "arguments": {"mm": 0}, "absent": []},
                {"system": "a", "event": "y", "form": null, "reason": "this kernel has no tracepoint y", "absent": []},
            ],
            "offsets": {"task_struct.mm": 2336},
            "rules_off": [{"id": "L39", "reason": "needs y"}],
        })
    }

    #[test]
    fn a_table_says_what_was_attached() {
        let manifest = json!({"context": {
            "probes": [{"event": "x", "form": "raw_tp", "reason": "tp_btf refused: no"}],
            "enums": {"migrate_mode": {"MIGRATE_ASYNC": 0}},
        }});
        let table = table(&doctor(), &manifest);
        assert_eq!(
            table["probes"]["a:x"],
            json!({"form": "raw_tp", "reason": "tp_btf refused: no", "arguments": {"mm": 0}})
        );
        assert_eq!(table["probes"]["a:y"], json!({"reason": "this kernel has no tracepoint y"}));
        assert_eq!(table["rules_not_observable"], json!({"L39": "needs y"}));
    }

    #[test]
    fn drift_is_shown_value_by_value_and_a_lost_probe_is_named() {
        let known = table(&doctor(), &Value::Null);
        assert_eq!(drift(&known, &known), Drift::None);
        let mut doctor = doctor();
        doctor["offsets"]["task_struct.mm"] = json!(2400);
        doctor["probes"][0]["form"] = Value::Null;
        let Drift::Some { lines, lost } = drift(&known, &table(&doctor, &Value::Null)) else { panic!("it differs") };
        assert_eq!(
            lines,
            ["- offsets task_struct.mm: 2336", "+ offsets task_struct.mm: 2400", "- probes a:x form: \"tp_btf\""]
        );
        assert_eq!(lost, ["a:x"]);
    }
}
