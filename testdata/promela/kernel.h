/*
 * What the models share: how a step is written, locks, RCU.
 *
 * A step is one d_step: nobody runs inside it, anybody may run after it. A step that goes two
 * ways is an if of which exactly one option can be taken. A thread that is done stays at its
 * last label: no process ever dies. So pan's states are the situations between steps, no more
 * and no less, and their number is that of `mmtrace explore --search depth`, with no offset.
 * For that, pan must neither forget variables nor merge steps (spin -o1 -o2 -o3) nor leave
 * out interleavings (-DNOREDUCE).
 *
 * (A label cannot stand before a d_step, but before an if: hence STEP.)
 *
 * Words that say who holds something have a bit for each thread, by _pid.
 */

#define STEP(body)      if :: d_step { body } fi

#define ME              (1 << _pid)
#define OTHERS          (255 - ME)

/*
 * What must hold: pan names it when it does not. Not part of a state, except for the search
 * level by level (SHORTEST), which pan does not do with hidden variables; it is 0 in all states.
 */
#ifdef SHORTEST
#define INVARIANT(name)         byte name = 0;
#else
#define INVARIANT(name)         hidden byte name = 0;
#endif
#define REQUIRE(name, holds)    name = !(holds); assert(!(name))

/* Locks: who has it, and WRITE if that one has it alone. */
#define WRITE           128
#define IS_FREE(l)      (l == 0)
#define IS_READABLE(l)  (l < WRITE)
#define TAKE_WRITE(l)   l = WRITE | ME
#define TAKE_READ(l)    l = l | ME
#define DROP_WRITE(l)   l = 0
#define DROP_READ(l)    l = l & OTHERS

/* Who is in an RCU section. */
byte rcu = 0;
