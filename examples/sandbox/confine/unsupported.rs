//! Operating systems for which this example has no way to confine a process.

use super::Measure;

/// Reports that there is nothing to apply.
pub(crate) fn confine() -> Vec<Measure> {
    let nothing = "this example has none for this operating system";
    vec![Measure::new("confinement", Err(nothing.into()))]
}
