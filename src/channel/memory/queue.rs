//! A queue of messages in memory, the small ones in one buffer, so that sending and receiving them
//! allocates nothing.

use std::collections::VecDeque;

use crate::channel::message::{Body, Packed, Purpose};
use crate::platform::Attachment;

/// Messages up to this size share one buffer; larger ones have one of their own.
const INLINE_BYTES: usize = 64 << 10;

/// The capacity in bytes that an empty queue keeps at most, ...
const KEPT_BYTES: usize = 1 << 20;

/// ... and the capacity in messages.
const KEPT_RECORDS: usize = 1 << 14;

/// Messages in order, the small ones in one buffer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    records: VecDeque<Record>,
    bytes: VecDeque<u8>,
}

#[derive(Debug)]
struct Record {
    content: Content,
    attachments: Vec<Attachment>,
}

#[derive(Debug)]
enum Content {
    /// So many bytes of the buffer.
    Inline(usize),
    Owned(Vec<u8>),
}

impl Queue {
    /// Returns the number of messages.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Returns whether there is no message.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Appends a message.
    pub(super) fn push(&mut self, body: &[u8], attachments: Vec<Attachment>) {
        let content = if body.len() <= INLINE_BYTES {
            self.bytes.extend(body);
            Content::Inline(body.len())
        } else {
            Content::Owned(body.to_vec())
        };
        self.records.push_back(Record { content, attachments });
    }

    /// Takes the first message, with `buffer` to put it in if it need not be kept.
    pub(super) fn pop(&mut self, buffer: &mut Vec<u8>, purpose: Purpose) -> Option<Packed> {
        let Record { content, attachments } = self.records.pop_front()?;
        let body = match (content, purpose) {
            (Content::Inline(len), Purpose::Look) => {
                buffer.clear();
                self.take(len, buffer);
                Body::Buffered
            }
            (content, _) => Body::Owned(self.content(content)),
        };
        if self.records.is_empty() {
            if self.bytes.capacity() > KEPT_BYTES {
                self.bytes = VecDeque::new();
            }
            if self.records.capacity() > KEPT_RECORDS {
                self.records = VecDeque::new();
            }
        }
        Some(Packed { body, attachments })
    }

    fn content(&mut self, content: Content) -> Vec<u8> {
        match content {
            Content::Owned(bytes) => bytes,
            Content::Inline(len) => {
                let mut bytes = Vec::with_capacity(len);
                self.take(len, &mut bytes);
                bytes
            }
        }
    }

    fn take(&mut self, len: usize, into: &mut Vec<u8>) {
        let (front, back) = self.bytes.as_slices();
        let in_front = len.min(front.len());
        into.extend_from_slice(&front[..in_front]);
        into.extend_from_slice(&back[..len - in_front]);
        self.bytes.drain(..len);
    }

    /// Returns all messages, in order.
    pub(super) fn into_messages(mut self) -> impl Iterator<Item = (Vec<u8>, Vec<Attachment>)> {
        std::iter::from_fn(move || {
            let Record { content, attachments } = self.records.pop_front()?;
            Some((self.content(content), attachments))
        })
    }
}
