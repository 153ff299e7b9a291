//! The door for other nodes: each connection begins with who the client is, then comes whatever the client said. Which it is
//! shows in the first byte: calls begin with a letter, MQTT with CONNECT.
//!
//! Nothing here is under TLS, and addresses are believed: it is for the fleet's own network.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

use super::{
    super::{
        Edge,
        addresses::Peer,
        door::{Stream, take},
        http::server::Server,
        mqtt,
    },
    head,
};

/// How long a node may take for the head, and for the client's first byte, which it has.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// Connections that have not said yet what they are.
const WAITING_MAX: usize = 1_024;
/// The first byte of CONNECT (MQTT section 3.1.1).
const MQTT_CONNECT: u8 = 0x10;

/// Takes connections of other nodes until the stop has begun. As long as this node is in the view the door is not shut: one that
/// is shut means that the process has died.
pub async fn serve(listener: TcpListener, edge: Edge) {
    let server = Server::new(edge.clone());
    let room = Arc::new(Semaphore::new(WAITING_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, _) = tokio::select! {
            taken = take(&listener) => taken,
            () = edge.shutdown.begun() => break,
        };
        let (edge, server) = (edge.clone(), server.clone());
        edge.clone().shutdown.spawn(async move {
            let begun = timeout(HEAD_WAIT, begin(stream, &edge)).await;
            drop(permit);
            match begun.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok((stream, peer, MQTT_CONNECT)) => mqtt::run_relayed(edge, stream, peer).await,
                Ok((stream, peer, _)) => server.serve(Stream::Plain(stream), peer).await,
                Err(error) => tracing::debug!(%error, "a connection of another node failed before its first byte"),
            }
        });
    }
    if let Some(member) = edge.fleet.clone() {
        tokio::spawn(async move {
            let send_away = async {
                loop {
                    drop(take(&listener).await);
                }
            };
            tokio::select! {
                () = send_away => {}
                _ = member.ended() => {}
            }
        });
    }
}

async fn begin(mut stream: TcpStream, edge: &Edge) -> io::Result<(TcpStream, Peer, u8)> {
    let peer = head::read(&mut stream, &edge.relay.key).await?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((stream, peer, first[0]))
}
