//! Values that a forked child must create anew: a lock that a thread of its parent holds would
//! never be released in the child.
//!
//! # Safety
//!
//! The list only grows until it is dropped. A node is published by a successful compare-and-swap,
//! is not written to after that, and is freed only with the list. So a reference to its content may
//! live as long as a borrow of the list.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::fork_generation;

/// A fork generation that no process has.
const NO_PROCESS: u64 = 0;

/// A value of the process that created it, and one of each process that was forked from that one
/// and calls [`get`](PerProcess::get). No operation blocks on another thread.
#[derive(Debug)]
pub struct PerProcess<T> {
    mark: u64,
    value: T,
    /// The values of forked children, the latest first.
    forked: AtomicPtr<Node<T>>,
}

#[derive(Debug)]
struct Node<T> {
    mark: u64,
    value: T,
    older: *mut Node<T>,
}

// SAFETY: it owns its values.
unsafe impl<T: Send> Send for PerProcess<T> {}
// SAFETY: it lends its values to several threads, and one thread drops values that another created.
unsafe impl<T: Send + Sync> Sync for PerProcess<T> {}

/// Creates the value of this process.
impl<T: Default> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        let forked = AtomicPtr::new(ptr::null_mut());
        PerProcess { mark: fork_generation(), value: T::default(), forked }
    }
}

impl<T> PerProcess<T> {
    /// Returns one that no process has created, for a `static`: every process that calls `get` is
    /// treated as a forked child, and none gets `unused`.
    pub const fn of_no_process(unused: T) -> PerProcess<T> {
        PerProcess { mark: NO_PROCESS, value: unused, forked: AtomicPtr::new(ptr::null_mut()) }
    }
}

impl<T: Default> PerProcess<T> {
    /// Returns the value of this process.
    #[inline]
    pub fn get(&self) -> &T {
        let mark = fork_generation();
        if self.mark == mark { &self.value } else { self.get_forked(mark) }
    }

    /// Returns the value of this process, which was forked and may not have one yet.
    #[cold]
    fn get_forked(&self, mark: u64) -> &T {
        let mut newest = self.forked.load(Ordering::Acquire);
        // SAFETY: a pointer in the list is null, or to a node that lives as long as `self`.
        let known = unsafe { newest.as_ref() };
        // The process's own value, if there is one, is before those of its ancestors.
        if let Some(known) = known.filter(|known| known.mark == mark) {
            return &known.value;
        }
        let new = Box::into_raw(Box::new(Node { mark, value: T::default(), older: newest }));
        loop {
            // SAFETY: as above.
            let known = unsafe { newest.as_ref() };
            // Another thread may have published one meanwhile.
            if let Some(known) = known.filter(|known| known.mark == mark) {
                // SAFETY: it was made by a `Box`. It was not published, so no other thread has a
                // pointer to it.
                drop(unsafe { Box::from_raw(new) });
                return &known.value;
            }
            match self.forked.compare_exchange(newest, new, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: it is in the list now.
                Ok(_) => return unsafe { &(*new).value },
                Err(newer) => {
                    newest = newer;
                    // SAFETY: as above; no other thread reads or writes it.
                    unsafe { (*new).older = newer };
                }
            }
        }
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        let mut next = *self.forked.get_mut();
        while !next.is_null() {
            // SAFETY: each node was made by a `Box` and is in the list once. A list that is dropped
            // is not borrowed.
            let node = unsafe { Box::from_raw(next) };
            next = node.older;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    #[test]
    fn a_process_has_one_value() {
        let values: PerProcess<AtomicUsize> = PerProcess::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| values.get().fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(values.get().load(Ordering::Relaxed), 4);
    }

    #[test]
    fn another_process_has_its_own() {
        let mut values: PerProcess<AtomicUsize> = PerProcess::default();
        values.get().store(1, Ordering::Relaxed);
        // As a forked child finds it.
        values.mark -= 1;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| values.get().fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(values.get().load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_static_has_one_value_in_a_process() {
        static VALUES: PerProcess<AtomicUsize> = PerProcess::of_no_process(AtomicUsize::new(7));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| VALUES.get().fetch_add(1, Ordering::Relaxed));
            }
        });
        assert_eq!(VALUES.get().load(Ordering::Relaxed), 4);
    }
}
