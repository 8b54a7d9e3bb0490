/*
 * PTE tables, and the operations of semantics 2.4 on them. Tables have numbers, 1 to TABLES;
 * 0 is none. pmd_same() compares the number and nothing else. PMD is the thread's PMD entry.
 */

/* The life of a table. */
#define NEVER           0       /* not allocated */
#define LINKED          1       /* the PMD points to it */
#define UNLINKED        2       /* the PMD does not any more */
#define PENDING         3       /* is freed when a grace period is over */
#define FREED           4
#define NEW             5       /* allocated, and its owner's alone */

#define IS_THERE(t)     (life[t] != FREED && life[t] != NEVER)

byte pml = 0;                   /* the lock of the PMD entries */
byte ptl[TABLES + 1] = 0;       /* the lock of each table */
byte grace[TABLES + 1] = 0;     /* who was in an RCU section when it was given to RCU, and still is */

/* Who leaves the section is waited for no longer, whatever the table. */
#define NOT_FOR_ME(t)           grace[t] = grace[t] & OTHERS
#if TABLES == 1
#define FORGET_GRACE            NOT_FOR_ME(1)
#elif TABLES == 2
#define FORGET_GRACE            NOT_FOR_ME(1); NOT_FOR_ME(2)
#elif TABLES == 3
#define FORGET_GRACE            NOT_FOR_ME(1); NOT_FOR_ME(2); NOT_FOR_ME(3)
#elif TABLES == 4
#define FORGET_GRACE            NOT_FOR_ME(1); NOT_FOR_ME(2); NOT_FOR_ME(3); NOT_FOR_ME(4)
#else
#define FORGET_GRACE            NOT_FOR_ME(1); NOT_FOR_ME(2); NOT_FOR_ME(3); NOT_FOR_ME(4); NOT_FOR_ME(5)
#endif

INVARIANT(I_UAF_PT)
INVARIANT(I_LOST)
INVARIANT(I_CLOBBER)
INVARIANT(I_EMPTY)
INVARIANT(I_BADPMD)

/*
 * Steps. v: the PMD value that was read, t: the table that it led to, each thread's own.
 * `also` is done in the same step: a thread that is done forgets its variables.
 */

#define RCU_READ_LOCK           STEP(rcu = rcu | ME)
#define LEAVE_RCU               rcu = rcu & OTHERS; FORGET_GRACE
#define PTE_UNMAP               STEP(LEAVE_RCU)

/* The read of OP-MAP; the section ends with it when there is no table. */
#define READ_PMD(v, t, null, also)                                              \
    if                                                                          \
    :: d_step { PMD != 0 -> v = PMD; t = PMD }                                  \
    :: d_step { PMD == 0 -> v = 0; LEAVE_RCU; also }; goto null                 \
    fi

#define LOCK_PTL(t)                                                             \
    STEP(IS_FREE(ptl[t]) -> REQUIRE(I_UAF_PT, IS_THERE(t)); TAKE_WRITE(ptl[t]))
#define UNLOCK_PTL(t)                                                           \
    STEP(REQUIRE(I_UAF_PT, IS_THERE(t)); DROP_WRITE(ptl[t]))

/* OP-MAPLOCK, whole. */
#define PTE_OFFSET_MAP_LOCK(v, t, again, null, also)                            \
again:                                                                          \
    RCU_READ_LOCK;                                                              \
    READ_PMD(v, t, null, also);                                                 \
    LOCK_PTL(t);                                                                \
    if                                                                          \
    :: PMD == v                                                                 \
    :: d_step { PMD != v -> DROP_WRITE(ptl[t]); LEAVE_RCU }; goto again         \
    fi

#define LOCK_PML                STEP(IS_FREE(pml) -> TAKE_WRITE(pml))
#define UNLOCK_PML              STEP(DROP_WRITE(pml))

/* Under PML and PTL: I-UNLINK holds by construction, I-EMPTY is looked at. */
#define PMD_CLEAR(t)                                                            \
    REQUIRE(I_BADPMD, PMD == t);                                                \
    REQUIRE(I_UAF_PT, IS_THERE(t));                                             \
    REQUIRE(I_EMPTY, IS_EMPTY(t));                                              \
    PMD = 0;                                                                    \
    life[t] = UNLINKED

#define FREE_RCU(t)             life[t] = PENDING; grace[t] = rcu

/* The end of a grace period, for one table. */
#define GRACE_PERIOD(t)                                                         \
    d_step { life[t] == PENDING && grace[t] == 0 -> life[t] = FREED; CLEAR(t) }
