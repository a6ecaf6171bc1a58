//! Permits to send: a number that senders make smaller and the receiver makes larger.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::PacketSender;
use crate::platform::{Permit, Wait};

#[derive(Debug, Default)]
struct Place {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    permits: usize,
    is_closed: bool,
}

/// The side that takes permits.
#[derive(Debug)]
pub struct PermitTaker(Arc<Place>);

/// The side that issues permits.
#[derive(Debug)]
pub struct PermitIssuer(Arc<Place>);

/// Makes a place for permits, with so many in it.
pub fn permits(count: usize) -> io::Result<(PermitTaker, PermitIssuer)> {
    let state = Mutex::new(State { permits: count, is_closed: false });
    let place = Arc::new(Place { state, ..Place::default() });
    Ok((PermitTaker(Arc::clone(&place)), PermitIssuer(place)))
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> bool {
        let mut state = self.lock();
        let is_any = state.permits > 0;
        state.permits -= usize::from(is_any);
        is_any
    }
}

impl PermitTaker {
    /// Takes a permit, if there is one.
    pub fn take(&self) -> io::Result<Permit> {
        Ok(match self.0.take() {
            true => Permit::Taken,
            false if self.0.lock().is_closed => Permit::Closed,
            false => Permit::None,
        })
    }

    /// Whether there is one, or it is known that there will be none.
    pub fn is_any(&self) -> bool {
        let state = self.0.lock();
        state.permits > 0 || state.is_closed
    }

    /// Whether both take them from the same place.
    pub fn is_same(&self, other: &PermitTaker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Waits until there may be a permit, or the receiver is gone. All are in the queue.
    pub fn wait(&self, _: &PacketSender, wait: Wait, _is_in_queue: bool) -> io::Result<()> {
        let state = self.0.lock();
        let is_waiting = |state: &mut State| state.permits == 0 && !state.is_closed;
        let news = &self.0.news;
        match wait.remaining() {
            None => drop(news.wait_while(state, is_waiting)),
            Some(left) => drop(news.wait_timeout_while(state, left, is_waiting)),
        }
        Ok(())
    }
}

impl PermitIssuer {
    /// How many permits there can be at a time.
    pub fn capacity(&self) -> usize {
        usize::MAX
    }

    /// Issues permits, and returns how many are to be issued later.
    pub fn issue(&self, count: usize) -> usize {
        let mut state = self.0.lock();
        state.permits = state.permits.saturating_add(count);
        drop(state);
        match count {
            0 => {}
            // If another sender takes the permit first, the one that this wakes waits again.
            1 => self.0.news.notify_one(),
            _ => self.0.news.notify_all(),
        }
        0
    }

    /// How many no sender has taken, if that can be told.
    pub fn unclaimed(&self) -> Option<usize> {
        Some(self.0.lock().permits)
    }

    /// Takes one back, if no sender has taken it.
    pub fn take_back(&self) -> bool {
        self.0.take()
    }
}

impl Drop for PermitIssuer {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.news.notify_all();
    }
}
