//! Bytes into packets. Whatever is wrong is a [`Reason`]; nothing here panics on what a client sends.

use mqtt_protocol_core::mqtt::{
    common::Cursor,
    connection::{PacketBuildResult, PacketData, RawPacket},
    packet::{Property, Qos, SubEntry, v3_1_1, v5_0},
    result_code::MqttError,
};

use super::{Auth, Connect, Filter, Incoming, Publish, Reason, Subscribe, TOPIC_ALIASES, Version, Will, Wire};

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBACK_BYTE: u8 = PUBACK << 4;
const PUBREL: u8 = 6;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

impl Wire {
    /// Reads the next packet out of `bytes`; what it has taken goes to the front of the next call. `None`: it is not whole.
    pub fn read(&mut self, bytes: &[u8]) -> (usize, Result<Option<Incoming>, Reason>) {
        // Most packets of a client that listens are these: they need not be built.
        if let [PUBACK_BYTE, 2, high, low, ..] = *bytes
            && !self.is_within
            && self.version.is_some()
            && (high, low) != (0, 0)
        {
            return (4, Ok(Some(Incoming::Puback { packet_id: u16::from_be_bytes([high, low]) })));
        }
        let mut cursor = Cursor::new(bytes);
        let built = self.builder.feed(&mut cursor);
        let taken = usize::try_from(cursor.position()).unwrap_or(bytes.len());
        let read = match built {
            PacketBuildResult::Incomplete => {
                self.is_within |= taken > 0;
                return (taken, Ok(None));
            }
            PacketBuildResult::Error(error) => Err(reason(error)),
            PacketBuildResult::Complete(raw) => self.packet(&raw).map(Some),
        };
        self.is_within = false;
        (taken, read)
    }

    fn packet(&mut self, raw: &RawPacket) -> Result<Incoming, Reason> {
        let kind = raw.packet_type();
        let flags = if matches!(kind, PUBREL | SUBSCRIBE | UNSUBSCRIBE) { 2 } else { 0 };
        if kind != PUBLISH && raw.flags() != flags {
            return Err(Reason::MALFORMED);
        }
        match (self.version, kind) {
            (None, CONNECT) => self.connect(raw),
            // Nothing comes before it, and it comes once.
            (None, _) | (Some(_), CONNECT) => Err(Reason::PROTOCOL_ERROR),
            (Some(version), PUBLISH) => self.publish(raw, version),
            (Some(Version::V3), PUBACK) => {
                let puback = exact(raw, v3_1_1::Puback::parse)?;
                Ok(Incoming::Puback { packet_id: puback.packet_id() })
            }
            (Some(Version::V5), PUBACK) => {
                let puback = exact(raw, v5_0::Puback::parse)?;
                Ok(Incoming::Puback { packet_id: puback.packet_id() })
            }
            (Some(version), SUBSCRIBE) => subscribe(raw, version),
            (Some(version), UNSUBSCRIBE) => unsubscribe(raw, version),
            (Some(_), PINGREQ) => {
                if raw.remaining_length() == 0 {
                    Ok(Incoming::Ping)
                } else {
                    Err(Reason::MALFORMED)
                }
            }
            (Some(version), DISCONNECT) => disconnect(raw, version),
            (Some(Version::V5), AUTH) => auth(raw),
            // Exactly-once delivery is not offered.
            (Some(_), _) => Err(Reason::PROTOCOL_ERROR),
        }
    }

    fn connect(&mut self, raw: &RawPacket) -> Result<Incoming, Reason> {
        let data = raw.data_as_slice();
        let (name, level, flags) = match data {
            [0, 4, name @ .., _, _] if name.len() >= 6 => (&name[..4], name[4], name[5]),
            _ => return Err(Reason::UNSUPPORTED_VERSION),
        };
        self.version = match level {
            4 if name == b"MQTT" => Some(Version::V3),
            5 if name == b"MQTT" => Some(Version::V5),
            _ => return Err(Reason::UNSUPPORTED_VERSION),
        };
        let (is_reserved, has_will, will_bits) = (flags & 1 != 0, flags & 0x04 != 0, flags & 0x38);
        if is_reserved || (!has_will && will_bits != 0) || will_bits & 0x18 == 0x18 {
            return Err(Reason::MALFORMED);
        }
        let will = has_will.then_some(Will { qos: (flags >> 3) & 3, retain: flags & 0x20 != 0 });
        let connect = match self.version {
            Some(Version::V3) => connect_v3(&exact(raw, v3_1_1::Connect::parse)?)?,
            _ => {
                let packet = exact(raw, v5_0::Connect::parse)?;
                let mut connect = Connect {
                    client_id: packet.client_id().to_owned(),
                    username: packet.user_name().map(str::to_owned),
                    password: packet.password().map(password).transpose()?,
                    clean_start: packet.clean_start(),
                    keep_alive_s: packet.keep_alive(),
                    receive_maximum: u16::MAX,
                    ..Connect::default()
                };
                for property in packet.props() {
                    self.connect_property(&mut connect, property);
                }
                connect
            }
        };
        Ok(Incoming::Connect(Box::new(Connect { will, ..connect })))
    }

