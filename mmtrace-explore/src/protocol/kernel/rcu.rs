//! RCU sections, and sections with interrupts off.

use mmtrace_model::model::invariant::Invariant;

use super::Kernel;

impl Kernel<'_> {
    fn nest(&self) -> usize {
        usize::from(self.layout.threads[usize::from(self.me)].nest)
    }

    /// `rcu_read_lock()`.
    pub fn rcu_read_lock(&mut self) {
        let nest = self.nest();
        self.state.0[nest] += 1;
        if self.state.0[nest] == 1 {
            let readers = self.get(self.layout.rcu);
            self.set(self.layout.rcu, readers | 1 << self.me);
        }
    }

    /// `rcu_read_unlock()`: grace periods no longer wait for this thread.
    pub fn rcu_read_unlock(&mut self) {
        let nest = self.nest();
        if self.state.0[nest] == 0 {
            self.violate(Invariant::Dbl, "rcu_read_unlock() outside a section");
            return;
        }
        self.state.0[nest] -= 1;
        if self.state.0[nest] == 0 {
            let readers = self.get(self.layout.rcu);
            self.set(self.layout.rcu, readers & !(1 << self.me));
            self.leave_grace();
        }
    }

    /// `local_irq_save()`.
    pub fn irq_disable(&mut self) {
        let off = self.get(self.layout.irq);
        self.set(self.layout.irq, off | 1 << self.me);
    }

    /// `local_irq_restore()`.
    pub fn irq_enable(&mut self) {
        let off = self.get(self.layout.irq);
        self.set(self.layout.irq, off & !(1 << self.me));
        if self.state.0[self.nest()] == 0 {
            self.leave_grace();
        }
    }

    fn leave_grace(&mut self) {
        // The bit was set by whoever began to wait, who read this thread's bit in the
        // readers' cell: the footprints meet there already.
        if self.peek(self.layout.rcu) & 1 << self.me != 0 || self.peek(self.layout.irq) & 1 << self.me != 0 {
            return;
        }
        for cell in &self.layout.graces {
            let waiting = self.peek(*cell);
            if waiting & 1 << self.me != 0 {
                self.set(*cell, waiting & !(1 << self.me));
            }
        }
    }

    /// Threads in a section now: what a grace period that begins here waits for.
    pub fn rcu_readers(&mut self) -> u8 {
        let rcu = self.get(self.layout.rcu);
        rcu | self.get(self.layout.irq)
    }

    /// Threads with interrupts off: what an IPI waits for.
    pub fn irqs_off(&mut self) -> u8 {
        self.get(self.layout.irq)
    }
}
