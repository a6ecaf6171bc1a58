//! iceoryx2: services of one publisher and one subscriber, configured to lose nothing. A
//! message is the image of a value in memory, or a slice.
//!
//! A subscriber cannot sleep, but next to each service there can be one of events, and their
//! listener can. So there are two contenders: one polls and leaves out events, the other
//! notifies after each message as a user would.
//!
//! They are missing in rows in which an endpoint is moved, and in those with sets: ports cannot
//! leave their process, and a wait is for events, not values. `Vec<u8>` is not an image; as
//! slices, bytes have their own rows.

use std::cell::LazyCell;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use iceoryx2::node::NodeCreationFailure;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, EventId, IceoryxSend, LogLevel, Node, NodeBuilder, PortFactory as _,
    SignalHandlingMode, ZeroCopySend, ipc, set_log_level,
};
use iceoryx2::service::port_factory::{event, publish_subscribe::PortFactory};

use crate::contender::{
    Bytes, Channel, Contender, Fresh, Home, Link, Outcome, Receiver, Sender, Start,
};
use crate::contenders::polling::Polling;

pub struct Iceoryx2<W>(PhantomData<W>);

impl<W: Wait> Contender for Iceoryx2<W> {
    const NAME: &'static str = W::NAME;
    const HOME: Home = Home::Process;
    const POLLS: bool = W::POLLS;
}

/// How a receiver waits for a message, and how a sender notifies it.
pub trait Wait: Sized + 'static {
    const NAME: &'static str;
    const POLLS: bool;

    /// The sender's part.
    type Bell;

    fn bell(name: &str) -> Outcome<Self::Bell>;

    fn ring(bell: &Self::Bell) -> Outcome<()>;

    fn new(name: &str) -> Outcome<Self>;

    /// Waits for some time or a notification. Returns whether the sender may have ended.
    fn wait(&mut self) -> Outcome<bool>;
}

impl Wait for Polling {
    const NAME: &'static str = "iceoryx2 (polls)";
    const POLLS: bool = true;

    type Bell = ();

    fn bell(_: &str) -> Outcome<()> {
        Ok(())
    }

    fn ring((): &()) -> Outcome<()> {
        Ok(())
    }

    fn new(_: &str) -> Outcome<Self> {
        Ok(Self::default())
    }

    fn wait(&mut self) -> Outcome<bool> {
        Ok(self.pause())
    }
}

pub struct Events(Listener<ipc::Service>);

impl Wait for Events {
    const NAME: &'static str = "iceoryx2 (events)";
    const POLLS: bool = false;

    type Bell = Notifier<ipc::Service>;

    fn bell(name: &str) -> Outcome<Self::Bell> {
        Ok(events(name)?.notifier_builder().create()?)
    }

    fn ring(bell: &Self::Bell) -> Outcome<()> {
        bell.notify()?;
        Ok(())
    }

    fn new(name: &str) -> Outcome<Self> {
        Ok(Self(events(name)?.listener_builder().create()?))
    }

    fn wait(&mut self) -> Outcome<bool> {
        self.0.blocking_wait(|_| ())?;
        Ok(true)
    }
}

/// How many messages wait, where many are sent in a row.
const DEEP: usize = 256;
/// How many bytes wait. A few messages, if they are as long as that.
const WIDE: usize = 4 * 1024 * 1024;

type Service<P> = PortFactory<ipc::Service, P, ()>;

pub struct Source<P: IceoryxSend + Debug + ?Sized + 'static, W: Wait> {
    // It is dropped before the notifier, which reports that.
    publisher: Publisher<ipc::Service, P, ()>,
    bell: W::Bell,
}

pub struct Sink<P: IceoryxSend + Debug + ?Sized + 'static, W> {
    subscriber: Subscriber<ipc::Service, P, ()>,
    wait: W,
    service: Service<P>,
}

impl<P: IceoryxSend + Debug + ?Sized, W: Wait> Sink<P, W> {
    /// `None` when the publisher has ended, and all its messages have been received.
    fn next<R>(
        &mut self,
        receive: impl Fn(&Subscriber<ipc::Service, P, ()>) -> Outcome<Option<R>>,
    ) -> Outcome<Option<R>> {
        let mut closed = false;
        loop {
            if let Some(received) = receive(&self.subscriber)? {
                return Ok(Some(received));
            }
            if closed {
                return Ok(None);
            }
            // Messages before the end are still to be received.
            closed = self.wait.wait()? && publishers(&self.service) == 0;
        }
    }
}

impl<W: Wait, T: ZeroCopySend + Debug + Copy + 'static> Channel<T> for Iceoryx2<W> {
    type Sender = Source<T, W>;
    type Receiver = Sink<T, W>;

    fn send(sender: &mut Self::Sender, value: T) -> Outcome<()> {
        match sender.publisher.loan_uninit()?.write_payload(value).send()? {
            0 => Err("the subscriber is gone".into()),
            _ => W::ring(&sender.bell),
        }
    }

    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>> {
        receiver.next(|subscriber| Ok(subscriber.receive()?.map(|sample| *sample)))
    }
}

impl<W: Wait, Up, Down> Link<Up, Down> for Iceoryx2<W>
where
    Up: ZeroCopySend + Debug + Copy + 'static,
    Down: ZeroCopySend + Debug + Copy + 'static,
{
    fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
        let name = unused_name();
        let [up, down] = both_ways(&name);
        let service = values(&up, DEEP)?;
        let ends = (source(&service, &up)?, sink(values(&down, DEEP)?, &down)?);
        start(&name)?;
        meet(&service, &ends.1.service);
        Ok(ends)
    }

    fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
        let [up, down] = both_ways(name);
        let receiver = sink(values(&up, DEEP)?, &up)?;
        Ok((source(&values(&down, DEEP)?, &down)?, receiver))
    }
}

