//! Packets into bytes.

use mqtt_protocol_core::mqtt::{
    packet::{
        AssignedClientIdentifier, AuthenticationMethod, CorrelationData, GenericPacketTrait, MaximumPacketSize,
        MaximumQos, Property, Qos, ReasonString, ReceiveMaximum, ResponseInformation, RetainAvailable,
        SharedSubscriptionAvailable, SubscriptionIdentifierAvailable, TopicAliasMaximum, UserProperty, v3_1_1, v5_0,
    },
    result_code::{
        AuthReasonCode, ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode,
        SubackReturnCode, UnsubackReasonCode,
    },
};

use super::{Reason, Refusal, TOPIC_ALIASES, Version, Wire};

/// The first byte of a publish, by its quality of service, and the property that is a topic's number.
const PUBLISH: u8 = 0x30;
const PUBLISH_QOS_1: u8 = 0x32;
const TOPIC_ALIAS: u8 = 0x23;

const RIGHT: &str = "all its parts were made here";

/// The answer to CONNECT.
#[derive(Debug, Default)]
pub struct Connack<'a> {
    pub session_present: bool,
    /// The name that the server made for the device.
    pub assigned: Option<&'a str>,
    pub receive_maximum: u16,
    pub max_packet_bytes: usize,
    pub response_information: Option<&'a str>,
    /// The way in which the client has logged in, if it named one.
    pub method: Option<&'a str>,
}

/// A publish from the server.
#[derive(Debug)]
pub struct Delivery<'a> {
    pub topic: &'a str,
    /// Which of our three topics it is, if it is one: those may be shortened to a number.
    pub place: Option<usize>,
    /// With quality of service 1.
    pub packet_id: Option<u16>,
    pub payload: &'a [u8],
    pub correlation: Option<&'a [u8]>,
}

impl Wire {
    pub fn put_connack(&self, out: &mut Vec<u8>, connack: &Connack<'_>) {
        if !self.is_v5() {
            let builder = v3_1_1::Connack::builder().session_present(connack.session_present);
            put(out, &builder.return_code(ConnectReturnCode::Accepted).build().expect(RIGHT));
            return;
        }
        let max_bytes = u32::try_from(connack.max_packet_bytes).unwrap_or(u32::MAX);
        let mut properties: Vec<Property> = vec![
            ReceiveMaximum::new(connack.receive_maximum).expect(RIGHT).into(),
            MaximumQos::new(1).expect(RIGHT).into(),
            RetainAvailable::new(0).expect(RIGHT).into(),
            MaximumPacketSize::new(max_bytes).expect(RIGHT).into(),
            TopicAliasMaximum::new(TOPIC_ALIASES).expect(RIGHT).into(),
            SubscriptionIdentifierAvailable::new(0).expect(RIGHT).into(),
            SharedSubscriptionAvailable::new(0).expect(RIGHT).into(),
        ];
        if let Some(name) = connack.assigned {
            properties.push(AssignedClientIdentifier::new(name).expect(RIGHT).into());
        }
        if let Some(topic) = connack.response_information {
            properties.push(ResponseInformation::new(topic).expect(RIGHT).into());
        }
        properties.extend(method(connack.method));
        let builder = v5_0::Connack::builder().session_present(connack.session_present);
        put(out, &builder.reason_code(ConnectReasonCode::Success).props(properties).build().expect(RIGHT));
    }

    /// The new login counts.
    pub fn put_auth(&self, out: &mut Vec<u8>, name: &str) {
        let properties: Vec<Property> = method(Some(name)).into_iter().collect();
        let builder = v5_0::Auth::builder().reason_code(AuthReasonCode::Success);
        put(out, &builder.props(properties).build().expect(RIGHT));
    }

