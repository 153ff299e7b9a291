//! The other nodes of a fleet, as this one's host speaks with them over the bus.
//!
//! `streams` carry what must arrive once and in order: tells, answers, commands. Questions are asked again until they are
//! answered; notices may be lost. What comes in is handled in `hear`.

mod commands;
mod hear;
mod listen;
mod questions;
mod streams;
mod watch;
pub mod wire;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, ShardId, UserId};
use tokio::{sync::Notify, time::Instant};

use crate::{
    bus::{Bus, Inlet, Lane},
    home::event::Tell,
    maps::HashMap,
    node::NodeId,
    session::reply::{Answer, Reply, Sender},
};

use super::{Host, shards::Place};
use commands::Commands;
use hear::Incoming;
use questions::Questions;
use streams::Streams;
use wire::{Class, Frame, Item, Notice};

/// By weight, what may wait for other nodes; beyond it sends wait.
const UNCONFIRMED_BYTES: usize = 64 << 20;
/// How often it is looked whether something is to be sent again.
const LOOK: Duration = Duration::from_millis(100);

pub struct Peers {
    me: NodeId,
    bus: Arc<dyn Bus>,
    streams: Mutex<Streams>,
    /// Told when there may be something to send, and when there is room again.
    to_send: Notify,
    room: Notify,
    commands: Mutex<Commands>,
    questions: Questions,
    incoming: Mutex<HashMap<(NodeId, Class), Incoming>>,
    pub(super) listeners: listen::Listeners,
    pub(super) watchers: watch::Watchers,
}

impl Peers {
    pub fn new(me: NodeId, bus: Arc<dyn Bus>) -> Arc<Self> {
        Arc::new(Self {
            me,
            bus,
            streams: Mutex::default(),
            to_send: Notify::new(),
            room: Notify::new(),
            commands: Mutex::default(),
            questions: Questions::default(),
            incoming: Mutex::default(),
            listeners: listen::Listeners::default(),
            watchers: watch::Watchers::default(),
        })
    }

    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Waits until not too much waits for other nodes.
    pub(super) async fn room(&self) {
        loop {
            let freed = self.room.notified();
            if self.streams.lock().bytes() <= UNCONFIRMED_BYTES {
                return;
            }
            // Looked at anew now and then: several wait, and one is told.
            let _ = tokio::time::timeout(LOOK, freed).await;
        }
    }

    /// Tells the home of a user on another node.
    pub(super) fn tell(&self, host: &Host, user: &UserId, tell: &Tell, sender: Option<&Sender>, with_entry: bool) {
        let place = host.shards.place(user.shard());
        let sender = match (sender, &place) {
            (Some(Sender::There { node, command }), Place::There(to)) if *node == to.id => Some(*command),
            _ => None,
        };
        let item = Item::Tell { user: user.clone(), tell: tell.clone(), sender, with_entry };
        self.streams.lock().push(item, place);
        self.to_send.notify_one();
    }

    fn push_to(&self, node: NodeId, item: Item) {
        self.streams.lock().push_to(node, item);
        self.to_send.notify_one();
    }

    /// The way back of a command that came from another node.
    fn reply_to(self: &Arc<Self>, node: NodeId, command: u64) -> Reply {
        let peers = Arc::downgrade(self);
        let answer = move |answer: Answer| {
            if let Some(peers) = Weak::upgrade(&peers) {
                peers.push_to(node, Item::Answer { command, answer });
            }
        };
        Reply::to_peer(Sender::There { node, command }, Box::new(answer))
    }

    /// To whom this conversation told something that is not confirmed, and from which entry on.
    pub(super) fn untold(&self, conversation: ConversationId) -> Vec<(UserId, Seq)> {
        self.streams.lock().untold(conversation)
    }

    /// These shards have left: nothing more is told by their conversations from here.
    pub(super) fn forget(&self, has_left: impl Fn(ShardId) -> bool) {
        self.streams.lock().drop_told_by(|conversation| has_left(conversation.shard()));
    }

    /// Whether something is on its way to nobody.
    pub(super) fn has_stranded(&self) -> bool {
        self.streams.lock().has_parked() || self.commands.lock().has_unsent()
    }

