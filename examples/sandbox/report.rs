//! Writes what was found. The same files give the same text, whatever happened to the workers.

use std::collections::HashMap;
use std::io::{self, Write};

use crate::protocol::Totals;

const MOST_FREQUENT: usize = 20;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How often each word occurred, stop words left out.
    pub(crate) table: HashMap<String, u64>,
    /// How much was counted.
    pub(crate) totals: Totals,
    /// How many files that was.
    pub(crate) counted: u64,
    /// How many files were no text.
    pub(crate) binary: u64,
    /// How many files could not be read, and how many were given up.
    pub(crate) failed: u64,
    /// How many workers were started in place of others.
    pub(crate) replaced: u64,
    /// How many workers chaos killed.
    pub(crate) struck: u64,
}

/// Writes the most frequent words and the totals.
pub(crate) fn write(outcome: &Outcome, out: &mut impl Write) -> io::Result<()> {
    let mut words: Vec<_> = outcome.table.iter().collect();
    words.sort_unstable_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    for (word, count) in words.iter().take(MOST_FREQUENT) {
        writeln!(out, "{count:>12}  {word}")?;
    }
    let Outcome { table, totals, counted, binary, failed, .. } = outcome;
    writeln!(out, "files: {counted} counted, {binary} not text, {failed} skipped")?;
    writeln!(out, "words: {}, {} different ones besides stop words", totals.words, table.len())?;
    writeln!(out, "bytes: {}", totals.bytes)
}
