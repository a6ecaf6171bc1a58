//! Copies from and to memory that other threads and processes read and write meanwhile.
//!
//! Every access is a relaxed atomic operation on a whole word, even if only some of its bytes are
//! copied: atomic accesses of different sizes would race with each other. So threads of one process
//! have no data race. The compiler cannot load a word twice, so a copy that has been checked stays
//! as it was checked, whatever another process writes.
//!
//! The fences order copies: after a [`read`] has seen any byte of a [`write`], later reads see all
//! writes before that one.

// Imported from `super`, so that `tests/loom/words.rs` can substitute others.
use super::atomic::{AtomicUsize, Ordering, fence};

/// The bytes of a word. Relaxed loads of this size work on read-only memory, too
/// (`std::sync::atomic`).
pub(super) const WORD_BYTES: usize = size_of::<usize>();

/// The number of times that a write of a part of a word is tried again because another writer
/// changed the word. Then the other writer's bytes may be lost: a hostile writer must not delay
/// this one for ever.
const MAX_TRIES: usize = 64;

/// The number of words that hold `len` bytes, or `None` if all their bytes exceed a `usize`.
pub(super) fn count(len: usize) -> Option<usize> {
    let count = len.div_ceil(WORD_BYTES);
    count.checked_mul(WORD_BYTES).map(|_| count)
}

/// Fills `out` with the bytes that start at `offset`.
///
/// # Panics
///
/// If the range exceeds the words.
pub(super) fn read(words: &[AtomicUsize], offset: usize, out: &mut [u8]) {
    let (mut words, start) = (&words[offset / WORD_BYTES..], offset % WORD_BYTES);
    let (head, whole) = out.split_at_mut(head_len(start, out.len()));
    if let (false, Some((first, others))) = (head.is_empty(), words.split_first()) {
        head.copy_from_slice(&load(first)[start..start + head.len()]);
        words = others;
    }
    let mut chunks = whole.chunks_exact_mut(WORD_BYTES);
    let (inside, after) = words.split_at(chunks.len());
    for (chunk, word) in chunks.by_ref().zip(inside) {
        chunk.copy_from_slice(&load(word));
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        tail.copy_from_slice(&load(&after[0])[..tail.len()]);
    }
    fence(Ordering::Acquire);
}

/// Copies `bytes` to `offset`. Bytes outside of the range are left alone, even in the same word.
///
/// # Panics
///
/// If the range exceeds the words.
pub(super) fn write(words: &[AtomicUsize], offset: usize, bytes: &[u8]) {
    fence(Ordering::Release);
    let (mut words, start) = (&words[offset / WORD_BYTES..], offset % WORD_BYTES);
    let (head, whole) = bytes.split_at(head_len(start, bytes.len()));
    if let (false, Some((first, others))) = (head.is_empty(), words.split_first()) {
        merge(first, start, head);
        words = others;
    }
    let chunks = whole.chunks_exact(WORD_BYTES);
    let (inside, after) = words.split_at(chunks.len());
    let tail = chunks.remainder();
    for (chunk, word) in chunks.zip(inside) {
        let mut new = [0; WORD_BYTES];
        new.copy_from_slice(chunk);
        word.store(usize::from_ne_bytes(new), Ordering::Relaxed);
    }
    if !tail.is_empty() {
        merge(&after[0], 0, tail);
    }
}

/// Returns how many of `len` bytes, the first at byte `start` of a word, belong to that word. Zero
/// if `start` is zero.
fn head_len(start: usize, len: usize) -> usize {
    if start == 0 { 0 } else { len.min(WORD_BYTES - start) }
}

fn load(word: &AtomicUsize) -> [u8; WORD_BYTES] {
    word.load(Ordering::Relaxed).to_ne_bytes()
}

/// Writes a part of a word.
fn merge(word: &AtomicUsize, at: usize, bytes: &[u8]) {
    let with = |old: usize| {
        let mut new = old.to_ne_bytes();
        new[at..at + bytes.len()].copy_from_slice(bytes);
        usize::from_ne_bytes(new)
    };
    let mut old = word.load(Ordering::Relaxed);
    for _ in 0..MAX_TRIES {
        match word.compare_exchange(old, with(old), Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
    word.store(with(old), Ordering::Relaxed);
}

#[cfg(all(test, not(strait_loom)))]
mod tests {
    use super::*;

    fn words_of(bytes: &[u8]) -> Vec<AtomicUsize> {
        let words: Vec<_> = (0..count(bytes.len()).unwrap()).map(|_| AtomicUsize::new(0)).collect();
        write(&words, 0, bytes);
        words
    }

    #[test]
    fn read_and_write_agree_with_slices_at_every_offset_and_length() {
        let mut model: Vec<u8> = (1..=40).collect();
        let words = words_of(&model);
        for offset in 0..=model.len() {
            for len in 0..=model.len() - offset {
                let mut out = vec![0; len];
                read(&words, offset, &mut out);
                assert_eq!(out, model[offset..offset + len]);
                let new: Vec<u8> = out.iter().map(|byte| byte.wrapping_mul(3)).collect();
                write(&words, offset, &new);
                model[offset..offset + len].copy_from_slice(&new);
                let mut all = vec![0; model.len()];
                read(&words, 0, &mut all);
                assert_eq!(all, model);
            }
        }
    }

    #[test]
    fn writers_of_neighbouring_bytes_keep_each_others() {
        let words = words_of(&[0; 16]);
        std::thread::scope(|scope| {
            for place in 0..4 {
                let words = &words;
                scope.spawn(move || {
                    // Four threads, so that fewer tries than there are never run out.
                    for round in 0..1000_u32 {
                        write(words, 3 * place, &round.to_ne_bytes()[..3]);
                        let mut out = [0; 3];
                        read(words, 3 * place, &mut out);
                        assert_eq!(out, round.to_ne_bytes()[..3]);
                    }
                });
            }
        });
    }

    #[test]
    fn count_rounds_up_and_refuses_what_overflows() {
        let counts = [0, 1, WORD_BYTES, WORD_BYTES + 1].map(|len| count(len).unwrap());
        assert_eq!(counts, [0, 1, 1, 2]);
        assert_eq!(count(usize::MAX), None);
    }
}
