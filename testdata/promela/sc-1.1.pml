/*
 * SC-1.1: T moves a page to an entry that is none, R zaps the range and removes its table.
 *
 * RECHECK_PTE   T looks at the entry again under the PTL
 * RECHECK_PMD   T looks at the PMD again under the PTL
 * KEEP_TABLES   R leaves the table where it is: kernels without PT reclaim
 */

#define TABLES          1
#define PMD             pmd
#define IS_EMPTY(t)     (pte == 0)
#define CLEAR(t)        pte = 0

#include "kernel.h"
byte pmd = 1;
byte life[2] = {0, 1};
#include "table.h"
#include "uffd-move.h"
#include "reclaim.h"

byte pte = 0;                   /* the entry */

active proctype T()
{
    byte v, t, o;
    MOVE_PAGES_PTE(v, t, o, pte, busy, again, end, end, v = 0; t = 0; o = 0, v = 0; t = 0; o = 0);
end:
    false
}

active proctype R()
{
    byte v, t;
    bool d;
    ZAP(v, t, d, again, busy, found, none, freed, end, v = 0; t = 0; d = false);
end:
    false
}

active proctype RCU()
{
end:
    do
    :: GRACE_PERIOD(1)
    od
}
