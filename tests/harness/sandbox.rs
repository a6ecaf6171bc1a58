//! What a sandbox forbids.

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// Makes a system call fail for this thread, and those that it starts, for good.
pub(crate) fn forbid(system_call: i64, errno: Errno) {
    let filter = SeccompFilter::new(
        [(system_call, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.raw_os_error() as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}
