//! Sockets that were opened before this process began, by systemd or whoever speaks its protocol (sd_listen_fds(3)). They outlive it: who connects
//! while one server has ended and the next has not begun waits in the socket's queue and is not refused.
//!
//! A socket is for whatever is set to listen at its address: so a setting is true, and judged (`auth.mode`), whoever opened the socket.

use std::{io, net::SocketAddr};

use listenfd::ListenFd;
use tokio::net::TcpListener;

use crate::config::inherited_names;

#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    #[error("failed to take the socket number {number} that this process inherited: {error}")]
    Take { number: usize, error: io::Error },
    #[error(
        "inherited the socket {name:?} at {address}, and nothing is set to listen there: set listen, mqtt.listen or \
         mqtt.tls_listen to exactly that, or ListenStream= to what they say"
    )]
    NoUse { name: String, address: SocketAddr },
}

/// What this process inherited and nobody has taken yet.
#[derive(Default)]
pub struct Inherited {
    sockets: Vec<Socket>,
}

struct Socket {
    name: String,
    address: SocketAddr,
    listener: std::net::TcpListener,
}

impl Inherited {
    /// All of it; a second call finds nothing.
    pub fn take() -> Result<Self, InheritError> {
        let names = inherited_names();
        let mut given = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..given.len() {
            let refused = |error| InheritError::Take { number, error };
            let Some(listener) = given.take_tcp_listener(number).map_err(refused)? else { continue };
            // The copy, unlike what was inherited, is closed in programs that this one starts.
            let listener = listener.try_clone().map_err(refused)?;
            listener.set_nonblocking(true).map_err(refused)?;
            let address = listener.local_addr().map_err(refused)?;
            sockets.push(Socket { name: names.get(number).cloned().unwrap_or_default(), address, listener });
        }
        Ok(Self { sockets })
    }

    /// The socket at this address.
    pub fn at(&mut self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let found = self.sockets.iter().position(|socket| socket.address == address);
        found.map(|place| TcpListener::from_std(self.sockets.remove(place).listener)).transpose()
    }

    /// Nothing may be left: whoever connects there would wait for ever.
    pub fn all_taken(self) -> Result<(), InheritError> {
        match self.sockets.into_iter().next() {
            Some(Socket { name, address, .. }) => Err(InheritError::NoUse { name, address }),
            None => Ok(()),
        }
    }
}
