//! Maps that mmtrace cannot write any more once its programs are loaded.
//!
//! Programs take addresses in the kernel and their own settings from maps. A recorder that a stranger has taken over could
//! write these with bpf(2), and so have the programs read any memory into events. So every map is frozen that mmtrace itself
//! does not write while it records.

use std::{io, os::fd::AsFd as _};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};

use super::sys;

/// **The table of maps that stay writable**, with what mmtrace writes.
const WRITTEN: [(&str, &str); 3] = [
    ("WANTED_PIDS", "processes that are recorded: ids, which the programs compare"),
    ("WANTED_MMS", "mms that are recorded: addresses, which the programs compare and do not follow"),
    (".data.standby", "number of standby programs by kind, which the programs compare"),
];

/// Section of constants, which the loader freezes.
const CONSTANTS: &str = ".rodata";

/// Freezes all maps but those of the table.
///
/// # Errors
/// The kernel refuses to freeze the map of this name.
pub(super) fn freeze(ebpf: &Ebpf) -> Result<(), (String, io::Error)> {
    let is_frozen = |name: &str| name.starts_with(CONSTANTS);
    let is_written = |name: &str| WRITTEN.iter().any(|(written, _)| *written == name);
    for (name, map) in ebpf.maps().filter(|(name, _)| !is_frozen(name) && !is_written(name)) {
        if let Some(data) = data(map) {
            sys::freeze(data.fd().as_fd()).map_err(|error| (name.to_owned(), error))?;
        }
    }
    Ok(())
}

/// Returns a map that bpf(2) can write. In a ring buffer it writes nothing: mmtrace maps the reader's position alone for
/// writing, which keeps such a map from being frozen.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::RingBuf(_) => None,
        Map::Array(data)
        | Map::PerCpuArray(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::StackTraceMap(data)
        | Map::Unsupported(data) => Some(data),
        // The object has no others; the test of live recordings looks at every map that there is.
        _ => None,
    }
}
