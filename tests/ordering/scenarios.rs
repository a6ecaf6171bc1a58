//! Scenarios in which the merge can go wrong.

use super::merge::{Clock, Scenario, Send, Thread};

fn thread<const N: usize>(process: usize, sends: [Send; N]) -> Thread {
    Thread { process, sends: sends.into() }
}

fn socket() -> Send {
    Send { ring: None, after: &[], false_stamp: None, too_large: false }
}

fn ring(ring: usize) -> Send {
    Send { ring: Some(ring), ..socket() }
}

impl Send {
    fn after(self, after: &'static [(usize, usize)]) -> Self {
        Self { after, ..self }
    }

    fn false_stamp(self, stamp: u8) -> Self {
        Self { false_stamp: Some(stamp), ..self }
    }

    fn too_large(self) -> Self {
        Self { too_large: true, ..self }
    }
}

fn scenario<const N: usize>(
    name: &'static str,
    attached: &'static [usize],
    threads: [Thread; N],
) -> Scenario {
    Scenario {
        name,
        threads: threads.into(),
        attached,
        retired: &[],
        mortal: &[],
        clock: Clock::Distinct,
    }
}

/// Small scenarios. The whole algorithm keeps its guarantees in all of these, and in the
/// large ones.
pub(crate) fn small() -> Vec<Scenario> {
    vec![
        scenario("socket only", &[], [thread(0, [socket(), socket()]), thread(1, [socket()])]),
        scenario("end with data in a ring", &[0], [thread(0, [ring(0), ring(0), ring(0)])]),
        Scenario {
            retired: &[0],
            ..scenario("ring retired", &[0], [thread(0, [ring(0), ring(0), ring(0)])])
        },
        Scenario {
            retired: &[0],
            ..scenario(
                "ring announced with messages in it, and retired when it is attached",
                &[],
                [thread(0, [ring(0), ring(0)])],
            )
        },
        scenario(
            "ring that cannot grow, and its successor",
            &[0],
            [thread(0, [ring(0), ring(0), ring(1)])],
        ),
        Scenario {
            mortal: &[0],
            ..scenario(
                "a sender dies",
                &[0],
                [thread(0, [ring(0), socket(), ring(0)]), thread(1, [socket()])],
            )
        },
        Scenario {
            mortal: &[0],
            ..scenario(
                "a sender dies while it attaches a ring",
                &[1],
                [thread(0, [socket(), ring(0)]), thread(1, [ring(1)])],
            )
        },
        Scenario {
            mortal: &[0],
            retired: &[0],
            ..scenario(
                "a sender dies while its ring is retired",
                &[0],
                [thread(0, [ring(0), ring(0)]), thread(1, [socket()])],
            )
        },
        scenario(
            "a message with handles between those in the ring",
            &[0],
            [thread(0, [ring(0), socket(), ring(0)]), thread(1, [socket()])],
        ),
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps in one process",
                &[0],
                [thread(0, [socket(), ring(0), socket()])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps, and one before in the socket",
                &[0],
                [thread(0, [socket(), ring(0)]), thread(1, [socket()])],
            )
        },
        scenario(
            "two threads of one process",
            &[0],
            [thread(0, [ring(0)]), thread(0, [ring(0)]), thread(1, [socket()])],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired between two threads",
                &[0],
                [thread(0, [ring(0)]), thread(0, [ring(0)]), thread(1, [socket()])],
            )
        },
        scenario(
            "a chain of dependent sends through three rings",
            &[0, 1, 2],
            [
                thread(0, [ring(0), ring(0).after(&[(2, 0)])]),
                thread(1, [ring(1).after(&[(0, 0)])]),
                thread(2, [ring(2).after(&[(1, 0)])]),
            ],
        ),
        scenario(
            "a chain of dependent sends through socket and rings",
            &[0, 2],
            [
                thread(0, [ring(0), ring(0).after(&[(2, 0)])]),
                thread(1, [socket().after(&[(0, 0)])]),
                thread(2, [ring(2).after(&[(1, 0)])]),
            ],
        ),
        scenario(
            "two on the socket, one ring",
            &[0],
            [thread(0, [ring(0)]), thread(1, [socket()]), thread(2, [socket()])],
        ),
        scenario(
            "ring attached after a message on the socket",
            &[1],
            [thread(0, [socket(), ring(0)]), thread(1, [ring(1)])],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired, another ring",
                &[0, 1],
                [thread(0, [ring(0), ring(0)]), thread(1, [ring(1)])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps in two processes",
                &[0, 1],
                [thread(0, [ring(0), ring(0)]), thread(1, [ring(1)])],
            )
        },
        scenario(
            "socket and ring with more",
            &[0],
            [thread(0, [ring(0), ring(0)]), thread(1, [socket(), socket()])],
        ),
    ]
}

