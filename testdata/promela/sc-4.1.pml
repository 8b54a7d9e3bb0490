/*
 * SC-4.1: K retracts the empty table of a file's VMA, U registers the VMA for uffd-wp and
 * write-protects a page that is not mapped: it puts a marker into the table.
 *
 * TRYLOCK         K locks the mmap_lock for write if it can, and no lock of the tables
 * RECHECK_VMA     K looks at the VMA again under PML and PTL
 * RECHECK_PMD     K looks at the PMD again under PML
 * FIRST, SECOND   users of the first VMA and of a second one, 1 and 0 unless said
 * ENTRIES         entries that they take in turn, 1 unless said
 */

#ifndef FIRST
#define FIRST   1
#endif
#ifndef SECOND
#define SECOND  0
#endif
#ifndef ENTRIES
#define ENTRIES 1
#endif
#define USERS   (FIRST + SECOND)

#if SECOND > 0
#define VMAS    2
#define TABLES  (VMAS + USERS)
#else
#define VMAS    1
#define TABLES  (VMAS + USERS)
#endif

/* K is thread 0, the users come next: whose VMA, which entry, which table is theirs to link. */
#define MY_VMA          (_pid > FIRST)
#define MY_ENTRY        (1 << ((_pid - 1 - MY_VMA * FIRST) % ENTRIES))
#define MY_TABLE        (VMAS + _pid)
#define PMD             pmd[MY_VMA]
#define IS_EMPTY(t)     true            /* markers do not count: I_MARKER is about them */
#define CLEAR(t)        markers[t] = 0

#include "kernel.h"
#if VMAS == 1
byte pmd[2] = {1, 0};
byte life[7] = {0, 1, 0, 0, 0, 0, 0};
#else
byte pmd[2] = {1, 2};
byte life[7] = {0, 1, 1, 0, 0, 0, 0};
#endif
byte markers[TABLES + 1] = 0;   /* which entries hold one */
#include "table.h"

byte mmap_lock = 0;
byte mm_lock_seq = 2;           /* odd: mmap_lock is held for write */
byte vm_lock_seq[VMAS] = 0;     /* equal to that: the VMA is write-locked */
bool vm_exclude[VMAS] = false;  /* a writer keeps VMA readers out; there are none */
bool uffd_wp[VMAS] = false;     /* the VMA is registered */
bool anon_vma[VMAS] = false;    /* nobody sets it here */
byte i_mmap = 0;
byte folio = WRITE | 1;         /* K has locked it */
byte told[VMAS] = 0;            /* of which entries user space knows that the marker is set. Ghost */

INVARIANT(I_MARKER)
INVARIANT(I_FILL)

/* Looked at whenever something is written that a walk goes by. */
#define MARKERS_STAND(a)                                                        \
    REQUIRE(I_MARKER, told[a] == 0 || (pmd[a] != 0 && (markers[pmd[a]] & told[a]) == told[a]))

#define IS_RETRACTABLE(a)       (!anon_vma[a] && !uffd_wp[a])
#define UNLESS(bad, otherwise)                                                  \
    if                                                                          \
    :: !(bad)                                                                   \
    :: bad -> goto otherwise                                                    \
    fi

#define FLUSH(a)                                                                \
    REQUIRE(I_BADPMD, pmd[a] != 0);                                             \
    r = pmd[a];                                                                 \
    REQUIRE(I_UAF_PT, IS_THERE(r));                                             \
    pmd[a] = 0;                                                                 \
    life[r] = UNLINKED;                                                         \
    MARKERS_STAND(a)

/* What is tested before any lock of the tables is taken, until 6.12 and since. */
#ifdef RECHECK_PMD
#define EARLY(a, next)                                                          \
    UNLESS(pmd[a] == 0, next);                                                  \
    UNLESS(!IS_RETRACTABLE(a), next);
#define CHECK_PMD_STATE(a, drop_pml)                                            \
    UNLESS(pmd[a] == 0, drop_pml);
#else
#define CHECK_PMD_STATE(a, drop_pml)
#ifdef TRYLOCK
#define EARLY(a, next)                                                          \
    UNLESS(anon_vma[a], next);                                                  \
    UNLESS(pmd[a] == 0, next);
#else
#define EARLY(a, next)                                                          \
    UNLESS(anon_vma[a], next);                                                  \
    UNLESS(pmd[a] == 0, next);                                                  \
    UNLESS(uffd_wp[a], next);
#endif
#endif
#ifdef RECHECK_VMA
#define UNDER_LOCKS(a, give_up)                                                 \
    UNLESS(!IS_RETRACTABLE(a), give_up);
#else
#define UNDER_LOCKS(a, give_up)
#endif

