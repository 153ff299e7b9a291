// MQTT.js: two people talk; one leaves and finds what was missed. usage: mqtt_js.cjs URL VERSION
const assert = require("node:assert");
const mqtt = require("mqtt");

const [url, version] = [process.argv[2], Number(process.argv[3])];
const unique = `${url.split(":")[0]}-${version}`;
const PATIENCE_MS = 20_000;

// What comes, one at a time.
class Heard {
  #texts = [];
  #waiting = null;
  take(text) {
    this.#texts.push(text);
    this.#waiting?.();
  }
  async next() {
    while (this.#texts.length === 0) {
      await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("nothing comes")), PATIENCE_MS);
        this.#waiting = () => (clearTimeout(timer), resolve());
      });
    }
    return this.#texts.shift();
  }
}

async function come(user, heard) {
  const client = mqtt.connect(url, {
    protocolVersion: version,
    clientId: "js",
    username: user,
    clean: false,
    properties: version === 5 ? { sessionExpiryInterval: 3600, topicAliasMaximum: 10 } : undefined,
    reconnectPeriod: 0,
  });
  client.on("message", (_topic, payload) => heard.take(JSON.parse(payload).text));
  const connack = await new Promise((resolve, reject) => client.once("connect", resolve).once("error", reject));
  return [client, connack.sessionPresent];
}

async function main() {
  const [atAda, atBob] = [new Heard(), new Heard()];
  const [userAda, userBob] = [`js-ada-${unique}`, `js-bob-${unique}`];
  const [ada, wasThere] = await come(userAda, atAda);
  let [bob] = await come(userBob, atBob);
  assert.equal(wasThere, false);
  const [granted] = await bob.subscribeAsync("tidings/inbox", { qos: 1 });
  assert.equal(granted.qos, 1);
  const send = (text) => ada.publishAsync(`tidings/to/${userBob}`, text, { qos: 1 });
  await send("one");
  assert.equal(await atBob.next(), "one");
  await bob.endAsync();
  for (let n = 0; n < 100; n++) await send(`missed ${n}`);
  let isThere;
  [bob, isThere] = await come(userBob, atBob);
  assert.equal(isThere, true);
  for (let n = 0; n < 100; n++) assert.equal(await atBob.next(), `missed ${n}`);
  if (version === 5) {
    await assert.rejects(ada.publishAsync("tidings/to/nobody", "hi", { qos: 1 }), (error) => error.code === 0x90);
  }
  await Promise.all([ada.endAsync(), bob.endAsync()]);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
