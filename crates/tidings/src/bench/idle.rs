//! `idle`: what a connection costs that is logged in and silent: resident memory of the server, all of it divided by them.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::raw::Connection;

use super::{
    Options,
    child::{self, Kind},
    listen::Listener,
    process::resident_bytes,
    report::{Figure, Report},
    server::Server,
};
use crate::cli::Transport;

const CONNECTIONS: usize = 10_000;
const AT_ONCE: usize = 64;
/// Connections that come first: what the first of all need is not what each needs.
const WARM_UP: usize = 200;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    child::raise_file_limit()?;
    let sockets = kib_each(options, report, Transport::Ws).await?;
    if options.transport != Transport::Ws {
        let others = kib_each(options, report, options.transport).await?;
        let what = format!("memory a connection over {:?}", options.transport);
        report.add(Figure::new("idle", what, others, "KiB").against("over WebSocket", sockets).goal(1.3, 1.0))?;
        return Ok(());
    }
    let bare = Server::of_kind(Kind::Echo, &options.folder).await?;
    let open = |_| async { anyhow::Ok(Connection::open(&bare.url).await?) };
    let echo = bytes_each(&bare, open).await?;
    report.add(Figure::new("idle", "memory a connection", sockets, "KiB").goal(16.0, 8.0))?;
    report.add(Figure::new("idle", "memory a bare WebSocket", echo / 1024.0, "KiB"))?;
    Ok(())
}

/// Of connections that are logged in, each another user.
async fn kib_each(options: &Options, report: &Report, transport: Transport) -> anyhow::Result<f64> {
    report.progress(&format!("idle: {CONNECTIONS} connections over {transport:?}"))?;
    let server = Server::start(&options.folder.join(format!("idle-{transport:?}")), &[]).await?;
    let connect = |number: usize| {
        let server = &server;
        async move { Listener::connect(transport, server, &format!("idle{number}")).await }
    };
    let each = bytes_each(&server, connect).await?;
    server.stop().await?;
    Ok(each / 1024.0)
}

async fn bytes_each<C, F>(server: &Server, connect: impl Fn(usize) -> F) -> anyhow::Result<f64>
where
    F: Future<Output = anyhow::Result<C>>,
{
    let connect_all = |numbers: std::ops::Range<usize>| {
        stream::iter(numbers).map(&connect).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>()
    };
    let first = connect_all(0..WARM_UP).await?;
    server.settle().await?;
    let before = resident_bytes(server.pid)?;
    let rest = connect_all(WARM_UP..CONNECTIONS).await?;
    server.settle().await?;
    let after = resident_bytes(server.pid)?;
    let each = (after as f64 - before as f64) / rest.len() as f64;
    drop((first, rest));
    Ok(each)
}
