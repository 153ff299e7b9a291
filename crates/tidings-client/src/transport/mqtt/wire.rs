//! The packets of MQTT 5 that this client says and hears. Only here the protocol crate is named, and of it only the packets: what
//! is under way and what is acknowledged is the link's.

use mqtt_protocol_core::mqtt::{
    common::Cursor,
    connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket},
    packet::{
        GenericPacketTrait, Property, ReceiveMaximum, SessionExpiryInterval, SubEntry, SubOpts, TopicAliasMaximum, v5_0,
    },
    result_code::{MqttError, SubackReasonCode},
};

pub(super) use mqtt_protocol_core::mqtt::packet::Qos;

use crate::error::Lost;

/// Names that the server may give its topics instead of writing them out. We tell deliveries by their packet ids, and need no topics.
const TOPIC_ALIASES: u16 = 3;
const SUCCESS: u8 = 0;

/// Who connects, and to which session.
pub(super) struct Connect<'a> {
    pub client_id: &'a str,
    pub username: &'a str,
    pub token: &'a str,
    /// Begin a new session.
    pub clean_start: bool,
    /// How long the session outlives its connection.
    pub expiry_s: u32,
    pub keep_alive_s: u16,
    /// Deliveries that may be without an acknowledgement.
    pub receive_maximum: u16,
}

/// Why the server said no: a reason code, and words.
#[derive(Debug, Default)]
pub(super) struct Reason {
    pub code: u8,
    pub why: String,
    /// When it may be tried again.
    pub retry_after_ms: Option<u64>,
}

/// What the server says.
#[derive(Debug)]
pub(super) enum Incoming {
    Connack(Result<Granted, Reason>),
    Suback {
        is_granted: bool,
    },
    /// A frame. With a packet id: to be acknowledged.
    Publish {
        packet_id: Option<u16>,
        frame: String,
    },
    Puback(Puback),
    Pong,
    Disconnect(Reason),
}

/// What the server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub receive_maximum: u16,
    pub max_packet_bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Puback {
    pub packet_id: u16,
    pub is_refused: bool,
    pub properties: Vec<(String, String)>,
}

/// Bytes into packets, piece by piece.
pub(super) struct Wire {
    builder: PacketBuilder,
}

impl Wire {
    pub fn new(max_bytes: usize) -> Self {
        Self { builder: PacketBuilder::with_maximum_packet_size(u32::try_from(max_bytes).unwrap_or(u32::MAX)) }
    }

    /// The next packet of `input`, whose bytes are taken from it.
    pub fn read(&mut self, input: &mut Vec<u8>) -> Result<Option<Incoming>, Lost> {
        let mut cursor = Cursor::new(input.as_slice());
        let built = self.builder.feed(&mut cursor);
        let taken = usize::try_from(cursor.position()).unwrap_or(input.len());
        let read = match built {
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(error) => Err(broken(error)),
            PacketBuildResult::Complete(raw) => packet(&raw),
        };
        input.drain(..taken);
        read
    }
}

fn packet(raw: &RawPacket) -> Result<Option<Incoming>, Lost> {
    const CONNACK: u8 = 2;
    const PUBLISH: u8 = 3;
    const PUBACK: u8 = 4;
    const SUBACK: u8 = 9;
    const PINGRESP: u8 = 13;
    const DISCONNECT: u8 = 14;
    Ok(Some(match raw.packet_type() {
        CONNACK => connack(&raw.parse_exact(v5_0::Connack::parse).map_err(broken)?),
        PUBLISH => publish(raw)?,
        PUBACK => puback(&raw.parse_exact(v5_0::Puback::parse).map_err(broken)?),
        SUBACK => {
            let suback = raw.parse_exact(v5_0::Suback::parse).map_err(broken)?;
            Incoming::Suback { is_granted: suback.reason_codes().iter().all(SubackReasonCode::is_success) }
        }
        PINGRESP => Incoming::Pong,
        DISCONNECT => {
            let disconnect = raw.parse_exact(v5_0::Disconnect::parse).map_err(broken)?;
            let code = disconnect.reason_code().map_or(SUCCESS, |code| code as u8);
            Incoming::Disconnect(said(code, disconnect.props().iter().flatten()))
        }
        _ => return Ok(None),
    }))
}

fn connack(connack: &v5_0::Connack) -> Incoming {
    let code = connack.reason_code() as u8;
    if code != SUCCESS {
        return Incoming::Connack(Err(said(code, connack.props().iter())));
    }
    let mut granted = Granted { receive_maximum: u16::MAX, max_packet_bytes: usize::MAX };
    for property in connack.props() {
        match property {
            Property::ReceiveMaximum(count) => granted.receive_maximum = count.val(),
            Property::MaximumPacketSize(bytes) => {
                granted.max_packet_bytes = usize::try_from(bytes.val()).unwrap_or(usize::MAX);
            }
            _ => {}
        }
    }
    Incoming::Connack(Ok(granted))
}

