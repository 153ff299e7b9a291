//! A client that knows several servers of a fleet.

use serde_json::json;
use tidings_client::{Client, ClientError};
use tokio::net::TcpListener;

use crate::script::{Line, Script, delivered, item};

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

#[tokio::test]
async fn where_a_server_prefers_one_to_go_is_tried_first_and_forgotten_when_it_fails() {
    let (known, preferred) = (Script::start().await, Script::start().await);
    let (_client, _events, line) = known.connect(known.builder(), json!([])).await;
    let line = moved(line, &known, Some(&preferred.url)).await;
    // It goes there, and stays as long as it is let in.
    let line = moved(line, &preferred, None).await;
    let mut line = moved(line, &preferred, None).await;
    // Cut before it is let in, it is back where it came from.
    line.says(json!({"type":"move","after_ms":1})).await;
    drop(preferred.accept().await);
    let away = closed_address().await;
    let line = let_in(line, &known, Some(&away)).await;
    // Where nobody is, and where this client cannot go.
    let line = moved(line, &known, Some("ftp://elsewhere")).await;
    moved(line, &known, None).await;
}

/// Has the client leave a line; it comes to `script` and is let in there.
async fn moved(mut line: Line, script: &Script, prefer: Option<&str>) -> Line {
    line.says(json!({"type":"move","after_ms":1})).await;
    let_in(line, script, prefer).await
}

async fn let_in(left: Line, script: &Script, prefer: Option<&str>) -> Line {
    let (mut line, _) = script.accept().await;
    line.welcome_preferring(prefer).await;
    line.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-1","more":false,"full":false})).await;
    left.until_left().await;
    line
}

/// Where nobody listens.
async fn closed_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
