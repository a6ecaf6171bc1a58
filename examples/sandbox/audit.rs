//! Checks a worker's answer about a file.
//!
//! A worker may have been taken over by its input, and may send anything. The parent cannot know
//! that a count is right, but it can bound a lie by the size of the file. The answer has no more
//! words than the bytes of the file can hold, and only valid words. It has no more messages than
//! there are words and bytes for.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use crate::count::MAX_WORD_BYTES;
use crate::protocol::{BYTES_PER_REPORT, MAX_WORDS_PER_REPLY, Totals};

/// The answer to one job, as far as it was received.
#[derive(Debug)]
pub(crate) struct Audit {
    len: u64,
    occurrences: u64,
    /// The number of bytes that the worker claims to have read.
    read: u64,
    /// A word may be in several parts.
    words: HashMap<String, u64>,
}

impl Audit {
    /// Begins to check the answer about a file of `len` bytes.
    pub(crate) fn new(len: u64) -> Audit {
        Audit { len, occurrences: 0, read: 0, words: HashMap::new() }
    }

    /// Adds a part of the answer.
    pub(crate) fn words(&mut self, words: Vec<(String, u64)>) -> Result<(), Violation> {
        if words.is_empty() {
            return Err(Violation::EmptyPart);
        }
        if words.len() > MAX_WORDS_PER_REPLY {
            return Err(Violation::PartTooLong);
        }
        for (word, count) in words {
            if !is_word(&word) {
                return Err(Violation::NotAWord);
            }
            self.occurrences = match self.occurrences.checked_add(count) {
                Some(sum) if count > 0 && sum <= self.most_words() => sum,
                _ => return Err(Violation::ImpossibleCount),
            };
            *self.words.entry(word).or_default() += count;
        }
        Ok(())
    }

    /// Records how many bytes were read.
    pub(crate) fn read(&mut self, bytes: u64) -> Result<(), Violation> {
        let least = self.read.saturating_add(BYTES_PER_REPORT);
        if !(least..=self.len).contains(&bytes) {
            return Err(Violation::ImpossibleProgress);
        }
        self.read = bytes;
        Ok(())
    }

    /// Checks the end of the answer.
    pub(crate) fn check(&self, totals: Totals) -> Result<(), Violation> {
        let possible = self.occurrences..=self.most_words();
        if totals.bytes > self.len || !possible.contains(&totals.words) {
            return Err(Violation::ImpossibleTotals);
        }
        Ok(())
    }

    /// Returns the words of the answer.
    pub(crate) fn into_words(self) -> HashMap<String, u64> {
        self.words
    }

    /// A word takes at least a byte, and so does the separator before the next one.
    fn most_words(&self) -> u64 {
        self.len.div_ceil(2)
    }
}

fn is_word(word: &str) -> bool {
    let lower = |c: char| c.is_alphanumeric() && c.to_lowercase().eq([c]);
    !word.is_empty() && word.len() <= MAX_WORD_BYTES && word.chars().all(lower)
}

/// Why an answer is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    EmptyPart,
    PartTooLong,
    NotAWord,
    ImpossibleCount,
    ImpossibleProgress,
    ImpossibleTotals,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Violation::EmptyPart => "it sent a part without words",
            Violation::PartTooLong => "it sent too many words at once",
            Violation::NotAWord => "it sent something that is not a word",
            Violation::ImpossibleCount => "it counted more words than the file can hold",
            Violation::ImpossibleProgress => "it reported progress that it can't have made",
            Violation::ImpossibleTotals => "its totals are impossible",
        })
    }
}

impl Error for Violation {}
