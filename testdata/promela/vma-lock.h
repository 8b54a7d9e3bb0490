/*
 * The mmap_lock and the VMA lock of one VMA (semantics 1.4, 2.5), which nobody unmaps.
 * V7_2: a counter, else (6.12) a rwsem.
 */

byte mmap_lock = 0;
byte mm_lock_seq = 2;           /* odd: mmap_lock is held for write */
byte vm_lock_seq = 0;           /* equal to that: the VMA is write-locked */
byte granted = 0;               /* who relies on the VMA lock. Ghost */
#ifdef V7_2
#define ATTACHED        1
#define EXCLUDE         128     /* a writer waits, or has waited */
byte vm_refcnt = ATTACHED;
#define IS_READABLE_VMA vm_refcnt != 0 && vm_refcnt < EXCLUDE
#define GET             vm_refcnt++
#define PUT             vm_refcnt--
#else
byte vm_lock = 0;
bool detached = false;
#define PUT             DROP_READ(vm_lock)
#endif

INVARIANT(I_VEXCL)

#define IS_WRITE_LOCKED (mm_lock_seq % 2 == 1 && vm_lock_seq == mm_lock_seq)

#define MMAP_READ_LOCK          STEP(IS_READABLE(mmap_lock) -> TAKE_READ(mmap_lock))
#define MMAP_READ_UNLOCK        STEP(DROP_READ(mmap_lock))
#define MMAP_WRITE_LOCK         STEP(IS_FREE(mmap_lock) -> TAKE_WRITE(mmap_lock); mm_lock_seq++)
#define MMAP_WRITE_UNLOCK       STEP(mm_lock_seq++; DROP_WRITE(mmap_lock))
#define RCU_READ_LOCK           STEP(rcu = rcu | ME)
#define RCU_READ_UNLOCK         STEP(rcu = rcu & OTHERS)
#define STORE_SEQUENCE          STEP(vm_lock_seq = mm_lock_seq; REQUIRE(I_VEXCL, granted == 0))
#define GRANTED                 REQUIRE(I_VEXCL, !IS_WRITE_LOCKED); granted = granted | ME

/* The tests of a reader, each a step. */
#define UNLESS(bad, otherwise)                                                  \
    if                                                                          \
    :: !(bad)                                                                   \
    :: bad -> goto otherwise                                                    \
    fi
#ifdef NO_SECOND_TEST
#define SECOND_TEST(otherwise)
#else
#define SECOND_TEST(otherwise)  UNLESS(vm_lock_seq == mm_lock_seq, otherwise);
#endif

/* OP-VR: goes on, or to `fail`. Finding the VMA, its mm and its range never fail here. */
#ifdef V7_2
#define LOCK_VMA_UNDER_RCU(retry, zero, locked, inval, out, fail)               \
retry:                                                                          \
    RCU_READ_LOCK;                                                              \
    STEP(true);                         /* the VMA is in the tree */            \
    UNLESS(vm_lock_seq == mm_lock_seq, inval);                                  \
    if                                                                          \
    :: d_step { IS_READABLE_VMA -> GET }                                        \
    :: vm_refcnt == 0 -> goto zero                                              \
    :: vm_refcnt >= EXCLUDE -> goto inval                                       \
    fi;                                                                         \
    STEP(true);                         /* its mm is this one */                \
    SECOND_TEST(locked)                                                         \
    RCU_READ_UNLOCK;                                                            \
    STEP(true);                         /* the address is in it */              \
    STEP(GRANTED);                                                              \
    goto out;                                                                   \
zero:                                                                           \
    RCU_READ_UNLOCK;                                                            \
    goto retry;                                                                 \
locked:                                                                         \
    STEP(PUT);                                                                  \
inval:                                                                          \
    RCU_READ_UNLOCK;                                                            \
    goto fail;                                                                  \
out:
#else
#define LOCK_VMA_UNDER_RCU(retry, isolated, locked, inval, out, fail)           \
    RCU_READ_LOCK;                                                              \
retry:                                                                          \
    STEP(true);                         /* the VMA is in the tree */            \
    UNLESS(vm_lock_seq == mm_lock_seq, inval);                                  \
    if                                                                          \
    :: d_step { IS_READABLE(vm_lock) -> TAKE_READ(vm_lock) }                    \
    :: !IS_READABLE(vm_lock) -> goto inval                                      \
    fi;                                                                         \
    SECOND_TEST(locked)                                                         \
    UNLESS(detached, isolated);                                                 \
    STEP(true);                         /* the address is in it */              \
    STEP(rcu = rcu & OTHERS; GRANTED);                                          \
    goto out;                                                                   \
isolated:                                                                       \
    STEP(PUT);                                                                  \
    goto retry;                                                                 \
locked:                                                                         \
    STEP(PUT);                                                                  \
inval:                                                                          \
    RCU_READ_UNLOCK;                                                            \
    goto fail;                                                                  \
out:
#endif

/* OP-VW. The early return is never taken here: each writer locks the VMA once. */
#ifdef NO_WAIT
#define VMA_START_WRITE(done)                                                   \
    UNLESS(vm_lock_seq == mm_lock_seq, done);                                   \
    STORE_SEQUENCE;                                                             \
done:
#else
#ifdef V7_2
#define VMA_START_WRITE(done)                                                   \
    UNLESS(vm_lock_seq == mm_lock_seq, done);                                   \
    STEP(vm_refcnt = vm_refcnt + EXCLUDE);                                      \
    STEP(vm_refcnt == EXCLUDE + ATTACHED);                                      \
    STORE_SEQUENCE;                                                             \
    STEP(vm_refcnt = vm_refcnt - EXCLUDE);                                      \
done:
#else
#define VMA_START_WRITE(done)                                                   \
    UNLESS(vm_lock_seq == mm_lock_seq, done);                                   \
    STEP(IS_FREE(vm_lock) -> TAKE_WRITE(vm_lock));                              \
    STORE_SEQUENCE;                                                             \
    STEP(DROP_WRITE(vm_lock));                                                  \
done:
#endif
#endif
