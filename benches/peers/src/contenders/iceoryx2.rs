//! iceoryx2: services of one publisher and one subscriber, made not to lose anything. What is sent is the image of a
//! value in memory, or a slice.
//!
//! A subscriber polls. iceoryx2 can wake one up, through a second service for which a sender pays a system call a
//! message; its users that care for these figures poll.
//!
//! It takes part in no row in which an end travels or which has a set: its ports stay in their process, and what it can
//! wait on are events, not values. `Vec<u8>` is not an image; as slices, bytes have their own rows.

use std::cell::LazyCell;
use std::fmt::Debug;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use iceoryx2::node::NodeCreationFailure;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    BackpressureStrategy, IceoryxSend, LogLevel, Node, NodeBuilder, PortFactory as _,
    SignalHandlingMode, ZeroCopySend, ipc, set_log_level,
};
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::contender::{
    Bytes, Channel, Contender, Fresh, Home, Link, Outcome, Receiver, Sender, Start,
};
use crate::contenders::polling::Polling;

pub struct Iceoryx2;

impl Contender for Iceoryx2 {
    const NAME: &'static str = "iceoryx2 (polls)";
    const HOME: Home = Home::Process;
    const POLLS: bool = true;
}

/// How many messages wait, where many are sent in a row.
const DEEP: usize = 256;
/// How many bytes wait. A few messages, if they are as long as that.
const WIDE: usize = 4 * 1024 * 1024;

type Service<P> = PortFactory<ipc::Service, P, ()>;

pub struct Port<P: IceoryxSend + Debug + ?Sized + 'static> {
    subscriber: Subscriber<ipc::Service, P, ()>,
    service: Service<P>,
}

impl<T: ZeroCopySend + Debug + Copy + 'static> Channel<T> for Iceoryx2 {
    type Sender = Publisher<ipc::Service, T, ()>;
    type Receiver = Port<T>;

    fn send(sender: &mut Self::Sender, value: T) -> Outcome<()> {
        match sender.loan_uninit()?.write_payload(value).send()? {
            0 => Err("the subscriber is gone".into()),
            _ => Ok(()),
        }
    }

    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<T>> {
        let mut polling = Polling::default();
        let mut closed = false;
        loop {
            if let Some(sample) = receiver.subscriber.receive()? {
                return Ok(Some(*sample));
            }
            if closed {
                return Ok(None);
            }
            // What came before the end is still to be received.
            closed = polling.pause() && publishers(&receiver.service) == 0;
        }
    }
}

impl<Up, Down> Link<Up, Down> for Iceoryx2
where
    Up: ZeroCopySend + Debug + Copy + 'static,
    Down: ZeroCopySend + Debug + Copy + 'static,
{
    fn serve(start: Start<'_>) -> Outcome<(Sender<Self, Up>, Receiver<Self, Down>)> {
        let name = unused_name();
        let (up, down) =
            (values(&format!("{name}/up"), DEEP)?, values(&format!("{name}/down"), DEEP)?);
        let ends = (up.publisher_builder().create()?, down.subscriber_builder().create()?);
        start(&name)?;
        meet(&up, &down);
        Ok((ends.0, Port { subscriber: ends.1, service: down }))
    }

    fn join(name: &str) -> Outcome<(Sender<Self, Down>, Receiver<Self, Up>)> {
        let (up, down) =
            (values(&format!("{name}/up"), DEEP)?, values(&format!("{name}/down"), DEEP)?);
        let subscriber = up.subscriber_builder().create()?;
        Ok((down.publisher_builder().create()?, Port { subscriber, service: up }))
    }
}

impl Bytes for Iceoryx2 {
    type Sender = Publisher<ipc::Service, [u8], ()>;
    type Receiver = Port<[u8]>;

    fn serve(start: Start<'_>, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        let name = unused_name();
        let up = slices(&format!("{name}/up"), longest)?;
        let down = slices(&format!("{name}/down"), longest)?;
        let sender = up
            .publisher_builder()
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .initial_max_slice_len(longest)
            .create()?;
        let subscriber = down.subscriber_builder().create()?;
        start(&name)?;
        meet(&up, &down);
        Ok((sender, Port { subscriber, service: down }))
    }

    fn join(name: &str, longest: usize) -> Outcome<(Self::Sender, Self::Receiver)> {
        let up = slices(&format!("{name}/up"), longest)?;
        let down = slices(&format!("{name}/down"), longest)?;
        let subscriber = up.subscriber_builder().create()?;
        let sender = down.publisher_builder().initial_max_slice_len(longest).create()?;
        Ok((sender, Port { subscriber, service: up }))
    }

    fn send(sender: &mut Self::Sender, bytes: &[u8]) -> Outcome<()> {
        match sender.loan_slice_uninit(bytes.len())?.write_from_slice(bytes).send()? {
            0 => Err("the subscriber is gone".into()),
            _ => Ok(()),
        }
    }

    /// A copy, as everybody gets: what the subscriber borrows goes back to the publisher.
    fn recv(receiver: &mut Self::Receiver) -> Outcome<Option<Vec<u8>>> {
        let mut polling = Polling::default();
        let mut closed = false;
        loop {
            if let Some(sample) = receiver.subscriber.receive()? {
                return Ok(Some(sample.to_vec()));
            }
            if closed {
                return Ok(None);
            }
            closed = polling.pause() && publishers(&receiver.service) == 0;
        }
    }
}

impl<T: ZeroCopySend + Debug + Copy + 'static> Fresh<T> for Iceoryx2 {
    fn channel() -> Outcome<(Sender<Self, T>, Receiver<Self, T>)> {
        let service = values(&unused_name(), 1)?;
        let publisher = service.publisher_builder().create()?;
        let subscriber = service.subscriber_builder().create()?;
        Ok((publisher, Port { subscriber, service }))
    }
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

fn publishers<P: IceoryxSend + Debug + ?Sized>(service: &Service<P>) -> usize {
    service.dynamic_config().number_of_publishers()
}

/// What is published before there is a subscriber reaches nobody.
fn meet<U, D>(up: &Service<U>, down: &Service<D>)
where
    U: IceoryxSend + Debug + ?Sized,
    D: IceoryxSend + Debug + ?Sized,
{
    while up.dynamic_config().number_of_subscribers() == 0 || publishers(down) == 0 {
        thread::yield_now();
    }
}
