/*
 * SC-1.1 with both looks, enlarged: T moves a page to entry number-of-T modulo SLOTS, and
 * allocates a table when there is none; R zaps and reclaims TABLES times; a table that is
 * freed can be allocated again.
 *
 * WRITERS   how many T, 1 to 4
 * SLOTS     entries of a table, 1 to 4
 * TABLES    how many tables there are, 1 to 3
 */

#define RECHECK_PTE
#define RECHECK_PMD
#define PMD             pmd
#define ENTRY(t, i)     pte[(t) * SLOTS + (i)]
#define MINE(t)         ENTRY(t, _pid % SLOTS)
#if SLOTS == 1
#define IS_EMPTY(t)     (ENTRY(t, 0) == 0)
#define CLEAR(t)        ENTRY(t, 0) = 0
#elif SLOTS == 2
#define IS_EMPTY(t)     (ENTRY(t, 0) == 0 && ENTRY(t, 1) == 0)
#define CLEAR(t)        ENTRY(t, 0) = 0; ENTRY(t, 1) = 0
#elif SLOTS == 3
#define IS_EMPTY(t)     (ENTRY(t, 0) == 0 && ENTRY(t, 1) == 0 && ENTRY(t, 2) == 0)
#define CLEAR(t)        ENTRY(t, 0) = 0; ENTRY(t, 1) = 0; ENTRY(t, 2) = 0
#else
#define IS_EMPTY(t)     (ENTRY(t, 0) == 0 && ENTRY(t, 1) == 0 && ENTRY(t, 2) == 0 && ENTRY(t, 3) == 0)
#define CLEAR(t)        ENTRY(t, 0) = 0; ENTRY(t, 1) = 0; ENTRY(t, 2) = 0; ENTRY(t, 3) = 0
#endif

#include "kernel.h"
byte pmd = 1;
byte life[5] = {0, 1, 0, 0, 0};
byte pte[(TABLES + 1) * SLOTS] = 0;
#include "table.h"
#include "uffd-move.h"
#include "reclaim.h"

#define CAN_HAVE(t)     (life[t] == NEVER || life[t] == FREED)
#define POPULATE(t)     life[t] = LINKED; PMD = t

active [WRITERS] proctype T()
{
    byte v, t, o;
again:
    /* OP-ALLOC */
    if
    :: PMD != 0 -> goto there
    :: PMD == 0
    fi;
    LOCK_PML;
    if
    :: PMD != 0
    :: d_step { PMD == 0 && CAN_HAVE(1) -> POPULATE(1) }
#if TABLES == 1
    :: d_step { PMD == 0 && !CAN_HAVE(1) -> DROP_WRITE(pml); v = 0; t = 0; o = 0 }; goto end
#else
    :: d_step { PMD == 0 && !CAN_HAVE(1) && CAN_HAVE(2) -> POPULATE(2) }
#if TABLES == 2
    :: d_step { PMD == 0 && !CAN_HAVE(1) && !CAN_HAVE(2) -> DROP_WRITE(pml); v = 0; t = 0; o = 0 }; goto end
#else
    :: d_step { PMD == 0 && !CAN_HAVE(1) && !CAN_HAVE(2) && CAN_HAVE(3) -> POPULATE(3) }
    :: d_step { PMD == 0 && !CAN_HAVE(1) && !CAN_HAVE(2) && !CAN_HAVE(3) ->
        DROP_WRITE(pml); v = 0; t = 0; o = 0 }; goto end
#endif
#endif
    fi;
    UNLOCK_PML;
there:
    MOVE_PAGES_PTE(v, t, o, MINE(t), busy, changed, end, again, v = 0; t = 0; o = 0, skip);
end:
    false
}

/* Each call has variables of its own, and leaves in them what it leaves. */
#define FORGET          v = 0; t = 0; d = false; v2 = 0; t2 = 0; d2 = false; v3 = 0; t3 = 0; d3 = false

active proctype R()
{
    byte v, t, v2, t2, v3, t3;
    bool d, d2, d3;
#if TABLES == 1
    ZAP(v, t, d, again, busy, found, none, freed, end, FORGET);
#else
    ZAP(v, t, d, again, busy, found, none, freed, second, skip);
#if TABLES == 2
second:
    ZAP(v2, t2, d2, again2, busy2, found2, none2, freed2, end, FORGET);
#else
second:
    ZAP(v2, t2, d2, again2, busy2, found2, none2, freed2, third, skip);
third:
    ZAP(v3, t3, d3, again3, busy3, found3, none3, freed3, end, FORGET);
#endif
#endif
end:
    false
}

active proctype RCU()
{
end:
    do
    :: GRACE_PERIOD(1)
#if TABLES >= 2
    :: GRACE_PERIOD(2)
#endif
#if TABLES >= 3
    :: GRACE_PERIOD(3)
#endif
    od
}
