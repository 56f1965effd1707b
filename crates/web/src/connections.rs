//! Connections: one file descriptor each, not more than there is room for, and none that stops
//! reading for good.

use std::{
    any::Any,
    collections::HashMap,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use iocast_domain::proxy::Proxies;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, PidfdGetfdFlags, Resource, getpid, getrlimit, pidfd_getfd, pidfd_open},
};
use socket2::SockRef;
use tokio::{net::TcpStream, task::JoinHandle};

/// Bytes that may wait unsent in the kernel when the last piece of an entry document follows.
const UNSENT: u32 = 4 * 1024;
/// Descriptors that are left for the database, files and outgoing lines.
const RESERVED: usize = 256;
/// Most connections of a thread, however many descriptors there are.
const OF_THREAD: usize = 25_000;
/// A reader gets so long,
const GRACE: Duration = Duration::from_secs(30);
/// and a second more for each so many bytes.
const PACE: u64 = 8 * 1024;
/// Bodies up to this length are the kernel's once they are handed over.
const SMALL: u64 = 64 * 1024;

/// How many connections there are, and whose.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: AtomicUsize,
    networks: Mutex<HashMap<IpAddr, Arc<AtomicUsize>>>,
    /// Behind a proxy everybody has its address.
    proxies: Proxies,
}

impl Connections {
    pub(crate) fn new(workers: usize, proxies: Proxies) -> Arc<Self> {
        let descriptors = getrlimit(Resource::Nofile)
            .current
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(usize::MAX);
        let most = descriptors.saturating_sub(RESERVED).max(64).min(OF_THREAD * workers);
        Arc::new(Self { most, open: AtomicUsize::new(0), networks: Mutex::default(), proxies })
    }

    /// Most connections of one of so many threads.
    pub(crate) fn of_thread(&self, workers: usize) -> usize {
        (self.most / workers.max(1)).max(16)
    }

    fn place(self: &Arc<Self>, address: IpAddr) -> Place {
        let network = network(address);
        let of_network = {
            let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(networks.entry(network).or_default())
        };
        of_network.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Place {
            all: Arc::clone(self),
            network,
            of_network,
            is_proxy: self.proxies.contains(address),
        }
    }
}

/// The address, or for IPv6 its /64: one household has more of them than we have places.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// The place that a connection takes up.
#[derive(Debug)]
struct Place {
    all: Arc<Connections>,
    network: IpAddr,
    of_network: Arc<AtomicUsize>,
    is_proxy: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.open.fetch_sub(1, Ordering::Relaxed);
        if self.of_network.fetch_sub(1, Ordering::Relaxed) == 1 {
            let mut networks = self.all.networks.lock().unwrap_or_else(PoisonError::into_inner);
            if networks.get(&self.network).is_some_and(|of| of.load(Ordering::Relaxed) == 0) {
                networks.remove(&self.network);
            }
        }
    }
}

/// A connection, as handlers find it.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    descriptor: Descriptor,
    place: Place,
}

/// How its socket is got at. The framework owns it; a second descriptor is only made while a body
/// is being sent.
#[derive(Debug)]
enum Descriptor {
    Number(RawFd),
    /// Where the system does not let us (before Linux 5.6, or forbidden by a sandbox).
    Kept(Socket),
    None,
}

/// This process, as the system call for a second descriptor wants it.
fn ourselves() -> Option<&'static OwnedFd> {
    static OURSELVES: OnceLock<Option<OwnedFd>> = OnceLock::new();
    OURSELVES.get_or_init(|| pidfd_open(getpid(), PidfdFlags::empty()).ok()).as_ref()
}

fn second(number: RawFd) -> Option<OwnedFd> {
    pidfd_getfd(ourselves()?, number, PidfdGetfdFlags::empty()).ok()
}

/// Counts a new connection, and keeps what handlers ask about it.
pub(crate) fn keep(connections: &Arc<Connections>, connection: &dyn Any, data: &mut Extensions) {
    let plain = connection.downcast_ref::<TcpStream>();
    let Some(stream) = plain
        .or_else(|| connection.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref().0))
    else {
        return;
    };
    // The last piece of a body is small and must not wait for the client's delayed acknowledgement.
    // If it can't be set, the answer is late, not wrong.
    let _ = SockRef::from(stream).set_tcp_nodelay(true);
    let Ok(peer) = stream.peer_addr() else { return };
    let number = stream.as_raw_fd();
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let descriptor = if *ALLOWED.get_or_init(|| second(number).is_some()) {
        Descriptor::Number(number)
    } else {
        stream
            .as_fd()
            .try_clone_to_owned()
            .map_or(Descriptor::None, |fd| Descriptor::Kept(Socket(Arc::new(fd))))
    };
    data.insert(Connection(Arc::new(Inner { descriptor, place: connections.place(peer.ip()) })));
}

impl Connection {
    /// Whether it should be closed after this answer, to make room: connections are scarce, or most
    /// are of one address.
    pub(crate) fn is_in_the_way(&self) -> bool {
        let Place { all, of_network, is_proxy, .. } = &self.0.place;
        let open = all.open.load(Ordering::Relaxed);
        open > all.most / 4 * 3 || (!is_proxy && of_network.load(Ordering::Relaxed) > all.most / 2)
    }

    /// Its socket. While a request is answered the framework holds it open, so that its number
    /// means nothing else.
    pub(crate) fn socket(&self) -> Option<Socket> {
        match &self.0.descriptor {
            Descriptor::Number(number) => second(*number).map(|fd| Socket(Arc::new(fd))),
            Descriptor::Kept(socket) => Some(socket.clone()),
            Descriptor::None => None,
        }
    }
}

/// The connection's socket, to be asked whether it takes more, and to be cut.
#[derive(Clone, Debug)]
pub(crate) struct Socket(Arc<OwnedFd>);

impl Socket {
    /// While this is on, the socket counts as writable only while less than [`UNSENT`] waits unsent
    /// in the kernel. By that the feed knows when a body is really on its way; for other bodies it
    /// would only be slower.
    pub(crate) fn tell_when_drained(&self, on: bool) {
        // If it can't be set, a pull is noted a little early, not wrongly.
        let _ = SockRef::from(&*self.0).set_tcp_notsent_lowat(if on { UNSENT } else { u32::MAX });
    }

    /// Whether next to nothing waits unsent.
    pub(crate) fn is_drained(&self) -> bool {
        let mut fds = [PollFd::new(&*self.0, PollFlags::OUT)];
        // If the question can't be asked, the body must not wait for an answer.
        poll(&mut fds, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
    }

    /// Cuts the line unless the body of `length` bytes is sent in time: a reader that stops holds a
    /// body and a connection.
    pub(crate) fn deadline(&self, length: u64) -> Option<Deadline> {
        (length > SMALL).then(|| {
            let (socket, within) = (self.clone(), GRACE + Duration::from_secs(length / PACE));
            Deadline(tokio::spawn(async move {
                tokio::time::sleep(within).await;
                tracing::info!("A reader took longer than {} s for a body of {length} bytes; its connection is closed", within.as_secs());
                // It may be gone already.
                let _ = SockRef::from(&*socket.0).shutdown(std::net::Shutdown::Both);
            }))
        })
    }
}

/// Ends when the body is sent, or nobody waits for it any more.
#[derive(Debug)]
pub(crate) struct Deadline(JoinHandle<()>);

impl Drop for Deadline {
    fn drop(&mut self) {
        self.0.abort();
    }
}
