//! Permits, as a counter that senders decrease and the receiver increases.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::InProcess;
use super::PacketSender;
use crate::platform::{Permit, Wait, contract};

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

/// Takes permits, for senders.
#[derive(Debug)]
pub struct PermitTaker(Arc<Place>);

/// Issues permits, for the receiver.
#[derive(Debug)]
pub struct PermitIssuer(Arc<Place>);

/// Makes a counter with `count` permits.
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

impl contract::PermitTaker<InProcess> for PermitTaker {
    fn take(&self) -> io::Result<Permit> {
        Ok(match self.0.take() {
            true => Permit::Taken,
            false if self.0.lock().is_closed => Permit::Closed,
            false => Permit::None,
        })
    }

    fn is_any(&self) -> bool {
        let state = self.0.lock();
        state.permits > 0 || state.is_closed
    }

    fn is_same(&self, other: &PermitTaker) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn wait(&self, _: &PacketSender, wait: Wait, _is_in_queue: bool) -> io::Result<()> {
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

impl contract::PermitIssuer for PermitIssuer {
    fn capacity(&self) -> usize {
        usize::MAX
    }

    fn issue(&self, count: usize) -> usize {
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

    fn unclaimed(&self) -> Option<usize> {
        Some(self.0.lock().permits)
    }

    fn take_back(&self) -> bool {
        self.0.take()
    }
}

impl Drop for PermitIssuer {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.news.notify_all();
    }
}
