//! Scenarios in which a wake-up can be lost.

/// Which process sends which messages. Every process has one ring at most, of its own number.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) threads: Vec<Thread>,
    /// How many frames the socket has room for.
    pub(crate) room: usize,
    /// A process that sends nothing keeps the channel open. Otherwise each process drops its
    /// sender when it has nothing more to send.
    pub(crate) held_open: bool,
    /// The processes that may die at any time.
    pub(crate) mortal: &'static [usize],
}

#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) process: usize,
    pub(crate) sends: Vec<By>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Ring,
    Socket,
}

/// The scenarios. The whole algorithm keeps its guarantees in all of them.
pub(crate) fn scenarios() -> Vec<Scenario> {
    let thread = |process, sends: &[By]| Thread { process, sends: sends.to_vec() };
    let scenario = |name, threads: Vec<Thread>| Scenario {
        name,
        threads,
        room: 3,
        held_open: true,
        mortal: &[],
    };
    vec![
        scenario("one ring", vec![thread(0, &[By::Ring; 3])]),
        scenario("two rings", vec![thread(0, &[By::Ring; 2]), thread(1, &[By::Ring; 2])]),
        scenario(
            "a ring and the socket",
            vec![thread(0, &[By::Ring; 2]), thread(1, &[By::Socket; 2])],
        ),
        Scenario {
            room: 1,
            ..scenario(
                "no room for the bell",
                vec![thread(0, &[By::Ring; 2]), thread(1, &[By::Socket; 2])],
            )
        },
        Scenario {
            mortal: &[0],
            ..scenario(
                "two threads of a process that dies",
                vec![thread(0, &[By::Ring; 2]), thread(0, &[By::Ring])],
            )
        },
        Scenario {
            mortal: &[0],
            held_open: false,
            ..scenario(
                "senders that leave or die",
                vec![thread(0, &[By::Ring; 2]), thread(1, &[By::Ring])],
            )
        },
    ]
}
