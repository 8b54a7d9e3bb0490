//! RCU sections, and sections with interrupts off.

use mmtrace_model::model::invariant::Invariant;

use super::Kernel;

/// The counter of how deep a thread is in RCU sections.
const NEST: u8 = 0;

impl Kernel<'_> {
    /// `rcu_read_lock()`.
    pub(crate) fn rcu_read_lock(&mut self) {
        let nest = self.counter(NEST) + 1;
        self.set_counter(NEST, nest);
        if nest == 1 {
            let readers = self.get(self.protocol.rcu);
            self.set(self.protocol.rcu, readers | 1 << self.me());
        }
    }

    /// `rcu_read_unlock()`: grace periods no longer wait for this thread.
    pub(crate) fn rcu_read_unlock(&mut self) {
        let Some(nest) = self.counter(NEST).checked_sub(1) else {
            self.violate(Invariant::Dbl, "rcu_read_unlock() outside a section");
            return;
        };
        self.set_counter(NEST, nest);
        if nest == 0 {
            let readers = self.get(self.protocol.rcu);
            self.set(self.protocol.rcu, readers & !(1 << self.me()));
            self.leave_grace();
        }
    }

    /// `local_irq_save()`.
    pub(crate) fn irq_disable(&mut self) {
        let off = self.get(self.protocol.irq);
        self.set(self.protocol.irq, off | 1 << self.me());
    }

    /// `local_irq_restore()`.
    pub(crate) fn irq_enable(&mut self) {
        let off = self.get(self.protocol.irq);
        self.set(self.protocol.irq, off & !(1 << self.me()));
        if self.counter(NEST) == 0 {
            self.leave_grace();
        }
    }

    fn leave_grace(&mut self) {
        // The thread that set the bit read this thread's bit in the readers' cell, which this thread writes. So their
        // footprints conflict already.
        if self.peek(self.protocol.rcu) & 1 << self.me() != 0 || self.peek(self.protocol.irq) & 1 << self.me() != 0 {
            return;
        }
        for cell in &self.protocol.graces {
            let waiting = self.peek(*cell);
            if waiting & 1 << self.me() != 0 {
                self.set(*cell, waiting & !(1 << self.me()));
            }
        }
    }

    /// Returns the threads in a section, for which a grace period that begins now waits.
    pub(crate) fn rcu_readers(&mut self) -> u8 {
        let rcu = self.get(self.protocol.rcu);
        rcu | self.get(self.protocol.irq)
    }

    /// Returns the threads with interrupts off, for which an IPI waits.
    pub(crate) fn irqs_off(&mut self) -> u8 {
        self.get(self.protocol.irq)
    }
}