    fn send(&self, to: NodeId, lane: u16, frame: &Frame) {
        let bytes = Bytes::from(minicbor::to_vec(frame).expect("a vector takes all bytes"));
        // What the bus cannot take is lost like what it loses.
        if let Err(error) = self.bus.send(to, Lane::of(ShardId(lane)), bytes) {
            tracing::debug!(%error, node = %to, "a frame was not sent");
        }
    }

    pub(super) fn notify(&self, to: NodeId, notice: Notice) {
        self.send(to, lanes::NOTICES, &Frame::Notice(notice));
    }

    /// Tells all nodes.
    pub fn broadcast(&self, notice: Notice) {
        let bytes = minicbor::to_vec(Frame::Notice(notice)).expect("a vector takes all bytes");
        if let Err(error) = self.bus.broadcast(bytes.into()) {
            tracing::debug!(%error, "a notice was not sent");
        }
    }

    /// These nodes are no more.
    pub(super) fn gone(&self, is_gone: impl Fn(NodeId) -> bool) {
        let mut streams = self.streams.lock();
        let nodes: Vec<NodeId> = streams.nodes().into_iter().filter(|node| is_gone(*node)).collect();
        nodes.into_iter().for_each(|node| streams.gone(node));
        drop(streams);
        self.incoming.lock().retain(|(node, _), _| !is_gone(*node));
        self.commands.lock().gone(&is_gone);
        self.to_send.notify_one();
    }
}

/// Which lane of the bus carries what: a long answer does not stand in the way of a confirmation.
mod lanes {
    pub const TELLS: u16 = 0;
    pub const COMMANDS: u16 = 1;
    pub const QUESTIONS: u16 = 2;
    pub const NOTICES: u16 = 3;
}

impl Host {
    /// Joins this host with the others of its fleet. To be called once, before it has shards.
    pub fn join(self: &Arc<Self>, peers: Arc<Peers>, inlets: Vec<Inlet>) {
        assert!(self.peers.set(peers.clone()).is_ok(), "a host joins once");
        for inlet in inlets {
            tokio::spawn(hear::hear_all(Arc::downgrade(self), peers.clone(), inlet));
        }
        tokio::spawn(send_all(Arc::downgrade(self), peers));
    }

    /// What waits for places to be known, or was refused where it was sent, goes on its way. To be called when places have
    /// changed, and now and then: a node that is said to host a shard may not have opened it yet.
    pub(super) fn resettle(self: &Arc<Self>) {
        let Some(peers) = self.peers.get() else { return };
        let here = peers.streams.lock().settle(|shard| self.shards.place(shard));
        if !here.is_empty() {
            let host = self.clone();
            tokio::spawn(async move { host.take_own(here).await });
        }
        peers.send_commands(self);
        peers.to_send.notify_one();
    }
}

/// Sends what is due, until the host is dropped.
async fn send_all(host: Weak<Host>, peers: Arc<Peers>) {
    let (mut listened, mut watched, mut settled) = (Instant::now(), Instant::now(), Instant::now());
    while let Some(host) = host.upgrade() {
        if settled.elapsed() >= LOOK {
            settled = Instant::now();
            if peers.has_stranded() {
                host.resettle();
            }
        }
        let due = peers.streams.lock().due(Instant::now());
        for (node, frame) in &due {
            let lane = match frame {
                Frame::Batch { class: Class::Commands, .. } => lanes::COMMANDS,
                _ => lanes::TELLS,
            };
            peers.send(*node, lane, frame);
        }
        peers.expire_commands();
        if listened.elapsed() >= listen::RENEW {
            listened = Instant::now();
            let host = host.clone();
            tokio::spawn(async move { host.renew_all_listening().await });
        }
        if watched.elapsed() >= watch::RENEW {
            watched = Instant::now();
            let host = host.clone();
            tokio::spawn(async move { host.renew_watches().await });
        }
        drop(host);
        let _ = tokio::time::timeout(LOOK, peers.to_send.notified()).await;
    }
}
