//! Counts words in a stream of arbitrary bytes that may end anywhere.
//!
//! A word is a run of letters and digits, in lower case. Invalid UTF-8 separates words, as if it
//! were U+FFFD. A word longer than [`MAX_WORD_BYTES`] is part of the total but not of the table.

use std::collections::HashMap;
use std::str;

/// The maximum length of a word in a table.
pub(crate) const MAX_WORD_BYTES: usize = 64;

/// The words seen so far.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    table: HashMap<String, u64>,
    total: u64,
    /// The word at the end of the bytes seen so far, which may continue in the next ones.
    word: String,
    word_is_too_long: bool,
}

impl Counter {
    /// Counts the words in `bytes` and returns how many bytes were used.
    ///
    /// All are used, except for at most three at the end that begin an incomplete character. The
    /// next call must get these again, before the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let error = match str::from_utf8(&bytes[used..]) {
                Ok(text) => {
                    self.feed_text(text);
                    return bytes.len();
                }
                Err(error) => error,
            };
            let valid = used..used + error.valid_up_to();
            used = valid.end;
            if let Ok(text) = str::from_utf8(&bytes[valid]) {
                self.feed_text(text);
            }
            match error.error_len() {
                Some(invalid) => used += invalid,
                None => return used,
            }
            self.end_word();
        }
    }

    /// Ends the last word: no bytes follow.
    pub(crate) fn finish(&mut self) {
        self.end_word();
    }

    /// Returns how many different words there were since the last [`take`](Counter::take).
    pub(crate) fn distinct(&self) -> usize {
        self.table.len()
    }

    /// Returns how many words there were in all.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Returns the words that ended since the last call, and how often each occurred.
    pub(crate) fn take(&mut self) -> HashMap<String, u64> {
        std::mem::take(&mut self.table)
    }

    fn feed_text(&mut self, text: &str) {
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                self.push(character.to_ascii_lowercase());
            } else if character.is_ascii() || !character.is_alphanumeric() {
                self.end_word();
            } else {
                // The lower case of one character can be several, not all of them letters: that of
                // a dotted capital I ends in a combining dot.
                character.to_lowercase().filter(|c| c.is_alphanumeric()).for_each(|c| self.push(c));
            }
        }
    }

    fn push(&mut self, character: char) {
        if self.word.len() + character.len_utf8() > MAX_WORD_BYTES {
            self.word_is_too_long = true;
        } else {
            self.word.push(character);
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        self.total += 1;
        if !self.word_is_too_long {
            match self.table.get_mut(&self.word) {
                Some(count) => *count += 1,
                None => {
                    self.table.insert(self.word.clone(), 1);
                }
            }
        }
        self.word.clear();
        self.word_is_too_long = false;
    }
}
