/*
 * UFFDIO_MOVE's use of OP-RW: the destination is none and is to be filled with a page.
 * pte: the entry. At `done` it has succeeded or was not needed, at `fail` there is no table,
 * or something has changed.
 */
#ifdef RECHECK_PTE
#define PTE_SAME(t, o, pte, again)                                              \
    if                                                                          \
    :: d_step { pte == o -> REQUIRE(I_UAF_PT, IS_THERE(t)) }                    \
    :: pte != o -> goto again                                                   \
    fi;
#else
#define PTE_SAME(t, o, pte, again)
#endif
#ifdef RECHECK_PMD
#define PMD_SAME(v, again)                                                      \
    if                                                                          \
    :: PMD == v                                                                 \
    :: PMD != v -> goto again                                                   \
    fi;
#else
#define PMD_SAME(v, again)
#endif

#define MOVE_PAGES_PTE(v, t, o, pte, busy, again, done, fail, also_done, also_fail)  \
    RCU_READ_LOCK;                                                              \
    READ_PMD(v, t, fail, also_fail);                                            \
    LOCK_PTL(t);                                                                \
    d_step { REQUIRE(I_UAF_PT, IS_THERE(t)); o = pte };                         \
    UNLOCK_PTL(t);                                                              \
    if                                                                          \
    :: o != 0 -> goto busy                                                      \
    :: o == 0                                                                   \
    fi;                                                                         \
    LOCK_PTL(t);                                                                \
    PTE_SAME(t, o, pte, again)                                                  \
    PMD_SAME(v, again)                                                          \
    d_step {                                                                    \
        REQUIRE(I_UAF_PT, IS_THERE(t));                                         \
        REQUIRE(I_LOST, life[t] == LINKED);                                     \
        REQUIRE(I_CLOBBER, pte == o);                                           \
        pte = 1                                                                 \
    };                                                                          \
    UNLOCK_PTL(t);                                                              \
busy:                                                                           \
    PTE_UNMAP;                                                                  \
    d_step { also_done };               /* return 0 or -EEXIST */               \
    goto done;                                                                  \
again:                                                                          \
    UNLOCK_PTL(t);                                                              \
    PTE_UNMAP;                                                                  \
    d_step { also_fail };               /* return -EAGAIN */                    \
    goto fail
