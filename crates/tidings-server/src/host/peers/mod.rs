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
    bus::{Bus, Inlet, Lane, local::LocalNetwork},
    home::event::Tell,
    maps::HashMap,
    node::NodeId,
    session::reply::{Answer, Reply, Sender},
};

use super::Host;
use commands::Commands;
use hear::Incoming;
use questions::Questions;
use streams::Streams;
use wire::{Behind, Class, Frame, Item, Notice};

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
            streams: Mutex::new(Streams::new(me)),
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

    /// Tells the home of a user on another node, or, behind what is on its way to it, on this one.
    pub(super) fn tell(&self, host: &Host, user: &UserId, tell: &Tell, sender: Option<&Sender>, with_entry: bool) {
        let place = host.shards.place(user.shard());
        let sender = match sender {
            Some(Sender::There { node, command }) => Some((*node, *command)),
            _ => None,
        };
        let item = Item::Tell { user: user.clone(), tell: tell.clone(), sender, with_entry };
        self.streams.lock().push(item, &place);
        self.to_send.notify_one();
    }

    /// Whether something that homes of this shard were told is not confirmed: they may have come here meanwhile.
    pub(super) fn has_tells_for(&self, shard: ShardId) -> bool {
        self.streams.lock().has_tells_for(shard)
    }

    fn push_to(&self, node: NodeId, item: Item) {
        self.streams.lock().push_to(node, item);
        self.to_send.notify_one();
    }

    /// The way back of a command that came from a node: behind what was told to the home of who asked.
    fn reply_to(self: &Arc<Self>, host: &Host, node: NodeId, command: u64, behind: Behind) -> Reply {
        let (peers, host) = (Arc::downgrade(self), host.me.clone());
        let answer = move |answer: Answer| {
            let (Some(peers), Some(host)) = (Weak::upgrade(&peers), host.upgrade()) else { return };
            if node == peers.me && !peers.has_tells_for(behind.home) {
                return host.answer_own(command, answer);
            }
            peers.streams.lock().push_answer(node, command, answer, behind);
            peers.to_send.notify_one();
        };
        Reply::to_peer(Sender::There { node, command }, Box::new(answer))
    }

    /// What a host before was not sure of.
    pub(super) fn note_untold(&self, conversation: ConversationId, user: UserId, first_seq: Seq) {
        self.streams.lock().note_untold(conversation, user, first_seq);
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
        let is_gone = |node: NodeId| node != self.me && is_gone(node);
        let nodes: Vec<NodeId> = streams.nodes().into_iter().filter(|node| is_gone(*node)).collect();
        nodes.into_iter().for_each(|node| streams.gone(node));
        drop(streams);
        self.incoming.lock().retain(|(node, _), _| !is_gone(*node));
        self.commands.lock().gone(is_gone);
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
    /// Notes what homes elsewhere are to be told, and tells nobody: it stands in the tables for whoever opens the shards.
    pub(super) fn join_nobody(&self) {
        let me = NodeId::random();
        let (bus, _) = LocalNetwork::default().join(me);
        assert!(self.peers.set(Peers::new(me, Arc::new(bus))).is_ok(), "a host joins once");
    }

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
        peers.streams.lock().settle(|shard| self.shards.place(shard));
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
        for (node, frame) in due {
            let lane = match frame {
                Frame::Batch { class: Class::Commands, .. } => lanes::COMMANDS,
                _ => lanes::TELLS,
            };
            if node == peers.me {
                peers.hear(&host, node, frame);
            } else {
                peers.send(node, lane, &frame);
            }
        }
        host.expire_commands();
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
