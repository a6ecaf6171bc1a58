//! Takes all rights from a worker that it does not need to count words, before it receives a file.
//!
//! Each measure is applied on its own. Measures that the operating system or the kernel does not
//! have are reported, not hidden.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(not(target_os = "linux"))]
mod unsupported;

use std::error::Error;

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
pub(crate) use linux::confine;
#[cfg(not(target_os = "linux"))]
pub(crate) use unsupported::confine;

/// One measure, and its outcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    /// The name of the measure.
    pub(crate) name: String,
    /// What the measure does here, or why it does nothing.
    pub(crate) outcome: Result<String, String>,
}

impl Measure {
    pub(crate) fn new(name: &str, outcome: Result<String, Box<dyn Error>>) -> Measure {
        let outcome = outcome.map_err(|error| error.to_string());
        Measure { name: String::from(name), outcome }
    }
}

/// Returns whether a measure prevents a worker from opening files. Limits alone do not.
pub(crate) fn is_locked_up(measures: &[Measure]) -> bool {
    let locks = |measure: &Measure| matches!(&*measure.name, "Landlock" | "seccomp");
    measures.iter().any(|measure| locks(measure) && measure.outcome.is_ok())
}