/// The same, with more senders or rings.
pub(crate) fn large() -> Vec<Scenario> {
    vec![
        scenario(
            "three rings",
            &[0, 1, 2],
            [thread(0, [ring(0)]), thread(1, [ring(1)]), thread(2, [ring(2)])],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring attached, retired, and another attached",
                &[],
                [thread(0, [ring(0), ring(0), ring(1)]), thread(1, [socket()])],
            )
        },
        scenario(
            "ring that cannot grow, its successor, and the socket",
            &[0],
            [thread(0, [ring(0), ring(1)]), thread(1, [socket()])],
        ),
        scenario(
            "ring attached between the messages of others",
            &[1],
            [thread(0, [ring(0)]), thread(1, [ring(1)]), thread(2, [socket()])],
        ),
        scenario(
            "two rings attached",
            &[],
            [thread(0, [ring(0)]), thread(1, [ring(1)]), thread(2, [socket()])],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired, another ring, and the socket",
                &[0, 1],
                [thread(0, [ring(0)]), thread(1, [ring(1)]), thread(2, [socket()])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps in three processes",
                &[0],
                [thread(0, [ring(0)]), thread(1, [socket()]), thread(2, [socket()])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps, two threads of one process",
                &[0, 1],
                [thread(0, [ring(0)]), thread(0, [ring(0)]), thread(1, [ring(1)])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps, two threads, and one before in the socket",
                &[0],
                [thread(0, [socket()]), thread(0, [ring(0)]), thread(1, [socket()])],
            )
        },
        scenario(
            "two on the socket, one ring with more",
            &[0],
            [thread(0, [ring(0), ring(0)]), thread(1, [socket()]), thread(2, [socket()])],
        ),
        scenario(
            "two on the socket with more, one ring",
            &[0],
            [thread(0, [ring(0)]), thread(1, [socket(), socket()]), thread(2, [socket()])],
        ),
        scenario(
            "two rings, one on the socket",
            &[0, 1],
            [thread(0, [ring(0), ring(0)]), thread(1, [ring(1)]), thread(2, [socket()])],
        ),
        scenario(
            "two on the socket, two rings, one dependent",
            &[0, 1],
            [
                thread(0, [ring(0)]),
                thread(1, [ring(1).after(&[(3, 0)])]),
                thread(2, [socket()]),
                thread(3, [socket()]),
            ],
        ),
    ]
}

/// The same, with so many sends that they take long without optimisation.
pub(crate) fn huge() -> Vec<Scenario> {
    vec![
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired, another ring, and the socket, with more",
                &[0, 1],
                [thread(0, [ring(0), ring(0)]), thread(1, [ring(1)]), thread(2, [socket()])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps, two threads, and one before in the socket, with more",
                &[0],
                [thread(0, [ring(0), socket()]), thread(0, [ring(0)]), thread(1, [socket()])],
            )
        },
        Scenario {
            clock: Clock::Ties,
            ..scenario(
                "equal stamps, two threads of one process, with more",
                &[0, 1],
                [thread(0, [socket(), ring(0)]), thread(0, [ring(0)]), thread(1, [ring(1)])],
            )
        },
    ]
}

/// A clock that may stand still between a send and the next one that knows of it.
pub(crate) fn coarse_clock() -> Scenario {
    Scenario {
        clock: Clock::Coarse,
        ..scenario(
            "coarse clock",
            &[0],
            [thread(0, [ring(0)]), thread(1, [socket()]), thread(2, [socket()])],
        )
    }
}