fn publish(raw: &RawPacket) -> Result<Incoming, Lost> {
    let PacketData::Publish(data) = &raw.data else { return Err(Lost::Broken("a publish that is none".to_owned())) };
    let (publish, _) = v5_0::Publish::parse(raw.flags(), data.clone()).map_err(broken)?;
    let frame = std::str::from_utf8(publish.payload().as_slice())
        .map_err(|_| Lost::Broken("the server sent what is not UTF-8".to_owned()))?;
    Ok(Incoming::Publish { packet_id: publish.packet_id(), frame: frame.to_owned() })
}

fn puback(puback: &v5_0::Puback) -> Incoming {
    let user = |property: &Property| match property {
        Property::UserProperty(user) => Some((user.key().to_owned(), user.val().to_owned())),
        _ => None,
    };
    Incoming::Puback(Puback {
        packet_id: puback.packet_id(),
        is_refused: puback.reason_code().is_some_and(|code| code.is_failure()),
        properties: puback.props().iter().flatten().filter_map(user).collect(),
    })
}

fn said<'a>(code: u8, properties: impl Iterator<Item = &'a Property>) -> Reason {
    let mut reason = Reason { code, ..Reason::default() };
    for property in properties {
        match property {
            Property::ReasonString(why) => why.val().clone_into(&mut reason.why),
            Property::UserProperty(user) if user.key() == "retry_after_ms" => {
                reason.retry_after_ms = user.val().parse().ok();
            }
            _ => {}
        }
    }
    reason
}

pub(super) fn put_connect(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), Lost> {
    let mut properties: Vec<Property> = vec![
        ReceiveMaximum::new(connect.receive_maximum).map_err(broken)?.into(),
        TopicAliasMaximum::new(TOPIC_ALIASES).map_err(broken)?.into(),
    ];
    if connect.expiry_s > 0 {
        properties.push(SessionExpiryInterval::new(connect.expiry_s).map_err(broken)?.into());
    }
    let builder = v5_0::Connect::builder().client_id(connect.client_id).map_err(broken)?;
    let builder = builder.user_name(connect.username).map_err(broken)?.password(connect.token).map_err(broken)?;
    let builder = builder.clean_start(connect.clean_start).keep_alive(connect.keep_alive_s).props(properties);
    put(out, &builder.build().map_err(broken)?);
    Ok(())
}

/// Subscribes to `topics`, each with its quality of service. What this connection itself makes is not wanted back.
pub(super) fn put_subscribe(out: &mut Vec<u8>, packet_id: u16, topics: &[(&str, Qos)]) -> Result<(), Lost> {
    let entry = |(topic, qos): &(&str, Qos)| SubEntry::new(*topic, SubOpts::new().set_qos(*qos).set_nl(true));
    let entries: Result<Vec<_>, _> = topics.iter().map(entry).collect();
    let builder = v5_0::Subscribe::builder().packet_id(packet_id).entries(entries.map_err(broken)?);
    put(out, &builder.build().map_err(broken)?);
    Ok(())
}

/// With a packet id, it is to be acknowledged.
pub(super) fn put_publish(out: &mut Vec<u8>, topic: &str, packet_id: Option<u16>, payload: &str) -> Result<(), Lost> {
    let builder = v5_0::Publish::builder().topic_name(topic).map_err(broken)?.payload(payload.as_bytes());
    let builder = match packet_id {
        Some(packet_id) => builder.qos(Qos::AtLeastOnce).packet_id(packet_id),
        None => builder.qos(Qos::AtMostOnce),
    };
    put(out, &builder.build().map_err(broken)?);
    Ok(())
}

pub(super) fn put_puback(out: &mut Vec<u8>, packet_id: u16) -> Result<(), Lost> {
    put(out, &v5_0::Puback::builder().packet_id(packet_id).build().map_err(broken)?);
    Ok(())
}

pub(super) fn put_ping(out: &mut Vec<u8>) {
    put(out, &v5_0::Pingreq::new());
}

pub(super) fn put_disconnect(out: &mut Vec<u8>) -> Result<(), Lost> {
    put(out, &v5_0::Disconnect::builder().build().map_err(broken)?);
    Ok(())
}

fn put(out: &mut Vec<u8>, packet: &impl GenericPacketTrait) {
    out.extend_from_slice(&packet.to_continuous_buffer());
}

fn broken(error: MqttError) -> Lost {
    Lost::Broken(format!("MQTT: {error:?}"))
}
