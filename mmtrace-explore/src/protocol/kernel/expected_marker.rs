//! Markers that user space expects at an address (I-MARKER).
//!
//! User space expects a marker from the return of the system call that set it. From then on a walk from the PMD must find
//! the marker, which is checked whenever a PMD or an entry is written. No kernel has the cell that says what is expected.

use mmtrace_model::model::{
    invariant::Invariant,
    page_tables::entry::{Pmd, Pte},
};

use super::Kernel;
use crate::protocol::layout::{ExpectedMarker, ExpectedMarkerInfo, Place, Slot};

impl Kernel<'_> {
    /// Makes user space expect the marker at the place with this number: the system call returns success.
    pub(crate) fn expect_marker(&mut self, expected: ExpectedMarker, place: u8) {
        let layout = self.protocol;
        let info = &layout.expected_markers[usize::from(expected.0)];
        self.set(info.cell, place + 1);
        self.note(|| format!("user space is told: {} set", info.marker.name()));
        self.check_expected_marker(info);
    }

    /// Makes user space no longer expect a marker, because it asked for that. Returns whether it did until now.
    pub(crate) fn withdraw_marker(&mut self, expected: ExpectedMarker) -> bool {
        let cell = self.protocol.expected_markers[usize::from(expected.0)].cell;
        let made = self.get(cell) != 0;
        if made {
            self.set(cell, 0);
        }
        made
    }

    /// Checks the markers that are expected at places that a write concerns.
    pub(super) fn check_expected_markers(&mut self, concerned: impl Fn(&Place) -> bool) {
        let layout = self.protocol;
        for info in &layout.expected_markers {
            if info.places.iter().any(&concerned) {
                self.check_expected_marker(info);
            }
        }
    }

    fn check_expected_marker(&mut self, info: &ExpectedMarkerInfo) {
        let made = self.get(info.cell);
        if made == 0 {
            return;
        }
        let place = info.places[usize::from(made) - 1];
        let byte = self.read_entry(place.pmd);
        let found = match Pmd::decode(byte).map() {
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