/// Scenarios for a receiver that keeps only the order of each sender: one sender uses socket
/// and ring in turn. Besides, all of the above, with clocks without any relation.
pub(crate) fn per_sender() -> Vec<Scenario> {
    let own = vec![
        scenario(
            "ring and socket in turn",
            &[0],
            [thread(0, [ring(0), socket(), ring(0), socket(), ring(0)])],
        ),
        scenario(
            "no room in the ring, which another thread goes on with",
            &[0],
            [
                thread(0, [socket(), ring(0).too_large()]),
                thread(0, [ring(0).after(&[(0, 0)]), ring(0)]),
            ],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired between socket and ring",
                &[0],
                [thread(0, [ring(0), socket(), ring(0), socket(), ring(1)])],
            )
        },
        scenario(
            "ring attached between messages on the socket",
            &[],
            [thread(0, [socket(), ring(0), socket(), ring(0)])],
        ),
        scenario(
            "ring that cannot grow, its successor, and messages on the socket between them",
            &[0],
            [thread(0, [ring(0), socket(), ring(1), ring(1)])],
        ),
    ];
    apart(own.into_iter().chain(small()))
}

/// The same, with more threads.
pub(crate) fn per_sender_large() -> Vec<Scenario> {
    let own = vec![
        scenario(
            "socket and ring in turn, and another thread",
            &[0],
            [thread(0, [socket(), ring(0), socket(), ring(0)]), thread(0, [ring(0)])],
        ),
        scenario(
            "socket in one thread, then ring in another",
            &[0],
            [thread(0, [socket(), socket()]), thread(0, [ring(0), ring(0).after(&[(0, 0)])])],
        ),
        Scenario {
            retired: &[0],
            ..scenario(
                "ring retired under a thread while another sends by socket",
                &[0],
                [thread(0, [ring(0), ring(0)]), thread(0, [socket(), ring(0)])],
            )
        },
        scenario(
            "two processes by socket and ring",
            &[0, 1],
            [thread(0, [socket(), ring(0), ring(0)]), thread(1, [ring(1), socket(), ring(1)])],
        ),
        scenario(
            "three on the socket, one with a ring",
            &[0],
            [thread(0, [socket(), ring(0)]), thread(1, [socket()]), thread(2, [socket()])],
        ),
    ];
    apart(own.into_iter().chain(large()))
}

fn apart(scenarios: impl Iterator<Item = Scenario>) -> Vec<Scenario> {
    scenarios.map(|scenario| Scenario { clock: Clock::Apart, ..scenario }).collect()
}

/// The same, with so many messages in the socket that not all of them are read, and with a
/// cheaper clock for rings.
pub(crate) fn rough_clock() -> Vec<Scenario> {
    let all = per_sender().into_iter().chain(per_sender_large());
    let more = all.filter(|scenario| scenario.threads.len() == 3);
    more.map(|scenario| Scenario { clock: Clock::Rough, ..scenario }).collect()
}

/// False stamps, far in the future or long past, in a ring or in the socket. The whole
/// algorithm keeps its guarantees for honest senders.
pub(crate) fn false_stamps() -> Vec<Scenario> {
    let in_ring = |name, first, second| {
        scenario(
            name,
            &[0, 1],
            [
                thread(0, [ring(0).false_stamp(first), ring(0).false_stamp(second)]),
                thread(1, [ring(1)]),
                thread(2, [socket()]),
            ],
        )
    };
    let in_socket = |name, hostile| {
        scenario(name, &[0], [thread(0, [ring(0)]), thread(1, [socket()]), hostile])
    };
    vec![
        in_ring("false stamps in a ring: late", 100, 1),
        in_ring("false stamps in a ring: early", 1, 100),
        in_socket("a false stamp in the socket", thread(2, [socket().false_stamp(100)])),
        in_socket(
            "two false stamps in the socket",
            thread(2, [socket().false_stamp(100), socket().false_stamp(101)]),
        ),
        in_socket(
            "false stamps in the socket: early",
            thread(2, [socket().false_stamp(100), socket().false_stamp(1)]),
        ),
    ]
}
