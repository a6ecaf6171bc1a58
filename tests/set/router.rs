//! Routers: the messages that callbacks get, and that no callback affects other routes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use strait::ipc::{self, IpcReceiver, IpcSender};
use strait::router::{ROUTER, RouterProxy};

use crate::harness::{self, watchdog_without_children as watchdog};

const LONG: Duration = Duration::from_secs(60);

/// A route whose callback passes everything on, errors as `None`. The second receiver is
/// disconnected when the callback is dropped.
fn passing_on(
    router: &RouterProxy,
    receiver: IpcReceiver<u32>,
) -> (Receiver<Option<u32>>, Receiver<()>) {
    let (values, received) = mpsc::channel();
    let (alive, is_over) = mpsc::channel::<()>();
    router.add_typed_route(
        receiver,
        Box::new(move |value| {
            let _alive = &alive;
            // The test may have dropped its receiver.
            let _ = values.send(value.ok());
        }),
    );
    (received, is_over)
}

fn next<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(LONG).expect("a callback")
}

fn expect_dropped(is_over: &Receiver<()>) {
    let result = is_over.recv_timeout(LONG);
    assert_eq!(result, Err(mpsc::RecvTimeoutError::Disconnected));
}

/// Checks that a router still routes.
#[track_caller]
fn expect_alive(router: &RouterProxy) {
    let (sender, receiver) = ipc::channel().unwrap();
    let (received, _) = passing_on(router, receiver);
    sender.send(42).unwrap();
    assert_eq!(next(&received), Some(42));
}

/// Waits until the receiver is dropped.
fn expect_disconnected(sender: &IpcSender<u32>) {
    while let Ok(()) = sender.send(0) {
        thread::yield_now();
    }
    assert!(sender.send(0).unwrap_err().is_disconnected());
}

fn send_garbage(sender: &IpcSender<u32>) {
    sender.clone().to_opaque().to_bytes().send(b"?").unwrap();
}

mod routes {
    use super::*;

    #[test]
    fn are_called_for_every_message_in_order_and_dropped_at_the_end() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        sender.send(0).unwrap();
        let (received, is_over) = passing_on(&router, receiver);
        for number in 1..100 {
            sender.send(number).unwrap();
        }
        for number in 0..100 {
            assert_eq!(next(&received), Some(number));
        }
        drop(sender);
        expect_dropped(&is_over);
    }

    #[test]
    fn get_errors_for_what_cannot_be_decoded() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        let (received, _) = passing_on(&router, receiver);
        for number in 0..3 {
            send_garbage(&sender);
            sender.send(number).unwrap();
            assert_eq!(next(&received), None);
            assert_eq!(next(&received), Some(number));
        }
    }

    #[test]
    fn for_one_message_are_called_once() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (values, received) = mpsc::channel();
        router.add_typed_one_shot_route(
            receiver,
            Box::new(move |value| values.send(value.unwrap()).unwrap()),
        );
        for number in 0..3 {
            sender.send(number).unwrap();
        }
        assert_eq!(next(&received), 0);
        // The callback was dropped, with all that it owned.
        let over = received.recv_timeout(LONG);
        assert_eq!(over, Err(mpsc::RecvTimeoutError::Disconnected));
        sender.send(3).unwrap();
        expect_alive(&router);
    }

    #[test]
    fn for_one_message_may_get_an_error() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (values, received) = mpsc::channel();
        router.add_typed_one_shot_route(
            receiver,
            Box::new(move |value| values.send(value.is_err()).unwrap()),
        );
        send_garbage(&sender);
        assert!(next(&received));
    }

    #[test]
    fn may_be_of_bytes() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::bytes_channel().unwrap();
        let (values, received) = mpsc::channel();
        router
            .add_bytes_route(receiver, Box::new(move |bytes| values.send(bytes.unwrap()).unwrap()));
        sender.send(b"one").unwrap();
        sender.send(&[2; 500_000]).unwrap();
        assert_eq!(next(&received), b"one");
        assert_eq!(next(&received), [2; 500_000]);
    }

    #[test]
    #[expect(deprecated, reason = "the name of 0.20")]
    fn may_be_undecoded() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (values, received) = mpsc::channel();
        router.add_route(
            receiver.to_opaque(),
            Box::new(move |message| values.send(message.to::<u32>().unwrap()).unwrap()),
        );
        sender.send(5).unwrap();
        assert_eq!(next(&received), 5);
    }

    #[test]
    fn carry_endpoints() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<IpcSender<u32>>().unwrap();
        router.add_typed_route(receiver, Box::new(|reply| reply.unwrap().send(7).unwrap()));
        let (reply, answer) = ipc::channel().unwrap();
        sender.send(reply).unwrap();
        assert_eq!(answer.recv().unwrap(), 7);
    }

    #[test]
    fn of_a_receiver_that_was_moved_are_dropped() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (carrier, _carried) = ipc::channel().unwrap();
        let (_sender, receiver) = ipc::channel().unwrap();
        carrier.send_ref(&receiver).unwrap();
        let (_, is_over) = passing_on(&router, receiver);
        expect_dropped(&is_over);
        expect_alive(&router);
    }

    #[test]
    fn of_the_process_wide_router_work() {
        let _watchdog = watchdog();
        expect_alive(&ROUTER);
        let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| expect_alive(&ROUTER))).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

