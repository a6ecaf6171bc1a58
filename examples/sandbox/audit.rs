//! Checks what a worker claims to have found in a file.
//!
//! A worker may have been taken over by its input and say anything. The parent can't know that a count is right, but it
//! can see to it that a lie stays within the file it is about: no more words than its bytes can hold, and every word a
//! word.

use std::error::Error;
use std::fmt;

use crate::count::MAX_WORD_BYTES;
use crate::protocol::{MAX_WORDS_PER_REPLY, Totals};

/// The answer to one job, as far as it has come.
#[derive(Debug)]
pub(crate) struct Audit {
    len: u64,
    occurrences: u64,
    /// A word that was in several parts may be here several times.
    words: Vec<(String, u64)>,
    /// At how many words such repetitions are added up.
    limit: usize,
}

/// Answers with fewer words are not worth the effort.
const SMALLEST_LIMIT: usize = 1 << 18;

impl Audit {
    /// Begins with the answer about a file of `len` bytes.
    pub(crate) fn new(len: u64) -> Audit {
        Audit { len, occurrences: 0, words: Vec::new(), limit: SMALLEST_LIMIT }
    }

    /// Adds a part of the answer.
    pub(crate) fn words(&mut self, words: Vec<(String, u64)>) -> Result<(), Violation> {
        if words.is_empty() {
            return Err(Violation::EmptyPart);
        }
        if words.len() > MAX_WORDS_PER_REPLY {
            return Err(Violation::PartTooLong);
        }
        for (word, count) in &words {
            if !is_word(word) {
                return Err(Violation::NotAWord);
            }
            self.occurrences = match self.occurrences.checked_add(*count) {
                Some(sum) if *count > 0 && sum <= self.most_words() => sum,
                _ => return Err(Violation::ImpossibleCount),
            };
        }
        self.words.extend(words);
        if self.words.len() > self.limit {
            self.add_up();
            // Doubling keeps the effort proportional to the answer.
            self.limit = SMALLEST_LIMIT.max(2 * self.words.len());
        }
        Ok(())
    }

    /// Ends the answer.
    pub(crate) fn done(self, totals: Totals) -> Result<Vec<(String, u64)>, Violation> {
        let possible = self.occurrences..=self.most_words();
        if totals.bytes > self.len || !possible.contains(&totals.words) {
            return Err(Violation::ImpossibleTotals);
        }
        Ok(self.words)
    }

    fn add_up(&mut self) {
        self.words.sort_unstable();
        self.words.dedup_by(|(word, count), (earlier, sum)| {
            let same = word == earlier;
            if same {
                *sum += *count;
            }
            same
        });
    }

    /// A word takes a byte, and so does what separates it from the next.
    fn most_words(&self) -> u64 {
        self.len.div_ceil(2)
    }
}

fn is_word(word: &str) -> bool {
    let lower = |c: char| c.is_alphanumeric() && c.to_lowercase().eq([c]);
    !word.is_empty() && word.len() <= MAX_WORD_BYTES && word.chars().all(lower)
}

/// What was wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    EmptyPart,
    PartTooLong,
    NotAWord,
    ImpossibleCount,
    ImpossibleTotals,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::EmptyPart => "it sent a part without words",
            Violation::PartTooLong => "it sent too many words at once",
            Violation::NotAWord => "it sent something that is not a word",
            Violation::ImpossibleCount => "it counted more words than the file can hold",
            Violation::ImpossibleTotals => "its totals are impossible",
        })
    }
}

impl Error for Violation {}
