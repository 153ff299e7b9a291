//! The load generator's connection against a real WebSocket implementation.

use serde_json::json;
use tidings_client::{
    Lost,
    raw::{Connection, PONG},
};
use tidings_proto::frames::client::Hello;

use crate::script::{Script, conversation};

#[tokio::test]
async fn frames_of_all_sizes_go_both_ways() {
    let script = Script::start().await;
    let hello = Hello { username: Some("ada".to_owned()), ..Hello::default() };
    let serve = async {
        let (mut line, hello) = script.accept().await;
        assert_eq!(hello["username"], "ada");
        line.welcome().await;
        line
    };
    let (connection, mut line) = tokio::join!(Connection::connect(&script.url, hello), serve);
    let Connection { mut reader, mut writer } = connection.unwrap().0;

    let texts: Vec<String> = [0, 1, 200, 60_000].iter().map(|size| "ä".repeat(*size)).collect();
    for text in &texts {
        writer.queue(&json!({"type":"send","text":text}).to_string());
    }
    writer.queue(PONG);
    let read = async {
        for text in &texts {
            assert_eq!(line.hears("send").await["text"], json!(text));
        }
        line.hears("pong").await;
        line
    };
    let (flushed, mut line) = tokio::join!(writer.flush(), read);
    flushed.unwrap();

    for (seq, text) in (1..).zip(&texts) {
        line.says(json!({"type":"sent","re":seq,"conversation":conversation(),"seq":seq,"at":1,"more":text})).await;
    }
    for seq in 1..=4 {
        let frame = reader.next().await.unwrap();
        assert_eq!((frame.kind(), frame.re(), frame.seq()), ("sent", Some(seq), Some(seq)));
        assert_eq!(frame.conversation(), conversation().to_string());
    }
    assert!(reader.try_next().unwrap().is_none());
    let closing = tokio::spawn(line.closes(3001, "lagging"));
    assert!(matches!(reader.next().await, Err(Lost::Closed { code: 3001, .. })));
    drop((reader, writer));
    closing.await.unwrap();
}