    fn connect_property(&mut self, connect: &mut Connect, property: &Property) {
        match property {
            Property::SessionExpiryInterval(seconds) => connect.expiry_s = seconds.val(),
            Property::ReceiveMaximum(count) => connect.receive_maximum = count.val(),
            Property::MaximumPacketSize(bytes) => {
                self.max_out_bytes = usize::try_from(bytes.val()).unwrap_or(usize::MAX)
            }
            Property::TopicAliasMaximum(count) => self.aliases_out_max = count.val(),
            Property::RequestResponseInformation(wish) => connect.wants_response_information = wish.val() == 1,
            Property::RequestProblemInformation(wish) => self.wants_properties = wish.val() == 1,
            Property::AuthenticationMethod(method) => connect.method = Some(method.val().to_owned()),
            Property::AuthenticationData(shown) => connect.shown = Some(shown.val().to_vec()),
            _ => {}
        }
    }

    fn publish(&mut self, raw: &RawPacket, version: Version) -> Result<Incoming, Reason> {
        let PacketData::Publish(data) = &raw.data else { return Err(Reason::MALFORMED) };
        let flags = raw.flags();
        let (qos, dup, retain) = ((flags >> 1) & 3, flags & 8 != 0, flags & 1 != 0);
        if qos == 3 || (qos == 0 && dup) {
            return Err(Reason::MALFORMED);
        }
        if qos == 2 {
            return Err(Reason::QOS);
        }
        if retain {
            return Err(Reason::NO_RETAIN);
        }
        let mut publish = Publish {
            topic: String::new(),
            payload: Vec::new(),
            packet_id: None,
            dup,
            response_topic: None,
            correlation: None,
        };
        match version {
            Version::V3 => {
                let (packet, _) = v3_1_1::Publish::parse(flags, data.clone()).map_err(reason)?;
                publish.topic = packet.topic_name().to_owned();
                publish.payload = packet.payload().as_slice().to_vec();
                publish.packet_id = packet.packet_id();
            }
            Version::V5 => {
                let (packet, _) = v5_0::Publish::parse(flags, data.clone()).map_err(reason)?;
                publish.topic = packet.topic_name().to_owned();
                publish.payload = packet.payload().as_slice().to_vec();
                publish.packet_id = packet.packet_id();
                let alias = publish_properties(&mut publish, packet.props())?;
                self.alias(&mut publish.topic, alias)?;
            }
        }
        if publish.packet_id == Some(0) || publish.topic.is_empty() {
            return Err(Reason::PROTOCOL_ERROR);
        }
        Ok(Incoming::Publish(publish))
    }

    /// A topic's number stands for it, once both came together.
    fn alias(&mut self, topic: &mut String, alias: Option<u16>) -> Result<(), Reason> {
        let Some(alias) = alias else { return Ok(()) };
        if alias == 0 || alias > TOPIC_ALIASES {
            return Err(Reason::TOPIC_ALIAS);
        }
        let place = usize::from(alias) - 1;
        if self.aliases_in.len() <= place {
            self.aliases_in.resize(place + 1, None);
        }
        let known = &mut self.aliases_in[place];
        if topic.is_empty() {
            *topic = known.clone().ok_or(Reason::TOPIC_ALIAS)?;
        } else {
            *known = Some(topic.clone());
        }
        Ok(())
    }
}

fn connect_v3(packet: &v3_1_1::Connect) -> Result<Connect, Reason> {
    let clean_start = packet.clean_session();
    Ok(Connect {
        client_id: packet.client_id().to_owned(),
        username: packet.user_name().map(str::to_owned),
        password: packet.password().map(password).transpose()?,
        clean_start,
        expiry_s: if clean_start { 0 } else { u32::MAX },
        keep_alive_s: packet.keep_alive(),
        receive_maximum: u16::MAX,
        ..Connect::default()
    })
}