mod crossbeam {
    use super::*;

    #[test]
    fn channels_get_the_values_and_the_disconnection() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        let received = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        for number in 0..100 {
            sender.send(number).unwrap();
        }
        drop(sender);
        assert_eq!(received.iter().collect::<Vec<u32>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn channels_may_collect_several_receivers() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (collect, collected) = crossbeam_channel::bounded(1);
        let senders: Vec<_> = (0..10)
            .map(|_| {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                router.route_ipc_receiver_to_crossbeam_sender(receiver, collect.clone());
                sender
            })
            .collect();
        drop(collect);
        for (number, sender) in (0..).zip(&senders) {
            sender.send(number).unwrap();
        }
        drop(senders);
        let values: HashSet<u32> = collected.iter().collect();
        assert_eq!(values, (0..10).collect());
    }

    #[test]
    fn channels_pass_over_what_cannot_be_decoded() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        let received = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        send_garbage(&sender);
        sender.send(1).unwrap();
        assert_eq!(received.recv().unwrap(), 1);
        expect_alive(&router);
    }

    #[test]
    fn channels_without_receiver_disconnect_the_senders() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        drop(router.route_ipc_receiver_to_new_crossbeam_receiver(receiver));
        expect_disconnected(&sender);
        expect_alive(&router);
    }
}

mod shutdown {
    use super::*;

