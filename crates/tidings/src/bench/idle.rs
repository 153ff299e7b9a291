//! `idle`: what a connection costs that is logged in and silent: resident memory of the server, all of it divided by them.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::raw::Connection;

use super::{
    Options,
    child::{self, Kind},
    load::connect,
    process::resident_bytes,
    report::{Figure, Report},
    server::Server,
};

const CONNECTIONS: usize = 10_000;
const AT_ONCE: usize = 64;
/// Connections that come first: what the first of all need is not what each needs.
const WARM_UP: usize = 200;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    child::raise_file_limit()?;
    report.progress(&format!("idle: {CONNECTIONS} connections"))?;
    let server = Server::start(&options.folder.join("idle"), &[]).await?;
    let tidings = bytes_each(&server, true).await?;
    server.stop().await?;
    let bare = Server::of_kind(Kind::Echo, &options.folder).await?;
    let echo = bytes_each(&bare, false).await?;
    report.add(Figure::new("idle", "memory a connection", tidings / 1024.0, "KiB").goal(16.0, 8.0))?;
    report.add(Figure::new("idle", "memory a bare WebSocket", echo / 1024.0, "KiB"))?;
    Ok(())
}

async fn bytes_each(server: &Server, logged_in: bool) -> anyhow::Result<f64> {
    let connect = |number: usize| async move {
        match logged_in {
            true => connect(&server.url, &format!("idle{number}")).await,
            false => Ok(Connection::open(&server.url).await?),
        }
    };
    let connect_all = |numbers: std::ops::Range<usize>| {
        stream::iter(numbers).map(connect).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>()
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