impl<W: Wait> Bytes for Iceoryx2<W> {
    type Sender = Source<[u8], W>;
    type Receiver = Sink<[u8], W>;

    fn serve(start: Start<'_>, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        let name = unused_name();
        let [up, down] = both_ways(&name);
        let service = slices(&up, longest)?;
        let sender = slice_source(&service, &up, longest)?;
        let ends: (_, Self::Receiver) = (sender, sink(slices(&down, longest)?, &down)?);
        start(&name)?;
        meet(&service, &ends.1.service);
        Ok(ends)
    }

    fn join(name: &str, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        let [up, down] = both_ways(name);
        let receiver = sink(slices(&up, longest)?, &up)?;
        Ok((slice_source(&slices(&down, longest)?, &down, longest)?, receiver))
    }

    fn send(sender: &mut Self::Sender, bytes: &[u8]) -> Outcome<()> {
        match sender.publisher.loan_slice_uninit(bytes.len())?.write_from_slice(bytes).send()? {
            0 => Err("the subscriber is gone".into()),
            _ => W::ring(&sender.bell),
        }
    }

    /// Returns a copy, as every contender does: what the subscriber borrows goes back to the
    /// publisher.
    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<Vec<u8>>> {
        receiver.next(|subscriber| Ok(subscriber.receive()?.map(|sample| sample.to_vec())))
    }
}

impl<W: Wait, T: ZeroCopySend + Debug + Copy + 'static> Fresh<T> for Iceoryx2<W> {
    fn channel() -> Outcome<(Sender<Self, T>, Receiver<Self, T>)> {
        let name = unused_name();
        let service = values(&name, 1)?;
        Ok((source(&service, &name)?, sink(service, &name)?))
    }
}

fn source<T: ZeroCopySend + Debug + 'static, W: Wait>(
    service: &Service<T>,
    name: &str,
) -> Outcome<Source<T, W>> {
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()?;
    Ok(Source { publisher, bell: W::bell(name)? })
}

fn slice_source<W: Wait>(
    service: &Service<[u8]>,
    name: &str,
    longest: usize,
) -> Outcome<Source<[u8], W>> {
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .initial_max_slice_len(longest)
        .create()?;
    Ok(Source { publisher, bell: W::bell(name)? })
}

/// The listener exists as soon as the subscriber does: a publisher that sees the
/// subscriber may ring.
fn sink<P: IceoryxSend + Debug + ?Sized, W: Wait>(
    service: Service<P>,
    name: &str,
) -> Outcome<Sink<P, W>> {
    let wait = W::new(name)?;
    Ok(Sink { subscriber: service.subscriber_builder().create()?, wait, service })
}

fn values<T: ZeroCopySend + Debug + 'static>(name: &str, depth: usize) -> Outcome<Service<T>> {
    with_node(|node| {
        Ok(node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<T>()
            .max_nodes(2)
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size(depth)
            .subscriber_max_borrowed_samples(1)
            .open_or_create()?)
    })
}

fn slices(name: &str, longest: usize) -> Outcome<Service<[u8]>> {
    with_node(|node| {
        Ok(node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<[u8]>()
            .max_nodes(2)
            .max_publishers(1)
            .max_subscribers(1)
            .history_size(0)
            .enable_safe_overflow(false)
            .subscriber_max_buffer_size((WIDE / longest).clamp(2, DEEP))
            .subscriber_max_borrowed_samples(1)
            .open_or_create()?)
    })
}

fn events(name: &str) -> Outcome<event::PortFactory<ipc::Service>> {
    with_node(|node| {
        Ok(node
            .service_builder(&format!("{name}/events").as_str().try_into()?)
            .event()
            .max_nodes(2)
            .max_notifiers(1)
            .max_listeners(1)
            .notifier_dropped_event(EventId::new(1))
            .open_or_create()?)
    })
}

/// A process needs one.
fn with_node<R>(work: impl FnOnce(&Node<ipc::Service>) -> Outcome<R>) -> Outcome<R> {
    type Made = Result<Node<ipc::Service>, NodeCreationFailure>;
    thread_local! {
        static NODE: LazyCell<Made> = const { LazyCell::new(|| {
            set_log_level(LogLevel::Error);
            NodeBuilder::new().signal_handling_mode(SignalHandlingMode::Disabled).create()
        }) };
    }
    NODE.with(|node| match &**node {
        Ok(node) => work(node),
        Err(error) => Err(format!("no node: {error}").into()),
    })
}

fn unused_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("strait-peers/{}/{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The names of the services.
fn both_ways(name: &str) -> [String; 2] {
    ["up", "down"].map(|direction| format!("{name}/{direction}"))
}

fn publishers<P: IceoryxSend + Debug + ?Sized>(service: &Service<P>) -> usize {
    service.dynamic_config().number_of_publishers()
}

/// Waits for the other process's subscriber and publisher: a sample that is published before
/// there is a subscriber is discarded.
fn meet<U, D>(up: &Service<U>, down: &Service<D>)
where
    U: IceoryxSend + Debug + ?Sized,
    D: IceoryxSend + Debug + ?Sized,
{
    while up.dynamic_config().number_of_subscribers() == 0 || publishers(down) == 0 {
        thread::yield_now();
    }
}