/* OP-RETRACT of one VMA; t: the table that is locked, r: the one that is removed. */
#ifdef TRYLOCK
#define LOCK_I_MMAP     STEP(IS_FREE(i_mmap) -> TAKE_WRITE(i_mmap))
#define UNLOCK_I_MMAP   STEP(DROP_WRITE(i_mmap))
#define RETRACT(a, give_up, drop_pml, next)                                     \
    STEP(true);                         /* the VMA is in i_mmap's tree */       \
    EARLY(a, next)                                                              \
    if                                                                          \
    :: d_step { IS_FREE(mmap_lock) -> TAKE_WRITE(mmap_lock); mm_lock_seq++ }    \
    :: !IS_FREE(mmap_lock) -> goto next                                         \
    fi;                                                                         \
    STEP(vm_lock_seq[a] = mm_lock_seq);                                         \
    UNLESS(!IS_RETRACTABLE(a), give_up);                                        \
    STEP(FLUSH(a));                                                             \
    STEP(life[r] = FREED; CLEAR(r); r = 0);                                     \
give_up:                                                                        \
    STEP(mm_lock_seq++; DROP_WRITE(mmap_lock));                                 \
next:
#else
#define LOCK_I_MMAP     STEP(IS_READABLE(i_mmap) -> TAKE_READ(i_mmap))
#define UNLOCK_I_MMAP   STEP(DROP_READ(i_mmap))
#define RETRACT(a, give_up, drop_pml, next)                                     \
    STEP(true);                         /* the VMA is in i_mmap's tree */       \
    EARLY(a, next)                                                              \
    LOCK_PML;                                                                   \
    CHECK_PMD_STATE(a, drop_pml)                                                \
    STEP(REQUIRE(I_BADPMD, pmd[a] != 0); t = pmd[a]);                           \
    LOCK_PTL(t);                                                                \
    UNDER_LOCKS(a, give_up)                                                     \
    STEP(FLUSH(a));                                                             \
    STEP(DROP_WRITE(ptl[t]));                                                   \
    UNLOCK_PML;                                                                 \
    STEP(FREE_RCU(r); r = 0; t = 0);                                            \
    goto next;                                                                  \
give_up:                                                                        \
    STEP(DROP_WRITE(ptl[t]); t = 0);                                            \
drop_pml:                                                                       \
    UNLOCK_PML;                                                                 \
next:
#endif

active proctype K()
{
    byte t, r;
    LOCK_I_MMAP;
    RETRACT(0, give_up, drop_pml, next)
#if VMAS == 2
    RETRACT(1, give_up_2, drop_pml_2, next_2)
#endif
    UNLOCK_I_MMAP;
    STEP(DROP_WRITE(folio));
end:
    false
}

active [USERS] proctype U()
{
    byte v, t;

    /* OP-UREG */
    STEP(IS_FREE(mmap_lock) -> TAKE_WRITE(mmap_lock); mm_lock_seq++);
    UNLESS(vm_lock_seq[MY_VMA] == mm_lock_seq, locked);
    STEP(vm_exclude[MY_VMA] = true);
    STEP(true);                                 /* no readers to wait for */
    STEP(vm_lock_seq[MY_VMA] = mm_lock_seq);
    STEP(vm_exclude[MY_VMA] = false);
locked:
    STEP(uffd_wp[MY_VMA] = true);
    STEP(mm_lock_seq++; DROP_WRITE(mmap_lock));

    /* OP-UWP */
    STEP(IS_READABLE(mmap_lock) -> TAKE_READ(mmap_lock));
    STEP(true);                                 /* it is registered */
again:
    STEP(true);                                 /* the PMD is not huge */
    UNLESS(PMD != 0, there);
    STEP(life[MY_TABLE] == NEVER -> life[MY_TABLE] = NEW);
    LOCK_PML;
    if
    :: d_step { PMD == 0 -> PMD = MY_TABLE; life[MY_TABLE] = LINKED; MARKERS_STAND(MY_VMA) }
    :: PMD != 0
    fi;
    UNLOCK_PML;
    if
    :: d_step { life[MY_TABLE] == NEW -> life[MY_TABLE] = NEVER }
    :: life[MY_TABLE] != NEW
    fi;
there:
    PTE_OFFSET_MAP_LOCK(v, t, map, again, skip);
    STEP(
        REQUIRE(I_UAF_PT, IS_THERE(t));
        REQUIRE(I_LOST, life[t] == LINKED);
        REQUIRE(I_FILL, (mmap_lock & ME) != 0);
        markers[t] = markers[t] | MY_ENTRY;
        MARKERS_STAND(MY_VMA));
    UNLOCK_PTL(t);
    PTE_UNMAP;
    STEP(DROP_READ(mmap_lock));
    STEP(told[MY_VMA] = told[MY_VMA] | MY_ENTRY; MARKERS_STAND(MY_VMA));
    STEP(v = 0; t = 0);                         /* return 0 */
end:
    false
}

active proctype RCU()
{
end:
    do
    :: GRACE_PERIOD(1)
    :: GRACE_PERIOD(2)
#if TABLES >= 3
    :: GRACE_PERIOD(3)
#endif
#if TABLES >= 4
    :: GRACE_PERIOD(4)
#endif
#if TABLES >= 5
    :: GRACE_PERIOD(5)
#endif
    od
}