fn password(bytes: &[u8]) -> Result<String, Reason> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Reason::BAD_LOGIN)
}

/// What a publish says beside its payload. Tells its topic's number.
fn publish_properties(publish: &mut Publish, properties: &[Property]) -> Result<Option<u16>, Reason> {
    let mut alias = None;
    for property in properties {
        match property {
            Property::TopicAlias(number) => alias = Some(number.val()),
            Property::ResponseTopic(topic) => publish.response_topic = Some(topic.val().to_owned()),
            Property::CorrelationData(data) => publish.correlation = Some(data.val().to_vec()),
            // Only a server sends it.
            Property::SubscriptionIdentifier(_) => return Err(Reason::PROTOCOL_ERROR),
            _ => {}
        }
    }
    Ok(alias)
}

fn subscribe(raw: &RawPacket, version: Version) -> Result<Incoming, Reason> {
    let (packet_id, entries, has_identifier) = match version {
        Version::V3 => {
            let packet = exact(raw, v3_1_1::Subscribe::parse)?;
            (packet.packet_id(), packet.entries().to_vec(), false)
        }
        Version::V5 => {
            let packet = exact(raw, v5_0::Subscribe::parse)?;
            let is_identifier = |property: &Property| matches!(property, Property::SubscriptionIdentifier(_));
            (packet.packet_id(), packet.entries().to_vec(), packet.props().iter().any(is_identifier))
        }
    };
    if packet_id == 0 {
        return Err(Reason::PROTOCOL_ERROR);
    }
    let filter = |entry: &SubEntry| Filter {
        filter: entry.topic_filter().to_owned(),
        qos: match entry.sub_opts().qos() {
            Qos::AtMostOnce => 0,
            Qos::AtLeastOnce => 1,
            Qos::ExactlyOnce => 2,
        },
        no_local: version == Version::V5 && entry.sub_opts().nl(),
    };
    Ok(Incoming::Subscribe(Subscribe { packet_id, filters: entries.iter().map(filter).collect(), has_identifier }))
}

fn unsubscribe(raw: &RawPacket, version: Version) -> Result<Incoming, Reason> {
    let (packet_id, filters): (_, Vec<String>) = match version {
        Version::V3 => {
            let packet = exact(raw, v3_1_1::Unsubscribe::parse)?;
            (packet.packet_id(), packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect())
        }
        Version::V5 => {
            let packet = exact(raw, v5_0::Unsubscribe::parse)?;
            (packet.packet_id(), packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect())
        }
    };
    if packet_id == 0 { Err(Reason::PROTOCOL_ERROR) } else { Ok(Incoming::Unsubscribe { packet_id, filters }) }
}

fn disconnect(raw: &RawPacket, version: Version) -> Result<Incoming, Reason> {
    let expiry_s = match version {
        Version::V3 => {
            exact(raw, v3_1_1::Disconnect::parse)?;
            None
        }
        Version::V5 => {
            let packet = exact(raw, v5_0::Disconnect::parse)?;
            packet.props().iter().flatten().find_map(|property| match property {
                Property::SessionExpiryInterval(seconds) => Some(seconds.val()),
                _ => None,
            })
        }
    };
    Ok(Incoming::Disconnect { expiry_s })
}

fn auth(raw: &RawPacket) -> Result<Incoming, Reason> {
    let packet = exact(raw, v5_0::Auth::parse)?;
    let reason = Reason(raw.data_as_slice().first().copied().unwrap_or(Reason::SUCCESS.0));
    let mut auth = Auth { reason, method: None, shown: None };
    for property in packet.props().iter().flatten() {
        match property {
            Property::AuthenticationMethod(method) => auth.method = Some(method.val().to_owned()),
            Property::AuthenticationData(shown) => auth.shown = Some(shown.val().to_vec()),
            _ => {}
        }
    }
    Ok(Incoming::Auth(auth))
}

/// A packet is as long as it says.
fn exact<T>(raw: &RawPacket, parse: impl FnOnce(&[u8]) -> Result<(T, usize), MqttError>) -> Result<T, Reason> {
    raw.parse_exact(parse).map_err(reason)
}

fn reason(error: MqttError) -> Reason {
    // The library's own errors have larger numbers.
    u8::try_from(error as u16).map_or(Reason::MALFORMED, Reason)
}
