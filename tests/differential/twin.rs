//! The same on std's channels: a model of each endpoint, in whichever process it is.

use super::*;

/// The model of a letter.
pub(super) struct Token {
    pub(super) tag: Tag,
    pub(super) carried: Vec<(Name, Twin)>,
}

/// The model of an endpoint.
pub(super) struct Twin {
    pub(super) channel: usize,
    pub(super) end: TwinEnd,
}

pub(super) enum TwinEnd {
    Sender(mpsc::Sender<Token>),
    Receiver(TwinReceiver),
}

pub(super) struct TwinReceiver {
    pub(super) tokens: mpsc::Receiver<Token>,
    /// Tokens that were taken to check whether a letter may have been received already.
    pub(super) taken: VecDeque<Token>,
    /// Whether it is in a letter.
    pub(super) is_travelling: Cell<bool>,
    /// Set when it is dropped there, or has not received everything: a sender with a ring
    /// notices that only when it looks.
    pub(super) died_unseen: Rc<Cell<bool>>,
}

impl Drop for TwinReceiver {
    fn drop(&mut self) {
        if self.is_travelling.get() || self.queued() > 0 {
            self.died_unseen.set(true);
        }
    }
}

impl TwinReceiver {
    /// The outcome on std, if it is not a letter.
    pub(super) fn at_end(&mut self) -> Option<Received> {
        if self.taken.is_empty() {
            match self.tokens.try_recv() {
                Ok(token) => self.taken.push_back(token),
                Err(mpsc::TryRecvError::Empty) => return Some(Received::Empty),
                Err(mpsc::TryRecvError::Disconnected) => return Some(Received::Disconnected),
            }
        }
        None
    }

    /// Checks that this letter is next, and takes the endpoints in it.
    pub(super) fn take(&mut self, received: &Received) -> Vec<(Name, Twin)> {
        let end = self.at_end();
        let Received::Letter(tag) = received else {
            assert_eq!(end.as_ref(), Some(received));
            return Vec::new();
        };
        assert_eq!(end, None, "{tag:?} came out of nothing");
        // All tokens of the step: the first one of any thread may be next.
        let step = self.taken[0].tag.step;
        while self.taken.back().is_some_and(|token| token.tag.step == step) {
            match self.tokens.try_recv() {
                Ok(token) => self.taken.push_back(token),
                Err(_) => break,
            }
        }
        let is_next = |token: &Token| (token.tag.step, token.tag.thread) == (step, tag.thread);
        let next = self.taken.iter().position(is_next);
        let token = next.and_then(|next| self.taken.remove(next));
        let token = token.unwrap_or_else(|| panic!("{tag:?} came before what is of step {step}"));
        assert_eq!(token.tag, *tag);
        for (_, twin) in &token.carried {
            twin.set_travelling(false);
        }
        token.carried
    }

    pub(super) fn queued(&mut self) -> usize {
        while let Ok(token) = self.tokens.try_recv() {
            self.taken.push_back(token);
        }
        self.taken.len()
    }
}

impl Twin {
    pub(super) fn set_travelling(&self, is_travelling: bool) {
        if let TwinEnd::Receiver(receiver) = &self.end {
            receiver.is_travelling.set(is_travelling);
        }
    }

    pub(super) fn sender(&self) -> &mpsc::Sender<Token> {
        match &self.end {
            TwinEnd::Sender(sender) => sender,
            TwinEnd::Receiver(_) => panic!("a receiver does not send"),
        }
    }

    pub(super) fn receiver(&mut self) -> &mut TwinReceiver {
        match &mut self.end {
            TwinEnd::Receiver(receiver) => receiver,
            TwinEnd::Sender(_) => panic!("a sender does not receive"),
        }
    }
}
