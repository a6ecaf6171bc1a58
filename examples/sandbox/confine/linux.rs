//! The measures on Linux: no new privileges, resource limits, Landlock, seccomp. None of them needs
//! a privilege.

use std::error::Error;

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::{Measure, seccomp};

/// The ABI that this was tested with. The crate leaves out what the kernel lacks.
const LANDLOCK_ABI: ABI = ABI::V6;

/// The limits of a worker.
const LIMITS: [(Resource, u64); 5] = [
    // No core dump: it may have private text in it.
    (Resource::Core, 0),
    // The worker cannot make a file grow.
    (Resource::Fsize, 0),
    // The worker needs seven. Handles in flight count, too, for all processes of the user.
    (Resource::Nofile, 64),
    // No new process and no new thread.
    (Resource::Nproc, 0),
    // A worker sends its tables to the parent long before they are so large.
    (Resource::As, 1 << 30),
];

/// Applies all measures. The order matters: seccomp forbids system calls that the others need.
pub(crate) fn confine() -> Vec<Measure> {
    vec![
        Measure::new("no_new_privs", no_new_privileges()),
        Measure::new("parent death signal", die_with_the_parent()),
        Measure::new("resource limits", limit_resources()),
        Measure::new("Landlock", restrict_files_and_network()),
        Measure::new("seccomp", seccomp::restrict_system_calls()),
    ]
}

fn no_new_privileges() -> Result<String, Box<dyn Error>> {
    rustix::thread::set_no_new_privs(true)?;
    Ok(String::from("on"))
}

/// A worker that hangs would not notice that its parent has ended.
fn die_with_the_parent() -> Result<String, Box<dyn Error>> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    Ok(String::from("SIGKILL"))
}

fn limit_resources() -> Result<String, Box<dyn Error>> {
    for (resource, limit) in LIMITS {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    Ok(String::from("core, file size, open files, processes, address space"))
}

/// Handles every right of the ABI and grants none. Files that are already open stay usable, and so
/// do files that are received in messages. This is how a worker can read files.
fn restrict_files_and_network() -> Result<String, Box<dyn Error>> {
    let restrict = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
            .handle_access(AccessNet::from_all(LANDLOCK_ABI))?
            .scope(Scope::from_all(LANDLOCK_ABI))?
            .create()?
            .restrict_self()
    };
    let status = restrict()?;
    let abi = match status.landlock {
        LandlockStatus::NotImplemented => return Err("not built into this kernel".into()),
        LandlockStatus::NotEnabled => return Err("disabled in this kernel".into()),
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(format!("all of ABI {LANDLOCK_ABI}")),
        RulesetStatus::PartiallyEnforced => Ok(format!("ABI {abi}, of ABI {LANDLOCK_ABI}")),
        RulesetStatus::NotEnforced => Err("this kernel enforces nothing".into()),
    }
}
