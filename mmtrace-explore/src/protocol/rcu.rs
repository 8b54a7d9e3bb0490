//! The grace-period engine.

use super::{Cell, Flow, Kernel, Program, Table, World};

/// An object is given to RCU: it stays for those who are in a section now, until they leave it.
pub fn begin_grace(k: &mut Kernel<'_>, grace: Cell) {
    let readers = k.rcu_readers();
    k.set(grace, readers);
}

/// Adds the thread that ends grace periods and frees what waits for them. Call it last.
pub fn grace_periods(w: &mut World) {
    let tables = w.table_count();
    let mut p = Program::new(None);
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
