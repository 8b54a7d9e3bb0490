/*
 * SC-X.1: readers that lock the VMA, or else the mmap_lock, against writers that change it.
 *
 * V7_2              the lock is a counter; else 6.12's rwsem
 * NO_SECOND_TEST    readers do not look at the sequence again
 * NO_WAIT           writers do not wait for readers
 * READERS, WRITERS  how many, 1 unless said
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