    /// Refuses a connection. Before a version is known the oldest answer says most.
    pub fn put_refusal(&self, out: &mut Vec<u8>, refusal: &Refusal) {
        let Refusal { reason, why, retry_after_ms } = refusal;
        let reason = *reason;
        if !self.is_v5() {
            let code = match reason {
                Reason::UNSUPPORTED_VERSION => ConnectReturnCode::UnacceptableProtocolVersion,
                Reason::CLIENT_ID => ConnectReturnCode::IdentifierRejected,
                Reason::BAD_LOGIN => ConnectReturnCode::BadUserNameOrPassword,
                Reason::UNAVAILABLE | Reason::BUSY | Reason::RATE => ConnectReturnCode::ServerUnavailable,
                _ => ConnectReturnCode::NotAuthorized,
            };
            let builder = v3_1_1::Connack::builder().session_present(false);
            put(out, &builder.return_code(code).build().expect(RIGHT));
            return;
        }
        let code = ConnectReasonCode::try_from(reason.0).unwrap_or(ConnectReasonCode::UnspecifiedError);
        let builder = v5_0::Connack::builder().session_present(false).reason_code(code);
        let mut properties = Vec::new();
        if self.wants_properties {
            properties = reason_string(why);
            let told = retry_after_ms.and_then(|ms| UserProperty::new("retry_after_ms", ms.to_string()).ok());
            properties.extend(told.map(Property::from));
        }
        let packet = builder.props(properties).build().expect(RIGHT);
        if packet.size() <= self.max_out_bytes {
            put(out, &packet);
        }
    }

