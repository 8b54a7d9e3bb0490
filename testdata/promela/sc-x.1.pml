/*
 * SC-X.1: readers that lock the VMA, or else the mmap_lock, against writers that change it.
 *
 * v.7.2                        V7_2
 * v.7.2-2-readers              V7_2 READERS=2
 * v.6.12                       -
 * v.6.12-2-readers             READERS=2
 * v.7.2-no-second-test         V7_2 NO_SECOND_TEST
 * v.6.12-no-second-test        NO_SECOND_TEST
 * v.7.2-no-wait                V7_2 NO_WAIT
 * v.6.12-no-wait               NO_WAIT
 *
 * Enlarged, for measuring: V7_2 READERS=r WRITERS=w.
 */

#ifndef READERS
#define READERS 1
#endif
#ifndef WRITERS
#define WRITERS 1
#endif

#include "kernel.h"
#include "vma-lock.h"

active [READERS] proctype Reader()
{
    LOCK_VMA_UNDER_RCU(retry, again, locked, inval, out, mmap)
    STEP(REQUIRE(I_VEXCL, !IS_WRITE_LOCKED));           /* the fault is handled */
    STEP(granted = granted & OTHERS; PUT);
    goto done;
mmap:
    MMAP_READ_LOCK;
    STEP(true);                                         /* find_vma() finds it */
    STEP(REQUIRE(I_VEXCL, !IS_WRITE_LOCKED));
    MMAP_READ_UNLOCK;
done:
    STEP(true);                                         /* back to user mode */
end:
    false
}

active [WRITERS] proctype Writer()
{
    MMAP_WRITE_LOCK;
    VMA_START_WRITE(changed)
    STEP(REQUIRE(I_VEXCL, granted == 0));               /* the VMA is changed */
    MMAP_WRITE_UNLOCK;
end:
    false
}
