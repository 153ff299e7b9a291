//! A client that knows several servers of a fleet.

use serde_json::json;
use tidings_client::{Client, ClientError};
use tokio::net::TcpListener;

use crate::script::{Script, delivered, item};

#[tokio::test]
async fn who_is_cut_off_or_told_to_move_comes_back_elsewhere() {
    let (one, other) = (Script::start().await, Script::start().await);
    let (_client, mut events, line) = one.connect(one.builder().also(&other.url), json!([item(4, None)])).await;
    // Its server is gone, without a word.
    drop(line);
    let (mut line, hello) = other.accept().await;
    assert_eq!(hello["sync"], "t-0", "it goes on where it was");
    line.welcome().await;
    line.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-1","more":false,"full":false})).await;
    line.entry(5).await;
    assert_eq!(delivered(&mut events, 1).await, [5]);
    // This one drains: the next line stands before it is let go.
    line.says(json!({"type":"move","after_ms":10})).await;
    let (mut back, hello) = one.accept().await;
    assert_eq!(hello["sync"], "t-1");
    line.entry(6).await;
    assert_eq!(delivered(&mut events, 1).await, [6]);
    back.welcome().await;
    back.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-2","more":false,"full":false})).await;
    line.until_left().await;
    back.entry(7).await;
    assert_eq!(delivered(&mut events, 1).await, [7]);
}

#[tokio::test]
async fn the_first_connection_goes_to_whoever_is_there() {
    let (script, away) = (Script::start().await, closed_address().await);
    let builder = Client::builder(&away).also(&script.url).user("ada").device("laptop");
    script.connect(builder, json!([])).await;

    let nobody = Client::builder(&away).also(&closed_address().await).user("ada").connect().await;
    assert!(matches!(nobody, Err(ClientError::Unreachable { .. })), "{nobody:?}");
}

/// Where nobody listens.
async fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