    /// False: it is larger than the client takes, and was left out.
    pub fn put_publish(&mut self, out: &mut Vec<u8>, delivery: &Delivery<'_>) -> bool {
        if let Delivery { place: Some(place), correlation: None, .. } = delivery {
            return self.put_own(out, delivery, *place);
        }
        let qos = if delivery.packet_id.is_some() { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        if self.version != Some(Version::V5) {
            let Ok(builder) = v3_1_1::Publish::builder().topic_name(delivery.topic) else { return false };
            let builder = builder.qos(qos).payload(delivery.payload);
            let builder = match delivery.packet_id {
                Some(packet_id) => builder.packet_id(packet_id),
                None => builder,
            };
            put(out, &builder.build().expect(RIGHT));
            return true;
        }
        let mut properties = Vec::new();
        if let Some(correlation) = delivery.correlation {
            properties.push(CorrelationData::new(correlation.to_vec()).expect(RIGHT).into());
        }
        let Ok(builder) = v5_0::Publish::builder().topic_name(delivery.topic) else { return false };
        let builder = builder.qos(qos).payload(delivery.payload).props(properties);
        let builder = match delivery.packet_id {
            Some(packet_id) => builder.packet_id(packet_id),
            None => builder,
        };
        let packet = builder.build().expect(RIGHT);
        if packet.size() > self.max_out_bytes {
            return false;
        }
        put(out, &packet);
        true
    }

    /// A publish on one of our own topics, which nearly all are: written where it is to be, without a packet in between.
    fn put_own(&mut self, out: &mut Vec<u8>, delivery: &Delivery<'_>, place: usize) -> bool {
        let is_v5 = self.is_v5();
        let alias = (is_v5 && place < usize::from(self.aliases_out_max)).then_some(place);
        let topic = if alias.is_some_and(|place| self.aliases_out[place]) { "" } else { delivery.topic };
        let properties_bytes = match alias {
            Some(_) => 4,
            None if is_v5 => 1,
            None => 0,
        };
        let id_bytes = if delivery.packet_id.is_some() { 2 } else { 0 };
        let length = 2 + topic.len() + id_bytes + properties_bytes + delivery.payload.len();
        let begin = out.len();
        out.push(if delivery.packet_id.is_some() { PUBLISH_QOS_1 } else { PUBLISH });
        put_length(out, length);
        if out.len() - begin + length > self.max_out_bytes {
            out.truncate(begin);
            return false;
        }
        out.extend(u16::try_from(topic.len()).expect(RIGHT).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend(delivery.packet_id.iter().flat_map(|packet_id| packet_id.to_be_bytes()));
        match alias {
            Some(place) => {
                let [high, low] = u16::try_from(place + 1).expect(RIGHT).to_be_bytes();
                out.extend([3, TOPIC_ALIAS, high, low]);
                self.aliases_out[place] = true;
            }
            None if is_v5 => out.push(0),
            None => {}
        }
        out.extend_from_slice(delivery.payload);
        true
    }

    /// Acknowledges a publish. In version 3.1.1 there is no way to say more.
    pub fn put_puback(&self, out: &mut Vec<u8>, packet_id: u16, reason: Reason, properties: &[(&str, &str)]) {
        if !self.is_v5() {
            put(out, &v3_1_1::Puback::builder().packet_id(packet_id).build().expect(RIGHT));
            return;
        }
        let code = PubackReasonCode::try_from(reason.0).unwrap_or(PubackReasonCode::UnspecifiedError);
        let told = properties.iter().filter(|_| self.wants_properties);
        let properties: Vec<Property> =
            told.filter_map(|(key, value)| Some(UserProperty::new(*key, *value).ok()?.into())).collect();
        let full = v5_0::Puback::builder().packet_id(packet_id).reason_code(code).props(properties);
        let full = full.build().expect(RIGHT);
        if full.size() <= self.max_out_bytes {
            put(out, &full);
        } else {
            put(out, &v5_0::Puback::builder().packet_id(packet_id).reason_code(code).build().expect(RIGHT));
        }
    }

    /// Answers SUBSCRIBE: for each filter the granted quality of service, or why not.
    pub fn put_suback(&self, out: &mut Vec<u8>, packet_id: u16, reasons: &[Reason]) {
        if self.is_v5() {
            let code =
                |reason: &Reason| SubackReasonCode::try_from(reason.0).unwrap_or(SubackReasonCode::UnspecifiedError);
            let builder = v5_0::Suback::builder().packet_id(packet_id);
            put(out, &builder.reason_codes(reasons.iter().map(code).collect()).build().expect(RIGHT));
        } else {
            let code = |reason: &Reason| SubackReturnCode::try_from(reason.0).unwrap_or(SubackReturnCode::Failure);
            let builder = v3_1_1::Suback::builder().packet_id(packet_id);
            put(out, &builder.return_codes(reasons.iter().map(code).collect()).build().expect(RIGHT));
        }
    }

    pub fn put_unsuback(&self, out: &mut Vec<u8>, packet_id: u16, reasons: &[Reason]) {
        if self.is_v5() {
            let code = |reason: &Reason| {
                UnsubackReasonCode::try_from(reason.0).unwrap_or(UnsubackReasonCode::UnspecifiedError)
            };
            let builder = v5_0::Unsuback::builder().packet_id(packet_id);
            put(out, &builder.reason_codes(reasons.iter().map(code).collect()).build().expect(RIGHT));
        } else {
            put(out, &v3_1_1::Unsuback::builder().packet_id(packet_id).build().expect(RIGHT));
        }
    }

    pub fn put_pong(&self, out: &mut Vec<u8>) {
        if self.is_v5() { put(out, &v5_0::Pingresp::new()) } else { put(out, &v3_1_1::Pingresp::new()) }
    }

    /// Says why the connection ends; only version 5 can.
    pub fn put_disconnect(&self, out: &mut Vec<u8>, reason: Reason, why: &str) {
        if !self.is_v5() {
            return;
        }
        let code = DisconnectReasonCode::try_from(reason.0).unwrap_or(DisconnectReasonCode::UnspecifiedError);
        let properties = if self.wants_properties { reason_string(why) } else { Vec::new() };
        let packet = v5_0::Disconnect::builder().reason_code(code).props(properties).build().expect(RIGHT);
        if packet.size() <= self.max_out_bytes {
            put(out, &packet);
        }
    }
}

/// The length of what follows (MQTT 5 section 1.5.5).
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length % 128).expect(RIGHT);
        length /= 128;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn method(name: Option<&str>) -> Option<Property> {
    AuthenticationMethod::new(name?).ok().map(Into::into)
}

fn reason_string(why: &str) -> Vec<Property> {
    ReasonString::new(why).ok().filter(|_| !why.is_empty()).map(Into::into).into_iter().collect()
}

fn put(out: &mut Vec<u8>, packet: &impl GenericPacketTrait) {
    out.extend_from_slice(&packet.to_continuous_buffer());
}
