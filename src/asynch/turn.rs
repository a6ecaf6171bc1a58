//! Limits for how many items in a row a stream keeps its task running.

use std::task::{Context, Poll};

/// The maximum number of items in a row.
const ITEMS: u32 = 128;

/// Counts the items that a stream has yielded since it was pending.
#[derive(Debug, Default)]
pub(super) struct Turn {
    items: u32,
}

impl Turn {
    /// Whether other tasks are to run first. If so, the stream must return `Pending`; its task was
    /// woken already.
    pub(super) fn is_over(&mut self, cx: &Context<'_>) -> bool {
        if self.items < ITEMS {
            return false;
        }
        self.items = 0;
        cx.waker().wake_by_ref();
        true
    }

    /// Counts the item that the stream is about to return.
    pub(super) fn count<T>(&mut self, polled: &Poll<Option<T>>) {
        match polled {
            Poll::Ready(_) => self.items += 1,
            Poll::Pending => self.items = 0,
        }
    }
}
