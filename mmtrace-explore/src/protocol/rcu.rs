//! RCU sections of a program, and the grace-period engine.

use super::{Cell, Flow, Guard, Kernel, Program, Protection, Table, World};

/// Notes the readers for whom an object that is given to RCU stays: the threads that are in a section now.
pub(crate) fn begin_grace(k: &mut Kernel<'_>, grace: Cell) {
    let readers = k.rcu_readers();
    k.set(grace, readers);
}

/// Adds the thread that ends grace periods and frees the tables that wait for them. It is called after every table is added.
pub(crate) fn grace_periods(w: &mut World) {
    let tables = w.table_count();
    let mut p = Program::new();
    p.function("rcu", |p| {
        let again = p.mark();
        p.choice("a grace period ends: the table is freed", tables, move |k| {
            let table = Table(k.choice());
            if k.grace_period(table) {
                let name = k.table_name(table);
                k.note(|| format!("{name} is freed"));
                Flow::Goto(again)
            } else {
                Flow::Block
            }
        });
    });
    w.daemon("RCU", p);
}

impl Program {
    /// Adds `rcu_read_lock()`. It is a protection.
    pub(crate) fn rcu_read_lock(&mut self) -> Guard {
        let guard = self.protect(Protection::Rcu, "rcu_read_lock()");
        if guard.is_active() {
            self.run("rcu_read_lock()", |k| k.rcu_read_lock());
        }
        guard
    }

    /// Adds `rcu_read_unlock()`.
    pub(crate) fn rcu_read_unlock(&mut self, guard: Guard) {
        self.release(guard, "rcu_read_unlock()", |k| k.rcu_read_unlock());
    }
}
