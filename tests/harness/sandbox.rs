//! What a sandbox forbids.

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Makes a system call fail for this thread, and those that it starts, for good.
pub(crate) fn forbid(system_call: impl Into<i64>, errno: Errno) {
    filter(system_call, Vec::new(), SeccompAction::Errno(errno.raw_os_error() as u32));
}

/// Ends the process if this thread, or one that it starts, makes a system call.
pub(crate) fn kill_for(system_call: impl Into<i64>) {
    filter(system_call, Vec::new(), SeccompAction::KillProcess);
}

/// Makes `mmap` fail where files are mapped at offsets that are no multiples of 64 KiB, for
/// this thread and those that it starts.
pub(crate) fn forbid_unaligned_mappings() {
    const OFFSET: u8 = 5;

    let rule = |page: u64| {
        let is_page = SeccompCondition::new(
            OFFSET,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(0xffff),
            page << 12,
        );
        SeccompRule::new(vec![is_page.unwrap()]).unwrap()
    };
    let errno = Errno::INVAL.raw_os_error() as u32;
    filter(libc::SYS_mmap, (1..16).map(rule).collect(), SeccompAction::Errno(errno));
}

fn filter(system_call: impl Into<i64>, rules: Vec<SeccompRule>, action: SeccompAction) {
    let filter = SeccompFilter::new(
        [(system_call.into(), rules)].into(),
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}
