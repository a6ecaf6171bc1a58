//! The system calls that a worker may make: receive, send, wait, read, allocate, exit. All others
//! fail with `EPERM`.
//!
//! They fail and do not kill the worker, because the C library of another system may try a call
//! that is not in this list, and continue without it. For code that has taken over the worker it
//! makes no difference.

use std::error::Error;

/// Installs the filter and returns how many system calls are left.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub(super) fn restrict_system_calls() -> Result<String, Box<dyn Error>> {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

    let rules = filter::rules()?;
    let count = rules.len();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    let program: BpfProgram = filter.try_into()?;
    // For all threads: a thread that a library started before this would not be confined.
    seccompiler::apply_filter_all_threads(&program)?;
    Ok(format!("{count} system calls left"))
}

/// Fails: there is no filter for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub(super) fn restrict_system_calls() -> Result<String, Box<dyn Error>> {
    Err("the crate makes no filters for this processor".into())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod filter {
    use std::collections::BTreeMap;
    use std::process;

    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
    use seccompiler::{BackendError, SeccompCondition, SeccompRule};

    /// Allowed with any arguments. On their own they reach nothing that the worker does not have
    /// already.
    const ALLOWED: &[libc::c_long] = &[
        // Channels, and checks of what was received from them.
        libc::SYS_recvmsg,
        libc::SYS_sendmsg,
        libc::SYS_ppoll,
        libc::SYS_getsockopt,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_close,
        // Files that were received.
        libc::SYS_read,
        libc::SYS_lseek,
        // Memory.
        libc::SYS_brk,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_mincore,
        // Memory that a sender shares and this process does not map.
        libc::SYS_pread64,
        // Time, locks, random seeds for hash tables.
        libc::SYS_clock_gettime,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_getrandom,
        // An orderly exit.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];

    pub(super) fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
        let mut rules = BTreeMap::new();
        for &call in ALLOWED {
            // A call without rules is allowed with any arguments.
            rules.insert(call, Vec::new());
        }

        let executable = libc::PROT_EXEC.unsigned_abs().into();
        let no_code =
            || SeccompRule::new(vec![SeccompCondition::new(2, Dword, MaskedEq(executable), 0)?]);
        rules.insert(libc::SYS_mmap, vec![no_code()?]);
        rules.insert(libc::SYS_mprotect, vec![no_code()?]);

        let only = |argument, value: libc::c_int| {
            let value = value.unsigned_abs().into();
            SeccompRule::new(vec![SeccompCondition::new(argument, Dword, Eq, value)?])
        };
        // Queries of a file descriptor, and a duplicate of it.
        let mut commands = Vec::new();
        for command in [libc::F_GETFD, libc::F_GETFL, libc::F_GET_SEALS, libc::F_DUPFD_CLOEXEC] {
            commands.push(only(1, command)?);
        }
        rules.insert(libc::SYS_fcntl, commands);

        // `abort` sends a signal to this process. No other process can get one.
        let myself = process::id().into();
        let suicide = SeccompRule::new(vec![SeccompCondition::new(0, Qword, Eq, myself)?])?;
        rules.insert(libc::SYS_tgkill, vec![suicide]);
        Ok(rules)
    }
}
