//! Writes the result. The same files give the same text, whatever happened to the workers.

use std::collections::HashMap;
use std::fmt;

use crate::protocol::Totals;

const MOST_FREQUENT: usize = 20;

/// The outcome of counting.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How often each word occurred, without stop words.
    pub(crate) table: HashMap<String, u64>,
    /// The numbers of bytes and words that were counted.
    pub(crate) totals: Totals,
    /// How many files were counted.
    pub(crate) counted: u64,
    /// How many files were not text.
    pub(crate) binary: u64,
    /// How many files were skipped: they could not be read, or too many workers failed at them.
    pub(crate) failed: u64,
    /// How many workers were started to replace others.
    pub(crate) replaced: u64,
    /// How many workers were killed by chaos.
    pub(crate) struck: u64,
}

/// The printed part of the outcome: the most frequent words and the totals.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    outcome: &'a Outcome,
    words: Vec<(&'a String, &'a u64)>,
}

impl Report<'_> {
    /// Finds the most frequent words.
    pub(crate) fn new(outcome: &Outcome) -> Report<'_> {
        Report { outcome, words: most_frequent(&outcome.table) }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, count) in &self.words {
            writeln!(f, "{count:>12}  {word}")?;
        }
        let Outcome { table, totals, counted, binary, failed, .. } = self.outcome;
        writeln!(f, "files: {counted} counted, {binary} not text, {failed} skipped")?;
        writeln!(f, "words: {}, {} different ones besides stop words", totals.words, table.len())?;
        writeln!(f, "bytes: {}", totals.bytes)
    }
}

/// Returns the most frequent words, by descending frequency. Equally frequent words are in
/// alphabetical order.
fn most_frequent(table: &HashMap<String, u64>) -> Vec<(&String, &u64)> {
    let order = |a: &(&String, &u64), b: &(&String, &u64)| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0));
    let mut words: Vec<_> = table.iter().collect();
    // Sorting some millions of words would take seconds.
    if words.len() > MOST_FREQUENT {
        words.select_nth_unstable_by(MOST_FREQUENT, order);
        words.truncate(MOST_FREQUENT);
    }
    words.sort_unstable_by(order);
    words
}
