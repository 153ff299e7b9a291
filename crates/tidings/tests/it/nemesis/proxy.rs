//! A TCP proxy with weather: between two parties that know nothing of it, it lets through, holds back one direction or both,
//! slows down, forgets one end, or loses an answer.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What is read at once.
const PART_BYTES: usize = 16 << 10;

/// What happens to what passes. What is held back comes when the weather has changed, as over a line that was cut for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Clear,
    /// Nothing passes, and nobody is told.
    Silent,
    /// What clients say does not arrive; what they are told does.
    Mute,
    /// What clients say arrives; what they are told does not.
    Deaf,
    /// The server's end of each line is closed, and the client's stays open in silence. New lines are well.
    HalfOpen,
    /// Each part comes so much later.
    Slow(Duration),
    /// What clients say arrives; each line is cut at the first answer to it.
    NoAnswer,
    /// Lines are cut, and new ones at once.
    Refuse,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

impl Weather {
    fn holds(self, direction: Direction) -> bool {
        match self {
            Self::Silent => true,
            Self::Mute => direction == Direction::ToServer,
            Self::Deaf => direction == Direction::ToClient,
            Self::Clear | Self::HalfOpen | Self::Slow(_) | Self::NoAnswer | Self::Refuse => false,
        }
    }

    fn cuts(self) -> bool {
        matches!(self, Self::HalfOpen | Self::Refuse)
    }
}

/// Tells which party has opened a line, by its address: each has a weather of its own.
pub type Whose = Arc<dyn Fn(SocketAddr) -> usize + Send + Sync>;

/// Closed when dropped, with all its lines.
pub struct Proxy {
    pub address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    weather: Arc<[watch::Sender<Weather>]>,
    listens: JoinHandle<()>,
}

impl Proxy {
    /// For one party, at a port of its own.
    pub async fn before(server: SocketAddr) -> io::Result<Self> {
        Self::between(SocketAddr::from(([127, 0, 0, 1], 0)), server, 1, Arc::new(|_| 0)).await
    }

    /// At `address`, for so many parties.
    pub async fn between(address: SocketAddr, server: SocketAddr, parties: usize, whose: Whose) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let weather: Arc<[_]> = (0..parties).map(|_| watch::Sender::new(Weather::Clear)).collect();
        let server = watch::Sender::new(server);
        let listens = tokio::spawn(listen(listener, server.subscribe(), weather.clone(), whose));
        Ok(Self { address, server, weather, listens })
    }

    /// New lines go there from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    pub fn set(&self, party: usize, weather: Weather) {
        self.weather[party].send_replace(weather);
    }

    pub fn set_all(&self, weather: Weather) {
        (0..self.weather.len()).for_each(|party| self.set(party, weather));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listens.abort();
        self.set_all(Weather::Refuse);
    }
}

async fn listen(
    listener: TcpListener,
    server: watch::Receiver<SocketAddr>,
    weather: Arc<[watch::Sender<Weather>]>,
    whose: Whose,
) {
    loop {
        let Ok((client, from)) = listener.accept().await else { continue };
        if let Some(weather) = weather.get(whose(from)) {
            tokio::spawn(carry(client, server.clone(), weather.subscribe()));
        }
    }
}

/// One line, to its end.
async fn carry(mut client: TcpStream, server: watch::Receiver<SocketAddr>, mut weather: watch::Receiver<Weather>) {
    // Who cannot say anything cannot open a line either.
    let Ok(now) = weather.wait_for(|weather| !weather.holds(Direction::ToServer)).await.map(|now| *now) else { return };
    if now == Weather::Refuse {
        return;
    }
    let server = *server.borrow();
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = client.set_nodelay(true).and_then(|()| server.set_nodelay(true));
    let born_half_open = now == Weather::HalfOpen;
    let cut = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pump(from_client, to_server, Direction::ToServer, weather.clone()),
                pump(from_server, to_client, Direction::ToClient, weather.clone()),
            )
        };
        let mut cuts = weather.clone();
        let cut = async move {
            if born_half_open {
                let _ = cuts.wait_for(|weather| *weather != Weather::HalfOpen).await;
            }
            let cut = cuts.wait_for(|weather| weather.cuts()).await.map(|cut| *cut);
            cut.unwrap_or(Weather::Refuse)
        };
        tokio::select! {
            _ = both => return,
            cut = cut => cut,
        }
    };
    drop(server);
    if cut == Weather::HalfOpen {
        let _ = weather.wait_for(|weather| *weather != Weather::HalfOpen).await;
    }
}

/// Carries one direction until its end. An error ends the line.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    mut weather: watch::Receiver<Weather>,
) -> io::Result<()> {
    let mut part = vec![0; PART_BYTES];
    loop {
        let count = from.read(&mut part).await?;
        let gone = |_| io::Error::from(io::ErrorKind::ConnectionAborted);
        let now = *weather.wait_for(|weather| !weather.holds(direction)).await.map_err(gone)?;
        match now {
            Weather::NoAnswer if direction == Direction::ToClient => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Weather::Slow(by) => tokio::time::sleep(by).await,
            _ => {}
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&part[..count]).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy before a server that says back what it hears, byte by byte.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut line, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let (mut from, mut to) = line.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        Proxy::before(server).await.unwrap()
    }

    async fn says_back(line: &mut TcpStream, byte: u8) -> io::Result<u8> {
        line.write_all(&[byte]).await?;
        line.read_u8().await
    }

    async fn is_silent(line: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(50), line.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn what_is_held_back_comes_when_the_weather_clears() {
        let proxy = echo().await;
        let mut line = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(says_back(&mut line, 1).await.unwrap(), 1);
        for weather in [Weather::Silent, Weather::Mute, Weather::Deaf] {
            proxy.set(0, weather);
            line.write_all(&[2]).await.unwrap();
            assert!(is_silent(&mut line).await, "{weather:?}");
            proxy.set(0, Weather::Clear);
            assert_eq!(line.read_u8().await.unwrap(), 2);
        }
    }

    #[tokio::test]
    async fn lines_are_cut_as_the_weather_says() {
        let proxy = echo().await;
        let mut line = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(says_back(&mut line, 1).await.unwrap(), 1);
        proxy.set(0, Weather::HalfOpen);
        // The old line seems to stand; a new one is well.
        let mut other = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(says_back(&mut other, 1).await.unwrap(), 1);
        assert!(is_silent(&mut line).await);
        proxy.set(0, Weather::Clear);
        assert!(says_back(&mut line, 2).await.is_err(), "there is nobody at its other end");
        assert_eq!(says_back(&mut other, 2).await.unwrap(), 2);
        proxy.set(0, Weather::NoAnswer);
        assert!(says_back(&mut other, 3).await.is_err());
        proxy.set(0, Weather::Refuse);
        let mut refused = TcpStream::connect(proxy.address).await.unwrap();
        assert!(says_back(&mut refused, 4).await.is_err());
    }
}
