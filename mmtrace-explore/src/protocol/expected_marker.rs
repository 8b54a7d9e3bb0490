//! What user space was told: a marker stands at this address (I-MARKER).
//!
//! A promise is a ghost cell. It is made when the system call returns success; from then on
//! a walk from the PMD must find the marker, whenever a PMD or an entry is written.

use mmtrace_model::model::{
    invariant::Invariant,
    page_tables::entry::{Marker, Pte},
};

use super::{
    kernel::Kernel,
    state::Cell,
    world::{Slot, World},
};

/// A promise, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedMarker(u8);

/// An address: its PMD entry, and which entry of the table under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The PMD entry.
    pub pmd: Slot,
    /// The entry.
    pub index: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct ExpectedMarkerInfo {
    marker: Marker,
    /// 0: not made; else 1 + number of the place where the marker is to be.
    cell: Cell,
    places: Vec<Place>,
}

impl World {
    /// A promise that may be made: this marker, at one of these addresses (several: mremap moves it).
    pub fn promise(&mut self, marker: Marker, places: &[Place]) -> ExpectedMarker {
        let cell = self.cell(format!("promised: {}", marker.name()), 0);
        self.promises.push(ExpectedMarkerInfo { marker, cell, places: places.to_vec() });
        ExpectedMarker(self.promises.len() as u8 - 1)
    }

    /// It was made before the beginning, at the place with this number.
    pub fn promised(&mut self, promise: ExpectedMarker, place: u8) {
        let cell = self.promises[usize::from(promise.0)].cell;
        self.set(cell, place + 1);
    }
}

impl Kernel<'_> {
    /// The system call returns success: from now on the marker is at the place with this number.
    pub fn promise(&mut self, promise: ExpectedMarker, place: u8) {
        let world = self.world;
        let info = &world.promises[usize::from(promise.0)];
        self.set(info.cell, place + 1);
        self.note(|| format!("user space is told: {} set", info.marker.name()));
        self.check_promise(info);
    }

    /// The promise ends, because user space asked for it. Returns whether it was made.
    pub fn withdraw(&mut self, promise: ExpectedMarker) -> bool {
        let cell = self.world.promises[usize::from(promise.0)].cell;
        let made = self.get(cell) != 0;
        if made {
            self.set(cell, 0);
        }
        made
    }

    /// Looks at the promises about places that a write may concern.
    pub(super) fn check_promises(&mut self, concerned: impl Fn(&Place) -> bool) {
        let world = self.world;
        for info in &world.promises {
            if info.places.iter().any(&concerned) {
                self.check_promise(info);
            }
        }
    }

    fn check_promise(&mut self, info: &ExpectedMarkerInfo) {
        let made = self.get(info.cell);
        if made == 0 {
            return;
        }
        let place = info.places[usize::from(made) - 1];
        let byte = self.read_entry(place.pmd);
        let found = match mmtrace_model::model::page_tables::entry::Pmd::decode(byte).map() {
            Some(number) => {
                let slot = Slot { table: self.table(number), index: place.index };
                Pte::decode(self.read_entry(slot)).markers() & info.marker.0 != 0
            }
            None => false,
        };
        if !found {
            let why = format!("user space was told that its {} marker is set, and it is gone", info.marker.name());
            self.violate(Invariant::Marker, why);
        }
    }
}
