//! Copies of memory that is written meanwhile, in every order that weakly ordered
//! memory allows.
//!
//! ThreadSanitizer cannot show this: it does not know fences.

#[allow(dead_code, reason = "only the copies are of interest")]
#[path = "../../src/platform/words.rs"]
mod words;

use loom::sync::Arc;
// Also for `words`, which has the standard library's in the library.
use loom::sync::atomic::{self, AtomicUsize};
use loom::thread;

use crate::harness::watchdog;
use words::WORD_BYTES;

fn zeros(words: usize) -> Arc<Vec<AtomicUsize>> {
    Arc::new((0..words).map(|_| AtomicUsize::new(0)).collect())
}

fn read<const N: usize>(words: &[AtomicUsize], offset: usize) -> [u8; N] {
    let mut out = [0; N];
    words::read(words, offset, &mut out);
    out
}

/// Runs a test in every order.
#[track_caller]
fn in_every_order(test: impl Fn() + Send + Sync + 'static) {
    let _watchdog = watchdog();
    loom::model(test);
}

/// The value is a part of a word, a whole word, or parts of two.
#[test]
fn a_read_that_sees_a_write_is_followed_by_reads_of_all_earlier_writes() {
    const LEN: usize = WORD_BYTES;

    for offset in [0, 3] {
        in_every_order(move || {
            let words = zeros(3);
            let there = Arc::clone(&words);
            let writer = thread::spawn(move || {
                words::write(&there, offset, &[1; LEN]);
                words::write(&there, 2 * WORD_BYTES, &[1; LEN]);
            });
            if read(&words, 2 * WORD_BYTES) != [0; LEN] {
                assert_eq!(read(&words, offset), [1; LEN]);
            }
            writer.join().unwrap();
        });
    }
}

#[test]
fn writers_of_one_word_keep_each_others_bytes() {
    in_every_order(|| {
        let words = zeros(2);
        let there = Arc::clone(&words);
        let other = thread::spawn(move || words::write(&there, 0, &[1; WORD_BYTES - 2]));
        // The last bytes of this word, and the first of the next one.
        words::write(&words, WORD_BYTES - 2, &[2; 4]);
        other.join().unwrap();
        let mut expected = [0; 2 * WORD_BYTES];
        expected[..WORD_BYTES - 2].fill(1);
        expected[WORD_BYTES - 2..WORD_BYTES + 2].fill(2);
        assert_eq!(read(&words, 0), expected);
    });
}
