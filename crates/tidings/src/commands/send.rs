//! `tidings send TO TEXT`.

use std::io::Read;

use tidings_client::{Seq, new_client_msg_id};
use tidings_proto::frames::client;

use crate::{
    cli::{Send, Shared},
    commands,
    failure::{Failure, Result},
    names, output,
};

pub async fn run(shared: &Shared, send: Send) -> Result<()> {
    let text = if send.text == "-" { read_stdin()? } else { send.text };
    let client = commands::connect(shared).await?;
    let to = names::find(&client, &send.to).await?;
    let message = client::Send {
        to,
        client_msg_id: send.client_msg_id.unwrap_or_else(new_client_msg_id),
        text,
        mentions: send.mentions,
        reply_to: send.reply_to.map(Seq),
        attachments: Vec::new(),
        data: None,
    };
    let mut sent = client.start_send(message).await?.await?;
    // The request's number is of no use outside.
    sent.re = None;
    if shared.json {
        output::json(&sent)?;
    } else {
        let repeat = if sent.repeat { " (it was there already)" } else { "" };
        output::line(&format!("saved as {} of {}{repeat}", sent.seq, sent.conversation))?;
    }
    Ok(())
}

/// Standard input as it is, but for the line break that ends it.
fn read_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::usage(format!("standard input: {error}")))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}