    #[test]
    fn drops_all_routes_and_may_happen_twice() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        let (_, is_over) = passing_on(&router, receiver);
        router.shutdown();
        expect_dropped(&is_over);
        assert!(sender.send(1).unwrap_err().is_disconnected());
        router.shutdown();
        drop(router);
    }

    #[test]
    fn drops_routes_that_are_added_later() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        router.shutdown();
        let (sender, receiver) = ipc::channel().unwrap();
        let (_, is_over) = passing_on(&router, receiver);
        expect_dropped(&is_over);
        assert!(sender.send(1).unwrap_err().is_disconnected());
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let received = router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
        assert!(received.recv().is_err());
        assert!(sender.send(1).unwrap_err().is_disconnected());
    }

    #[test]
    fn comes_with_drop() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel().unwrap();
        let (_, is_over) = passing_on(&router, receiver);
        drop(router);
        expect_dropped(&is_over);
        assert!(sender.send(1).unwrap_err().is_disconnected());
    }

    #[test]
    fn may_come_from_a_callback() {
        let _watchdog = watchdog();
        let router = Arc::new(RouterProxy::new());
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (other_sender, other) = ipc::channel().unwrap();
        let (_, other_is_over) = passing_on(&router, other);
        let (returned, has_returned) = mpsc::channel();
        let itself = Arc::clone(&router);
        router.add_typed_route(
            receiver,
            Box::new(move |_| {
                itself.shutdown();
                itself.shutdown();
                returned.send(()).unwrap();
            }),
        );
        sender.send(1).unwrap();
        next(&has_returned);
        expect_dropped(&other_is_over);
        expect_disconnected(&other_sender);
        router.shutdown();
    }

    /// The callback owns the last reference to its own router.
    #[test]
    fn may_come_from_the_drop_of_a_callback() {
        let _watchdog = watchdog();
        let router = Arc::new(RouterProxy::new());
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (alive, is_over) = mpsc::channel::<()>();
        let itself = Arc::clone(&router);
        router.add_typed_route(
            receiver,
            Box::new(move |_| {
                let _ = (&itself, &alive);
            }),
        );
        drop(router);
        drop(sender);
        expect_dropped(&is_over);
    }

    /// All calls at once, from several threads.
    #[test]
    fn is_safe_beside_concurrent_calls() {
        let _watchdog = watchdog();
        for _ in 0..50 {
            let router = Arc::new(RouterProxy::new());
            let threads: Vec<_> = (0..4)
                .map(|number| {
                    let router = Arc::clone(&router);
                    thread::spawn(move || {
                        for _ in 0..5 {
                            let (sender, receiver) = ipc::channel().unwrap();
                            let received =
                                router.route_ipc_receiver_to_new_crossbeam_receiver(receiver);
                            let _ = sender.send(1_u32);
                            drop(sender);
                            if number == 0 {
                                router.shutdown();
                            }
                            // The value or disconnection, and no hang.
                            let _ = received.recv();
                        }
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
    }
}

mod callbacks {
    use super::*;

    /// Panics when it is called and, if it is told to, once more when it is dropped.
    struct Bad {
        also_on_drop: bool,
        _alive: Sender<()>,
    }

    impl Drop for Bad {
        fn drop(&mut self) {
            if self.also_on_drop {
                std::panic::resume_unwind(Box::new("a panic on drop"));
            }
        }
    }

    /// A panic whose payload panics.
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a panic in the drop of a panic"));
        }
    }

    fn add_bad(
        router: &RouterProxy,
        also_on_drop: bool,
        panic: fn() -> Box<dyn std::any::Any + Send>,
    ) -> (IpcSender<u32>, Receiver<()>) {
        let (sender, receiver) = ipc::channel().unwrap();
        let (alive, is_over) = mpsc::channel();
        let bad = Bad { also_on_drop, _alive: alive };
        router.add_typed_route(
            receiver,
            Box::new(move |_| {
                let _ = &bad;
                // As a panic, but without a message on standard error.
                std::panic::resume_unwind(panic());
            }),
        );
        (sender, is_over)
    }

    #[test]
    fn that_panic_lose_only_their_own_route() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (good, good_end) = ipc::channel().unwrap();
        let (received, _) = passing_on(&router, good_end);
        for also_on_drop in [false, true] {
            for panic in
                [(|| Box::new("a panic") as _) as fn() -> Box<dyn std::any::Any + Send>, || {
                    Box::new(Bomb)
                }]
            {
                let (bad, is_over) = add_bad(&router, also_on_drop, panic);
                bad.send(1).unwrap();
                expect_dropped(&is_over);
                expect_disconnected(&bad);
                good.send(2).unwrap();
                assert_eq!(next(&received), Some(2));
            }
        }
        expect_alive(&router);
        router.shutdown();
    }

    #[test]
    fn that_panic_on_drop_leave_the_router_running() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (bad, is_over) = add_bad(&router, true, || Box::new(()));
        drop(bad);
        expect_dropped(&is_over);
        expect_alive(&router);
        let routes: Vec<_> = (0..5).map(|_| add_bad(&router, true, || Box::new(()))).collect();
        router.shutdown();
        for (sender, is_over) in routes {
            expect_dropped(&is_over);
            assert!(sender.send(1).unwrap_err().is_disconnected());
        }
    }

    #[test]
    fn for_one_message_may_panic() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let panicking = Box::new(|_| std::panic::resume_unwind(Box::new("a panic")));
        router.add_typed_one_shot_route(receiver, panicking);
        sender.send(1).unwrap();
        expect_disconnected(&sender);
        expect_alive(&router);
    }

    #[test]
    fn may_add_routes() {
        let _watchdog = watchdog();
        let router = Arc::new(RouterProxy::new());
        let (sender, receiver) = ipc::channel::<u32>().unwrap();
        let (values, received) = mpsc::channel();
        let itself = Arc::downgrade(&router);
        router.add_typed_route(
            receiver,
            Box::new(move |depth| add_one(&itself.upgrade().unwrap(), depth.unwrap(), &values)),
        );
        sender.send(50).unwrap();
        assert_eq!(next(&received), 50);

        /// Adds a route that adds a route, and so on.
        fn add_one(router: &Arc<RouterProxy>, depth: u32, values: &Sender<u32>) {
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            sender.send(depth).unwrap();
            let itself = Arc::downgrade(router);
            let values = values.clone();
            router.add_typed_route(
                receiver,
                Box::new(move |depth| match depth.unwrap() {
                    0 => values.send(50).unwrap(),
                    depth => add_one(&itself.upgrade().unwrap(), depth - 1, &values),
                }),
            );
        }
    }

    /// More than any queue or socket buffer has room for, from one call.
    #[test]
    fn may_add_thousands_of_routes() {
        harness::alone(harness::path_of(may_add_thousands_of_routes), || {
            let count = 5000.min(harness::room_for_handles() - 50) as u32;
            let router = Arc::new(RouterProxy::new());
            let (sender, receiver) = ipc::channel::<u32>().unwrap();
            let (values, received) = mpsc::channel();
            let itself = Arc::downgrade(&router);
            router.add_typed_route(
                receiver,
                Box::new(move |count| {
                    for number in 0..count.unwrap() {
                        let (sender, receiver) = ipc::channel().unwrap();
                        sender.send(number).unwrap();
                        let values = values.clone();
                        itself.upgrade().unwrap().add_typed_route(
                            receiver,
                            Box::new(move |number: Result<u32, _>| {
                                values.send(number.unwrap()).unwrap();
                            }),
                        );
                    }
                }),
            );
            sender.send(count).unwrap();
            let values: HashSet<u32> = (0..count).map(|_| next(&received)).collect();
            assert_eq!(values.len(), count as usize);
        });
    }

    /// Callbacks run one after another, on one thread with a name.
    #[test]
    fn of_one_router_share_a_thread() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let seen = Arc::new(Mutex::new(HashSet::new()));
        let (done, is_done) = mpsc::channel();
        let senders: Vec<_> = (0..5)
            .map(|_| {
                let (sender, receiver) = ipc::channel::<u32>().unwrap();
                let (seen, done) = (Arc::clone(&seen), done.clone());
                router.add_typed_route(
                    receiver,
                    Box::new(move |_| {
                        let mut seen = seen.try_lock().expect("no other callback runs now");
                        seen.insert((
                            thread::current().id(),
                            thread::current().name().map(String::from),
                        ));
                        thread::yield_now();
                        done.send(()).unwrap();
                    }),
                );
                sender
            })
            .collect();
        for sender in senders.iter().cycle().take(200) {
            sender.send(1).unwrap();
        }
        for _ in 0..200 {
            next(&is_done);
        }
        router.shutdown();
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = seen.iter().map(|(_, name)| name.as_deref()).collect();
        assert_eq!(names, [Some("router-proxy")]);
    }

    /// One route is flooded; the others are called, too.
    #[test]
    fn of_quiet_routes_are_called_during_a_flood() {
        let _watchdog = watchdog();
        let router = RouterProxy::new();
        let (flood, flooded) = ipc::channel().unwrap();
        router.add_typed_route(flooded, Box::new(|_: Result<u32, _>| ()));
        let thread = thread::spawn(move || while flood.send(0).is_ok() {});
        for _ in 0..50 {
            expect_alive(&router);
        }
        router.shutdown();
        thread.join().unwrap();
    }

    /// Another route is added for each that the router drops.
    #[test]
    fn of_quiet_routes_are_called_while_routes_are_added_without_end() {
        const MOST: usize = 100_000;

        #[derive(Clone)]
        struct Encores {
            router: Arc<RouterProxy>,
            added: Arc<AtomicUsize>,
            is_over: Arc<AtomicBool>,
        }

        impl Encores {
            /// Adds a route that is dropped at once: its receiver was moved.
            fn add(&self) {
                let (carrier, _carried) = ipc::channel().unwrap();
                let (_, receiver) = ipc::channel::<u32>().unwrap();
                carrier.send_ref(&receiver).unwrap();
                let dropped = Encore(self.clone());
                let callback = move |_: Result<u32, _>| {
                    let _dropped = &dropped;
                };
                self.router.add_typed_route(receiver, Box::new(callback));
            }
        }

        struct Encore(Encores);

        impl Drop for Encore {
            fn drop(&mut self) {
                let Encore(encores) = self;
                let added = encores.added.fetch_add(1, Ordering::Relaxed);
                if added < MOST && !encores.is_over.load(Ordering::Relaxed) {
                    encores.add();
                }
            }
        }

        let _watchdog = watchdog();
        let router = Arc::new(RouterProxy::new());
        let encores =
            Encores { router: Arc::clone(&router), added: Arc::default(), is_over: Arc::default() };
        let (sender, receiver) = ipc::channel().unwrap();
        let (received, _) = passing_on(&router, receiver);
        encores.add();
        sender.send(1).unwrap();
        assert_eq!(next(&received), Some(1));
        encores.is_over.store(true, Ordering::Relaxed);
        let added = encores.added.load(Ordering::Relaxed);
        assert!(added < MOST, "{added}");
        router.shutdown();
    }
}
