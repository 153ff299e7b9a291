//! `tidings chat`: the full-screen client. `app` is the state and what happens to it, `conversation` one part of it, `keys` what a person does to it, `log` one
//! conversation's messages, `lines` and `render` what it looks like; all of them pure. This file alone touches the terminal and the connection.

mod app;
mod conversation;
mod keys;
mod lines;
mod log;
mod prompt;
mod render;
mod render_list;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use crossterm::{
    event::{
        DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange, Event as TerminalEvent,
        EventStream,
    },
    execute,
};
use futures_util::StreamExt;
use ratatui::DefaultTerminal;
use tidings_client::{Client, Event, Events, Status, http::Http};
use tokio::sync::mpsc;

use self::app::{App, Effect, Outcome};
use crate::{
    cli::Shared,
    commands,
    failure::{Failure, Result},
    names,
};

/// Answers on their way to the screen.
const OUTCOMES: usize = 1_024;
/// Events taken before the screen is drawn again: a flood costs few drawings.
const EVENTS_A_DRAWING: usize = 512;
/// What passes with time (who types, when the next try is) is drawn again this often.
const TICK: Duration = Duration::from_millis(500);

pub async fn run(shared: &Shared, conversation: Option<&str>) -> Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("chat needs a terminal; scripts use send, tail and history"));
    }
    let account = commands::account(shared)?;
    let (client, events) = commands::builder(shared)?.connect().await?;
    let http = Http::new(&shared.url)?;
    // Names of people are asked for over HTTP; without a token they are shown by their ids.
    let http = match http.login(&account.user, Some(&account.device)).await {
        Ok(login) => http.with_token(&login.token),
        Err(_) => http,
    };
    let open = match conversation {
        Some(name) => Some(names::find(&client, name).await?),
        None => None,
    };
    let mut app = App::new(client.user().clone());
    if let Some(to) = open {
        app.open_when_known(to);
    }
    // Also restores the terminal when something panics.
    let terminal = ratatui::try_init()?;
    let modes = execute!(io::stdout(), EnableBracketedPaste, EnableFocusChange);
    let ended = match modes {
        Ok(()) => Screen { app, client, http, terminal }.run(events).await,
        Err(error) => Err(error.into()),
    };
    let restored = execute!(io::stdout(), DisableBracketedPaste, DisableFocusChange);
    ratatui::restore();
    restored?;
    ended
}

struct Screen {
    app: App,
    client: Client,
    http: Http,
    terminal: DefaultTerminal,
}

impl Screen {
    async fn run(mut self, mut events: Events) -> Result<()> {
        let mut keys = EventStream::new();
        let mut status = self.client.status();
        let (outcomes, mut answers) = mpsc::channel(OUTCOMES);
        let mut tick = tokio::time::interval(TICK);
        loop {
            self.terminal.draw(|frame| render::draw(frame, &mut self.app, Instant::now()))?;
            tokio::select! {
                key = keys.next() => match key {
                    Some(key) => self.on_terminal(key?),
                    None => return Ok(()),
                },
                event = events.next() => match event {
                    Some(event) => self.on_events(event, &mut events).await?,
                    None => return ended(&status.borrow()),
                },
                Some(outcome) = answers.recv() => self.app.on_outcome(outcome),
                Ok(()) = status.changed() => self.app.on_status(&status.borrow_and_update(), Instant::now()),
                _ = tick.tick() => self.app.on_tick(Instant::now()),
            }
            self.app.settle();
            for effect in self.app.take_effects() {
                match effect {
                    Effect::Quit => return Ok(()),
                    effect => self.carry_out(effect, &outcomes).await?,
                }
            }
        }
    }

    fn on_terminal(&mut self, event: TerminalEvent) {
        match event {
            TerminalEvent::Key(key) => keys::on_key(&mut self.app, key),
            TerminalEvent::Paste(text) => keys::on_paste(&mut self.app, &text),
            TerminalEvent::FocusGained => self.app.focused = true,
            TerminalEvent::FocusLost => self.app.focused = false,
            TerminalEvent::Mouse(_) | TerminalEvent::Resize(..) => {}
        }
    }

    async fn on_events(&mut self, first: Event, events: &mut Events) -> Result<()> {
        let mut next = Some(first);
        for _ in 0..EVENTS_A_DRAWING {
            let Some(event) = next else { break };
            if let Event::Entry(live) = &event {
                self.client.ack(live.conversation, live.entry.seq).await?;
            }
            self.app.on_event(event, Instant::now());
            next = events.try_next();
        }
        if let Some(event) = next {
            self.app.on_event(event, Instant::now());
        }
        Ok(())
    }

    async fn carry_out(&self, effect: Effect, outcomes: &mpsc::Sender<Outcome>) -> Result<()> {
        let outcomes = outcomes.clone();
        match effect {
            Effect::Request(command, purpose) => {
                let answer = self.client.start(*command).await?;
                tokio::spawn(async move { outcomes.send(Outcome::Answer(purpose, Box::new(answer.await))).await });
            }
            Effect::Typing(conversation) => self.client.typing(conversation).await?,
            Effect::Names(users) => {
                let http = self.http.clone();
                tokio::spawn(async move {
                    // Without names the ids are shown: nothing to tell.
                    if let Ok(profiles) = http.users(&users).await {
                        let _ = outcomes.send(Outcome::Names(profiles)).await;
                    }
                });
            }
            Effect::Quit => {}
        }
        Ok(())
    }
}

fn ended(status: &Status) -> Result<()> {
    match status {
        Status::Ended { error } => Err(error.clone().into()),
        Status::Connected(_) | Status::Waiting { .. } => Ok(()),
    }
}
