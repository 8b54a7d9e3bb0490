/*
 * OP-ZAP of everything under the PMD, and (unless KEEP_TABLES) OP-PTRECLAIM. d: the table was
 * removed at once, the PTL held since the zap. It ends at `out`, which is to
 * follow.
 */
#ifdef KEEP_TABLES
#define ZAP(v, t, d, again, busy, found, none, freed, out, also)                 \
    PTE_OFFSET_MAP_LOCK(v, t, again, out, also);                                \
    d_step { REQUIRE(I_UAF_PT, IS_THERE(t)); CLEAR(t) };                        \
    UNLOCK_PTL(t);                                                              \
    d_step { LEAVE_RCU; also }
#else
#define ZAP(v, t, d, again, busy, found, none, freed, out, also)                 \
    PTE_OFFSET_MAP_LOCK(v, t, again, out, also);                                \
    d_step { REQUIRE(I_UAF_PT, IS_THERE(t)); CLEAR(t) };                        \
    /* Was the PTL held since the beginning? Either may be. */                  \
    if                                                                          \
    :: true                                                                     \
    :: true -> goto busy                                                        \
    fi;                                                                         \
    /* Against the lock order, so it is tried. */                               \
    if                                                                          \
    :: d_step { IS_FREE(pml) -> TAKE_WRITE(pml) }                               \
    :: !IS_FREE(pml) -> goto busy                                               \
    fi;                                                                         \
    d_step { PMD_CLEAR(t); d = true };                                          \
    UNLOCK_PML;                                                                 \
busy:                                                                           \
    UNLOCK_PTL(t);                                                              \
    PTE_UNMAP;                                                                  \
    if                                                                          \
    :: d -> goto freed                                                          \
    :: !d                                                                       \
    fi;                                                                         \
    /* The slow way: look again. */                                             \
    LOCK_PML;                                                                   \
    RCU_READ_LOCK;                                                              \
    READ_PMD(v, t, none, skip);                                                 \
    LOCK_PTL(t);                                                                \
    if                                                                          \
    :: d_step { IS_EMPTY(t) -> REQUIRE(I_UAF_PT, IS_THERE(t)) }                 \
    :: !IS_EMPTY(t) -> goto found                                                \
    fi;                                                                         \
    PTE_UNMAP;                                                                  \
    d_step { PMD_CLEAR(t) };                                                    \
    UNLOCK_PTL(t);                                                              \
    UNLOCK_PML;                                                                 \
    d_step { skip };                    /* return true */                       \
    goto freed;                                                                 \
found:                                                                           \
    UNLOCK_PTL(t);                                                              \
    PTE_UNMAP;                                                                  \
none:                                                                           \
    UNLOCK_PML;                                                                 \
    d_step { also };                    /* return false */                      \
    goto out;                                                                   \
freed:                                                                          \
    STEP(FREE_RCU(t); also)
#endif
