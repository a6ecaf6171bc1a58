//! Takes from a worker everything it doesn't need to count words, before it sees any.
//!
//! Each measure is applied on its own; what an operating system or a kernel doesn't have is reported, not hidden.

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

/// One measure, and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measure {
    /// What it is called.
    pub(crate) name: String,
    /// What it does here, or why it does nothing.
    pub(crate) outcome: Result<String, String>,
}

impl Measure {
    pub(crate) fn new(name: &str, outcome: Result<String, Box<dyn Error>>) -> Measure {
        let outcome = outcome.map_err(|error| error.to_string());
        Measure { name: String::from(name), outcome }
    }
}

/// Whether something keeps a worker from opening files. Limits alone don't.
pub(crate) fn is_locked_up(measures: &[Measure]) -> bool {
    let locks = |measure: &Measure| matches!(&*measure.name, "Landlock" | "seccomp");
    measures.iter().any(|measure| locks(measure) && measure.outcome.is_ok())
}
