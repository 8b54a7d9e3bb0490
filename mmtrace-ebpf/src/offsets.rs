//! Struct offsets of the running kernel, in bytes. The loader sets them from BTF
//! before the programs are verified; the verifier then sees constants.

use core::ptr::addr_of;

macro_rules! offsets {
    ($($global:ident $getter:ident $doc:literal;)*) => {
        $(
            #[unsafe(no_mangle)]
            static $global: u32 = 0;

            #[doc = $doc]
            #[inline(always)]
            pub fn $getter() -> usize {
                // SAFETY: a static of ours; volatile, since the loader changes it after compilation.
                unsafe { addr_of!($global).read_volatile() as usize }
            }
        )*
    };
}

offsets! {
    OFF_TASK_MM task_mm "`task_struct.mm`";
    OFF_TASK_STACK task_stack "`task_struct.stack`";
    OFF_TASK_PID task_pid "`task_struct.pid`";
    OFF_TASK_TGID task_tgid "`task_struct.tgid`";
    OFF_TASK_FLAGS task_flags "`task_struct.flags`";
    OFF_TASK_THREAD_INFO task_thread_info "`task_struct.thread_info`";
    OFF_TASK_FILES task_files "`task_struct.files`";
    OFF_TASK_CGROUPS task_cgroups "`task_struct.cgroups`";
    OFF_TASK_PAGEFAULT_DISABLED task_pagefault_disabled "`task_struct.pagefault_disabled`";
    OFF_MM_MMAP_LOCK mm_mmap_lock "`mm_struct.mmap_lock`";
    OFF_MM_PGD mm_pgd "`mm_struct.pgd`";
    OFF_MM_MT mm_mt "`mm_struct.mm_mt`";
    OFF_MM_LOCK_SEQ mm_lock_seq "`mm_struct.mm_lock_seq.sequence`; 0 before 6.13";
    OFF_MM_CTX_ID mm_ctx_id "`mm_struct.context.ctx_id`";
    OFF_TREE_ROOT tree_root "`maple_tree.ma_root`";
    OFF_MAS_TREE mas_tree "`ma_state.tree`";
    OFF_MAS_INDEX mas_index "`ma_state.index`";
    OFF_MAS_LAST mas_last "`ma_state.last`";
    OFF_REGS_IP regs_ip "`pt_regs.ip`";
    OFF_REGS_ORIG_AX regs_orig_ax "`pt_regs.orig_ax`";
    OFF_THREAD_INFO_STATUS thread_info_status "`thread_info.status`";
    OFF_VMA_MM vma_mm "`vm_area_struct.vm_mm`";
    OFF_VMA_START vma_start "`vm_area_struct.vm_start`";
    OFF_VMA_END vma_end "`vm_area_struct.vm_end`";
    OFF_VMA_FLAGS vma_flags "`vm_area_struct.vm_flags`";
    OFF_VMA_PGOFF vma_pgoff "`vm_area_struct.vm_pgoff`";
    OFF_VMA_FILE vma_file "`vm_area_struct.vm_file`";
    OFF_VMA_OPS vma_ops "`vm_area_struct.vm_ops`";
    OFF_INODE_MODE inode_mode "`inode.i_mode`";
    OFF_INODE_SIZE inode_size "`inode.i_size`";
    OFF_SUPER_MAGIC super_magic "`super_block.s_magic`";
    OFF_VMA_PRIVATE vma_private "`vm_area_struct.vm_private_data`";
    OFF_VMF_VMA vmf_vma "`vm_fault.vma`";
    OFF_VMF_ADDRESS vmf_address "`vm_fault.address`";
    OFF_VMF_FLAGS vmf_flags "`vm_fault.flags`";
    OFF_TLB_MM tlb_mm "`mmu_gather.mm`";
    OFF_PAGE_RCU_HEAD page_rcu_head "`page.rcu_head`";
    OFF_FILES_TABLE files_table "`files_struct.fdt`";
    OFF_TABLE_FILES table_files "`fdtable.fd`";
    OFF_TABLE_SIZE table_size "`fdtable.max_fds`";
    OFF_FILE_INODE file_inode "`file.f_inode`";
    OFF_FILE_PATH file_path "`file.f_path`";
    OFF_INODE_INO inode_ino "`inode.i_ino`";
    OFF_INODE_SB inode_sb "`inode.i_sb`";
    OFF_SUPER_DEV super_dev "`super_block.s_dev`";
    OFF_PATH_DENTRY path_dentry "`path.dentry`";
    OFF_DENTRY_NAME dentry_name "`dentry.d_name`";
    OFF_QSTR_HASH qstr_hash "`qstr.hash`";
    OFF_QSTR_NAME qstr_name "`qstr.name`";
    OFF_UFFD_MM uffd_mm "`userfaultfd_ctx.mm`";
    OFF_CSS_SET_DFL_CGRP css_set_dfl_cgrp "`css_set.dfl_cgrp`";
    OFF_CGROUP_KN cgroup_kn "`cgroup.kn`";
    OFF_CGROUP_ROOT cgroup_root "`cgroup.root`";
    OFF_ROOT_HIERARCHY_ID root_hierarchy_id "`cgroup_root.hierarchy_id`";
    OFF_KERNFS_ID kernfs_id "`kernfs_node.id`";
}
