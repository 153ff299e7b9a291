"""paho-mqtt: two people talk; one leaves and finds what was missed. usage: mqtt_paho.py PORT VERSION"""

import json
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, VERSION = int(sys.argv[1]), int(sys.argv[2])
PATIENCE = 20


class Person:
    def __init__(self, user, device):
        kept = {} if VERSION == 5 else {"clean_session": False}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=VERSION, **kept)
        self.client.username_pw_set(user)
        self.heard, self.events = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.events.put((reason.is_failure, flags.session_present))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.events.put([reason.value for reason in reasons])
        self.client.on_message = lambda _c, _u, message: self.heard.put(json.loads(message.payload))

    def come(self):
        if VERSION == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            self.client.connect("127.0.0.1", PORT, clean_start=False, properties=properties)
        else:
            self.client.connect("127.0.0.1", PORT)
        self.client.loop_start()
        is_failure, session_present = self.events.get(timeout=PATIENCE)
        assert not is_failure
        return session_present

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, topic):
        self.client.subscribe(topic, qos=1)
        return self.events.get(timeout=PATIENCE)

    def send(self, to, text, client_msg_id):
        properties = None
        if VERSION == 5:
            properties = Properties(PacketTypes.PUBLISH)
            properties.CorrelationData = client_msg_id.encode()
        else:
            text = json.dumps({"type": "send", "client_msg_id": client_msg_id, "text": text})
        sent = self.client.publish(f"tidings/to/{to}", text, qos=1, properties=properties)
        sent.wait_for_publish(PATIENCE)
        assert sent.is_published()

    def hear(self, count):
        return [self.heard.get(timeout=PATIENCE)["text"] for _ in range(count)]


ada, bob = Person(f"paho-ada-{VERSION}", "a"), Person(f"paho-bob-{VERSION}", "b")
assert not ada.come() and not bob.come()
assert bob.subscribe("tidings/inbox") == [1]
assert bob.subscribe("#")[0] >= 0x80
to = f"paho-bob-{VERSION}"
ada.send(to, "one", "c-1")
ada.send(to, "one again", "c-1")
ada.send(to, "two", "c-2")
assert bob.hear(2) == ["one", "two"], "a repeat is no message"
bob.leave()
for n in range(100):
    ada.send(to, f"missed {n}", f"m-{n}")
assert bob.come(), "the session is there"
assert bob.hear(100) == [f"missed {n}" for n in range(100)]
ada.send(to, "live", "c-3")
assert bob.hear(1) == ["live"]
assert bob.heard.empty()
ada.leave()
bob.leave()
