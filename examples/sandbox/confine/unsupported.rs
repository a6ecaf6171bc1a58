//! Where nothing is known that would confine a process.

use super::Measure;

/// Reports that there is nothing to apply.
pub(crate) fn confine() -> Vec<Measure> {
    let nothing = "this example knows none for this operating system";
    vec![Measure::new("confinement", Err(nothing.into()))]
}
