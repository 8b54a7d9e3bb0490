//! Losses: the state that missing events make unknown.

use mmtrace_common::{
    Column, Kind, Record, spec,
    unknown::{ALL, COLLAPSES, FUNCTIONS, LOCKS, SLOTS, SPACE, TABLES, TOUCHED, UNMAPPED},
};

use super::{Life, Model, effect::What, faults::address_space::Space};
use crate::model::locks::mmap_lock;
use crate::verdict::{RuleId, Sink};

impl Model {
    /// Events are missing, so everything that they could have changed is unknown.
    pub(super) fn lost(&mut self, kind: Kind, record: &Record, sink: &mut Sink) {
        let until = record.get(Column::Until).unwrap_or(u64::MAX);
        let count = record.get(Column::Count).unwrap_or(0);
        let of = match kind {
            Kind::Gap | Kind::Foreign => None,
            _ => record.get(Column::LostKind).and_then(|k| Kind::from_u16(k as u16)),
        };
        sink.missing(of, count, record.ts, until.saturating_add(mmap_lock::EPSILON_NS));
        if of.map_or(ALL, |kind| spec(kind).unknown) & LOCKS != 0 {
            // Whether these are released is not seen any more.
            for _ in 0..self.tasks.values().map(|task| task.writes.len()).sum() {
                sink.unjudged_since_gap(RuleId::L05);
            }
        }
        if of.map_or(ALL, |kind| spec(kind).unknown) & TABLES != 0 {
            // Whether the table was freed after it was mapped is not seen any more.
            for _ in 0..self.tables.deferred().filter(|(_, life)| life.is_mapped_late()).count() {
                sink.unjudged_since_gap(RuleId::L48);
            }
            // Whether the open walks are ended before the task returns to user mode is not seen any more.
            for _ in 0..self.tables.open_walks() {
                sink.unjudged_since_gap(RuleId::L29);
            }
        }
        self.forget(kind, of, count, until);
    }

    /// Events of a kind are no longer recorded after this record: what earlier ones told may have changed since. The
    /// record may say again what is known.
    pub(super) fn shed(&mut self, kind: Kind, record: &Record) {
        if self.without(kind) {
            // How many there are from now on is not known.
            self.forget(Kind::EventsShed, Some(kind), 0, record.ts);
        }
    }

    /// Expects no more events of a kind. Returns whether it did before.
    pub(crate) fn without(&mut self, kind: Kind) -> bool {
        if self.shed.contains(&kind) {
            return false;
        }
        self.shed.push(kind);
        self.open_faults.without(kind);
        true
    }

    /// Forgets what events that nobody saw may have changed; of all kinds unless `of` says which. `missing` is the kind of
    /// the record that tells of them.
    fn forget(&mut self, missing: Kind, of: Option<Kind>, count: u64, until: u64) {
        self.effect.what = What::Missing { of, count, until };
        if self.intervals.lost(missing, of, count, until) {
            for mm in self.mms.values_mut() {
                mm.lock.forget_reads();
            }
        }
        if matches!(of, None | Some(Kind::SetMigrationPte | Kind::RemoveMigrationPte)) {
            self.standing.lost(until);
        }
        let parts = of.map_or(ALL, |kind| spec(kind).unknown);
        // By another CPU's clock, a missing event may come after this one.
        let blind = until.saturating_add(mmap_lock::EPSILON_NS);
        if parts & FUNCTIONS != 0 {
            self.functions.lost(blind);
            self.open_faults.lost(of, blind);
        }
        if parts & SLOTS != 0 {
            self.tables.forget_slots();
        }
        if parts & TABLES != 0 {
            self.forget_tables(blind);
        }
        if parts & (TABLES | COLLAPSES) != 0 {
            self.collapsing.clear();
        }
        if parts & SPACE != 0 {
            self.forget_spaces(until);
        }
        if parts & TOUCHED != 0 {
            self.doubt_touched(until);
        }
        if parts & UNMAPPED != 0 && self.intervals.may_be_writes(missing) {
            self.doubt_mapped(until);
        }
        if parts & LOCKS != 0 {
            self.mms.retain(|_, mm| {
                mm.lock.forget();
                (mm.life, mm.is_run) = (Life::Unknown, false);
                if mm.space.is_empty() {
                    // Of the mm, only the holds that figures measure are kept.
                    mm.space = Space::default();
                }
                !mm.space.is_empty() || mm.lock.is_followed()
            });
            self.tasks.clear();
            self.writers = 0;
            self.blind_until = self.blind_until.max(until);
        }
    }

    /// Some events of tables, or of calls that unlink them, were not seen. The model learns nothing from events up to
    /// this time.
    pub(super) fn forget_tables(&mut self, until: u64) {
        self.tables.forget_walks(until);
        self.tables.forget_tables();
        self.hugetlb.forget();
        self.hugetlb_overlaps.clear();
        self.shareable.clear();
    }
}
